"""bazaar: a procedural shop, drawn from numbers, offline.

43 leaves under 10 roots with a long tail; five sparse attributes that shape the picture; shop and consumer views
of the same product; foreground masks and boxes that are true by construction. What it is for: every notebook runs
on it. What it is not: photographs. Results on it say nothing about real shops and are never mixed with theirs.

    taxonomy   leaves, attributes and their frequencies
    items      one product as numbers: attribute states, shape knobs, colours
    sketch     outlines, strokes and folds; garments, tailor, trousers, shoes, bags, trinkets, wares and shapes use them
    patterns   cloth and prints
    render     sketch to lit pixels
    scenes     backgrounds; overlays: promotional text, things in the way
    compose    one picture of one view, with mask and box
    build      the catalogue in the cache; stream: any number of distractors
"""

from .build import LICENCE, prepare
from .compose import Drawn, draw
from .items import Item, make_item, number_of
from .stream import Distractor, distractor, distractors

__all__ = ["LICENCE", "Distractor", "Drawn", "Item", "distractor", "distractors", "draw", "make_item", "number_of",
           "prepare"]
