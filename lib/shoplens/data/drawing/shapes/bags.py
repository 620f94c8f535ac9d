"""Outlines of bags, seen from the front."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, box, ellipse, mirrored, mix, ribbon, smooth


def bag(item: Item, pose: np.ndarray) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    narrow = {"trapezoid": mix(0.74, 0.84, k[0]), "square": 1.0, "round": 1.0}[item.states["shape"]]
    bow = 0.22 if item.states["shape"] == "round" else 0.05
    wide, high = {"tote": (0.42, 0.66), "satchel": (0.46, 0.50), "backpack": (0.36, 0.82), "clutch": (0.50, 0.42),
                  "bucket bag": (0.36, 0.62)}[leaf]
    wide, high = wide * mix(0.92, 1.1, k[1]), high * mix(0.9, 1.1, k[2])
    sketch = Sketch(print_at=(0.0, high * 0.6, min(wide, high) * 0.48))
    sway = 0.06 * pose[0]
    draw = {"tote": _tote, "satchel": _satchel, "backpack": _backpack, "clutch": _clutch, "bucket bag": _bucket}[leaf]
    draw(sketch, item, wide, high, narrow, bow, sway)
    return sketch


def _sack(wide: float, high: float, narrow: float, bow: float, top: float = 0.0) -> np.ndarray:
    corner = max(bow, 0.05)
    half = [(0, top), (wide * narrow - corner * 0.4, top), (wide * narrow, top + corner * 0.4),
            (wide * (1 + narrow) / 2 + bow * 0.12, high * 0.5),
            (wide, high - corner), (wide - corner * 0.3, high - corner * 0.25), (wide - corner, high), (0, high)]
    return mirrored(smooth(half, closed=False))


def _handle(sketch: Sketch, x: float, top: float, rise: float, sway: float, paint="trim", width=0.035) -> None:
    curve = smooth([(-x, top + 0.1), (-x, top), (-x * 0.75 + sway, top - rise * 0.85), (sway, top - rise),
                    (x * 0.75 + sway, top - rise * 0.85), (x, top), (x, top + 0.1)], closed=False)
    sketch.part(ribbon(curve, width), paint, shade="gloss")


def _tote(sketch, item, wide, high, narrow, bow, sway) -> None:
    k = item.knobs
    rise, x = mix(0.22, 0.42, k[3]), wide * mix(0.4, 0.55, k[4])
    _handle(sketch, x * 0.92, 0.02, rise * 1.08, sway, "inner")
    sketch.part(ellipse(0, 0.01, wide * narrow * 0.96, 0.03), "inner", shade="flat")
    sketch.part(_sack(wide, high, narrow, bow), pattern=True)
    if k[5] < 0.4:
        sketch.part(box(-wide * 0.97, high * 0.74, wide * 0.97, high - 0.03, 0.04), "trim", shade="cloth")
    sketch.line([(-wide * narrow, 0.05), (0, 0.065), (wide * narrow, 0.05)], "stitch", 0.008)
    _handle(sketch, x, 0.05, rise, sway, "trim" if k[6] < 0.6 else "main")
    for side in (-1, 1):
        sketch.part(ellipse(side * x, 0.12, 0.016, 0.016, 10), "metal", shade="flat")
    sketch.fold([(-wide * 0.6, 0.1), (-wide * 0.5, high)], 0.09, -0.4)
    sketch.fold([(wide * 0.2, 0.1), (wide * 0.3, high)], 0.12, 0.35)
    if k[7] < 0.35:
        sketch.line([(x, 0.1), (x + 0.04, 0.28)], "metal", 0.012)
        sketch.part(ellipse(x + 0.045, 0.32, 0.035, 0.045), "second", shade="gloss")


def _satchel(sketch, item, wide, high, narrow, bow, sway) -> None:
    k = item.knobs
    if k[3] < 0.6:
        _handle(sketch, wide * 0.9, 0.06, mix(0.4, 0.6, k[4]), sway, "trim", 0.022)
    _handle(sketch, wide * 0.35, 0.03, mix(0.12, 0.22, k[5]), sway * 0.3, "trim")
    sketch.part(_sack(wide, high, narrow, bow), pattern=True, shade="gloss")
    flap = high * mix(0.45, 0.68, k[6])
    corner = mix(0.06, 0.22, k[7])
    half = smooth([(0, -0.01), (wide * narrow - 0.02, -0.01), (wide * narrow, 0.03),
                   (wide * (narrow + 0.03), flap - corner), (wide * narrow - corner * 0.5, flap - 0.02),
                   (0, flap + 0.02)], closed=False)
    outline = sketch.part(mirrored(half), "second" if k[8] < 0.15 else "main", pattern=k[8] > 0.5, shade="gloss")
    sketch.line(np.concatenate([outline, outline[:1]]), "seam", 0.008)
    sketch.line(outline * (0.93, 0.93), "stitch", 0.005)
    if k[9] < 0.5:
        for x in (-wide * 0.5, wide * 0.5):
            sketch.part(box(x - 0.03, 0.02, x + 0.03, flap + 0.09, 0.012), "trim", shade="gloss")
            sketch.part(box(x - 0.042, flap - 0.03, x + 0.042, flap + 0.04, 0.01), "metal", shade="gloss",
                        holes=[box(x - 0.02, flap - 0.012, x + 0.02, flap + 0.022)])
    else:
        sketch.part(box(-0.055, flap - 0.04, 0.055, flap + 0.055, mix(0.0, 0.05, k[10])), "metal", shade="gloss")


def _backpack(sketch, item, wide, high, narrow, bow, sway) -> None:
    k = item.knobs
    narrow = min(narrow, 0.93)
    for side in (1, -1):
        strap = smooth([(side * wide * 0.5, 0.08), (side * wide * 1.12, high * 0.35),
                        (side * (wide * 1.08 + sway * 0.3), high * 0.7),
                        (side * wide * 0.8, high * 0.92)], closed=False)
        sketch.part(ribbon(strap, 0.065), "inner", shade="cloth")
    _handle(sketch, 0.07, 0.02, 0.10, 0, "trim", 0.03)
    top_bow = max(bow, mix(0.14, 0.26, k[3]))
    half = smooth([(0, -0.01), (wide * narrow - top_bow, 0.0), (wide * narrow - 0.02, top_bow * 0.65),
                   (wide * (1 + narrow) / 2, high * 0.45), (wide, high - 0.1),
                   (wide - 0.04, high - 0.02), (wide - 0.12, high), (0, high)], closed=False)
    sketch.part(mirrored(half), pattern=True)
    sketch.line(smooth([(-wide * narrow, high * 0.34), (-wide * narrow * 0.75, 0.09), (0, 0.045),
                        (wide * narrow * 0.75, 0.09), (wide * narrow, high * 0.34)], closed=False), "seam", 0.016)
    sketch.line(smooth([(-wide * narrow, high * 0.34), (-wide * narrow * 0.75, 0.09), (0, 0.045),
                        (wide * narrow * 0.75, 0.09), (wide * narrow, high * 0.34)], closed=False), "metal", 0.005)
    pocket_top = high * mix(0.48, 0.62, k[4])
    x = wide * mix(0.62, 0.82, k[5])
    pocket = sketch.part(box(-x, pocket_top, x, high - 0.045, mix(0.04, 0.14, k[6])),
                         "second" if k[7] < 0.3 else "main", pattern=k[7] > 0.65)
    sketch.line(np.concatenate([pocket, pocket[:1]]), "seam", 0.009)
    sketch.line([(-x + 0.03, pocket_top + 0.05), (x - 0.03, pocket_top + 0.05)], "metal", 0.010)
    if k[8] < 0.5:
        sketch.part(box(-0.06, high * 0.26, 0.06, high * 0.36, 0.015), "trim", shade="flat")
    sketch.fold([(-wide * 0.8, 0.2), (-wide * 0.85, high)], 0.08, -0.5)


def _clutch(sketch, item, wide, high, narrow, bow, sway) -> None:
    k = item.knobs
    if k[3] < 0.5:
        chain = smooth([(-wide * 0.95, 0.03), (-wide * 0.7 + sway, -0.26), (0.1 + sway, -0.34), (wide * 0.75, -0.2),
                        (wide * 0.95, 0.03)], closed=False)
        sketch.line(chain, "metal", 0.012)
        for point in chain[::2]:
            sketch.part(ellipse(point[0], point[1], 0.018, 0.018, 8), "metal", shade="flat")
    else:
        sketch.part(ribbon(smooth([(wide * 0.95, 0.06), (wide * 1.14, 0.12 + sway), (wide * 1.1, 0.28),
                                   (wide * 0.97, 0.1)], closed=False), 0.024), "trim")
    outline = sketch.part(_sack(wide, high, max(narrow, 0.9), bow * 0.7), pattern=True, shade="gloss")
    tip = high * mix(0.42, 0.75, k[4])
    if k[5] < 0.5:
        flap = [(-wide * 0.97, 0.0), (wide * 0.97, 0.0), (wide * 0.95, 0.05), (0.03, tip), (-0.03, tip),
                (-wide * 0.95, 0.05)]
    else:
        flap = mirrored(smooth([(0, 0), (wide * 0.96, 0), (wide * 0.94, tip * 0.55), (wide * 0.5, tip * 0.94),
                                (0, tip)], closed=False))
    flap = sketch.part(flap, "second" if k[6] < 0.15 else "main", pattern=k[6] > 0.6, shade="gloss")
    sketch.line(np.concatenate([flap, flap[:1]]), "seam", 0.010)
    sketch.line(np.concatenate([outline, outline[:1]]) * (0.96, 0.95) + (0, 0.01), "stitch", 0.004)
    sketch.part(ellipse(0, tip - 0.02, 0.045, mix(0.03, 0.045, k[7])), "metal", shade="gloss")


def _bucket(sketch, item, wide, high, narrow, bow, sway) -> None:
    k = item.knobs
    _handle(sketch, wide * 0.86, 0.05, mix(0.34, 0.6, k[3]), sway, "trim", 0.04)
    sketch.part(ellipse(0, 0.02, wide * narrow * 0.98, 0.05), "inner", shade="flat")
    half = smooth([(0, 0.04), (wide * narrow, 0.0), (wide * narrow, 0.0),
                   (wide * (1 + narrow) / 2 + bow * 0.15, high * 0.55), (wide * 0.98, high - 0.06),
                   (wide * 0.85, high), (0, high + 0.03)], closed=False)
    sketch.part(mirrored(half), pattern=True, shade="tube")
    for i in range(-3, 4):
        sketch.fold([(i * wide * narrow * 0.28, 0.02), (i * wide * 0.2, 0.26)], 0.03, -0.7)
    cord = high * mix(0.16, 0.22, k[4])
    sketch.line(smooth([(-wide * 0.94, cord), (0, cord + 0.04), (wide * 0.94, cord)], closed=False), "trim", 0.022)
    for side in (-1, 1):
        sketch.line(smooth([(side * 0.02, cord + 0.035), (side * 0.07, cord + 0.16), (side * 0.05, cord + 0.24)],
                           closed=False), "trim", 0.018)
        sketch.part(ellipse(side * 0.05, cord + 0.26, 0.024, 0.034), "metal" if k[5] < 0.5 else "trim", shade="flat")
    if k[6] < 0.5:
        sketch.part(mirrored([(0, high * 0.82), (wide * 0.97, high * 0.78), (wide * 0.96, high - 0.05),
                              (wide * 0.84, high - 0.003), (0, high + 0.027)]), "trim", shade="tube")
