"""Which function outlines which root."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes import bags, garments, shoes, trinkets, trousers, wares
from shoplens.data.drawing.shapes.sketch import Sketch

_DRAW = {
    "bag": bags.bag,
    "coat": garments.coat,
    "dress": garments.dress,
    "drink bottle": wares.bottle,
    "furniture": wares.furniture,
    "jewellery watch glasses": trinkets.accessory,
    "makeup": trinkets.makeup,
    "pants": trousers.pants,
    "shoes": shoes.shoe,
    "top": garments.top,
}


def outline(item: Item, pose: np.ndarray) -> Sketch:
    """The item drawn from the front. pose: three numbers in [-1, 1], the view's share in its form (how arms hang,
    straps sway, whether the lid is on); none of them changes what the item is."""
    return _DRAW[item.leaf.root](item, pose)
