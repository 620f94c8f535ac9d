"""One product as numbers: its leaf, its true attribute states, and everything about its look that no view changes."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field

import numpy as np

from shoplens.data.drawing.taxonomy import BY_NAME, LABELLED, LEAVES, STATES, Leaf

KINDS = ("catalogue", "search", "distractor")
NUM_KNOBS = 24
_PURPOSES = ("item", "labels", "view", "leaf", "views", "causes")
PER_LEAF = 10**6  # numbers kept for one leaf: an item is the same however many others are drawn

# Hue in degrees, saturation and value ranges of each colour name.
_COLOUR_RANGES = {
    "beige": ((30, 42), (0.18, 0.32), (0.78, 0.90)),
    "black": ((210, 260), (0.02, 0.15), (0.10, 0.17)),
    "blue": ((205, 232), (0.50, 0.85), (0.45, 0.85)),
    "brown": ((16, 30), (0.50, 0.70), (0.30, 0.50)),
    "green": ((95, 155), (0.35, 0.75), (0.38, 0.70)),
    "grey": ((200, 230), (0.02, 0.08), (0.45, 0.66)),
    "orange": ((20, 32), (0.72, 0.92), (0.86, 0.97)),
    "pink": ((330, 350), (0.28, 0.55), (0.90, 0.98)),
    "purple": ((268, 292), (0.40, 0.70), (0.42, 0.75)),
    "red": ((350, 366), (0.72, 0.90), (0.62, 0.85)),
    "white": ((30, 60), (0.00, 0.05), (0.93, 0.99)),
    "yellow": ((46, 56), (0.62, 0.88), (0.90, 0.98)),
}
_METALS = ((212, 175, 90), (198, 200, 206), (196, 144, 120), (120, 122, 130))
_WOODS = ((181, 134, 84), (128, 84, 52), (214, 180, 132), (84, 56, 40))


def generator(seed: int, kind: str, number: int, purpose: str, *more: int) -> np.random.Generator:
    """The random numbers of one purpose of one item; independent of every other item, view and purpose."""
    key = (KINDS.index(kind), number, _PURPOSES.index(purpose), *more)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=key)))


@dataclass(frozen=True)
class Item:
    """`states` are the truth that shaped the picture; `labels` what its seller wrote down (None: nothing)."""

    seed: int
    kind: str
    number: int
    leaf: Leaf
    states: dict[str, str]
    labels: dict[str, str | None]
    knobs: np.ndarray = field(repr=False)  # uniform numbers in [0, 1) that the leaf's outline reads
    pattern_knobs: np.ndarray = field(repr=False)
    palette: dict[str, tuple[int, int, int]] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.kind[0]}{self.number:08d}"


def _choose(rng: np.random.Generator, weights: dict[str, float]) -> str:
    states = sorted(weights)
    edges = np.cumsum([weights[state] for state in states])
    return states[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


def colour_of(name: str, shares) -> tuple[int, int, int]:
    """RGB of a colour name; `shares` are three numbers in [0, 1) that place it inside the name's range."""
    hue, saturation, value = (low + (high - low) * float(share)
                              for (low, high), share in zip(_COLOUR_RANGES[name], shares, strict=True))
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))


def blend(first, second, share: float) -> tuple[int, int, int]:
    """RGB `share` (0..1) of the way from the first colour to the second."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def luminance(colour) -> float:
    """Brightness of an RGB colour, 0..255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def palette_of(colour: str, draws: np.ndarray) -> dict[str, tuple[int, int, int]]:
    """Paints of an item from its colour name and 16 numbers in [0, 1)."""
    main = colour_of(colour, draws[:3])
    names = sorted(_COLOUR_RANGES)
    second = colour_of(names[int(draws[3] * len(names))], draws[4:7])
    if abs(luminance(second) - luminance(main)) < 60:
        second = blend(second, (255, 255, 255) if luminance(main) < 140 else (20, 20, 24), 0.75)
    neutral = [(245, 243, 238), (30, 30, 34), (120, 84, 56), blend(main, (0, 0, 0), 0.45)][int(draws[7] * 4)]
    if abs(luminance(neutral) - luminance(main)) < 40:
        neutral = (240, 238, 232) if luminance(main) < 128 else (48, 46, 50)
    return {
        "main": main,
        "second": second,
        "third": colour_of(names[int(draws[8] * len(names))], draws[9:12]),
        "trim": neutral,
        "inner": blend(main, (12, 10, 16), 0.5),
        "seam": blend(main, (0, 0, 0), 0.42) if luminance(main) > 70 else blend(main, (255, 255, 255), 0.28),
        "stitch": blend(main, (255, 235, 190), 0.55),
        "metal": _METALS[int(draws[12] * len(_METALS))],
        "wood": _WOODS[int(draws[13] * len(_WOODS))],
        "light": (246, 245, 242),
        "dark": (34, 33, 38),
    }


def number_of(leaf: str, index: int) -> int:
    """Number of a leaf's item `index` (0, 1, …) among the catalogue's or the search items."""
    return [each.name for each in LEAVES].index(leaf) * PER_LEAF + index


def make_item(seed: int, kind: str, number: int, leaf: str | None = None, **states: str) -> Item:
    """Item `number` of a kind ("catalogue", "search", "distractor"); the same for the same arguments, always.

    leaf: class name; None takes the one the number belongs to (`number_of`), or, for a distractor, draws one with
    the frequencies of the long tail. states: attribute states to force, leaving all else of the item as it was.
    Raises ValueError on a leaf that does not exist, or a state that the leaf or the attribute does not have.
    """
    if kind not in KINDS:
        raise ValueError(f"bazaar: unknown kind {kind!r}; kinds are {', '.join(KINDS)}")
    if leaf is None and kind != "distractor":
        if not 0 <= number < PER_LEAF * len(LEAVES):
            raise ValueError(f"bazaar: no leaf owns {kind} item {number}; numbers end at {PER_LEAF * len(LEAVES) - 1}")
        leaf = LEAVES[number // PER_LEAF].name
    elif leaf is None:
        ranks = {name: 1 / (rank + 1) ** 0.85 for rank, name in enumerate(each.name for each in LEAVES)}
        leaf = _choose(generator(seed, kind, number, "leaf"), ranks)
    if leaf not in BY_NAME:
        raise ValueError(f"bazaar: unknown leaf {leaf!r}; leaves are {', '.join(sorted(BY_NAME))}")
    rng = generator(seed, kind, number, "item")
    chosen = {name: _choose(rng, BY_NAME[leaf].states.get(name, {"": 1.0})) for name in STATES}
    knobs, pattern_knobs, colours = rng.random(NUM_KNOBS), rng.random(12), rng.random(16)
    chosen = {name: state for name, state in chosen.items() if state}
    for name, state in states.items():
        if name not in chosen or state not in STATES[name]:
            raise ValueError(f"bazaar: {leaf} has no {name}={state!r}; attributes are {sorted(chosen)}")
        chosen[name] = state
    labels = labels_of(seed, kind, number, chosen)
    return Item(seed, kind, number, BY_NAME[leaf], chosen, labels, knobs, pattern_knobs,
                palette_of(chosen["colour"], colours))


def labels_of(seed: int, kind: str, number: int, states: dict[str, str],
              share: float | None = None) -> dict[str, str | None]:
    """What an item's seller wrote down of its states: each attribute that applies with probability `share`, None for
    the sparse shares of LABELLED. What is labelled at a share stays labelled at every larger one."""
    drawn = generator(seed, kind, number, "labels").random(len(STATES))
    return {name: states.get(name) if one < (LABELLED[name] if share is None else share) else None
            for name, one in zip(STATES, drawn, strict=True)}
