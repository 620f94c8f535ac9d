"""Outlines of pants: two legs and a waistband."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, arc, ellipse, mix, ribbon, smooth
from shoplens.data.drawing.shapes.tailor import FIT

LEG_SHARE = {"short": 0.22, "knee": 0.47, "cropped": 0.76, "long": 1.0}


def pants(item: Item, pose: np.ndarray) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    fit, share = FIT[item.states["shape"]], LEG_SHARE[item.states["pants_length"]]
    waist, hip, crotch = mix(0.15, 0.165, k[0]) * fit**0.35, mix(0.19, 0.205, k[1]) * fit**0.6, mix(0.26, 0.31, k[2])
    full = 1.10
    thigh, hem = {"jeans": (0.185, 0.105), "leggings": (0.155, 0.062), "wide-leg pants": (0.22, 0.235),
                  "shorts": (0.215, 0.20)}[leaf]
    thigh, hem = thigh * fit**0.7, hem * fit * mix(0.9, 1.15, k[3])
    bottom = crotch + (full - crotch) * share
    end = mix(thigh, hem, share) if leaf != "shorts" else thigh * 1.06
    knee_y, knee = mix(crotch, bottom, 0.55), mix(thigh, end, 0.6) * (0.94 if leaf != "wide-leg pants" else 1.0)
    spread = 0.012 + 0.025 * (1 + pose[0])
    sketch = Sketch(print_at=(0.11, crotch + 0.12, 0.07))
    sketch.part(ellipse(0, 0.012, waist * 0.97, 0.02), "inner", shade="flat")
    for side in (1, -1):
        lean = spread * share
        outline = [(0, 0.02), (waist, 0.0), (waist, 0.0), (hip, 0.19), (hip + lean * 0.3, crotch),
                   (knee + 0.02 + lean, knee_y), (end + 0.012 + lean * 2, bottom), (end + 0.012 + lean * 2, bottom),
                   (0.012 + lean * 2, bottom + 0.012), (0.012 + lean * 2, bottom + 0.012), (0.016 + lean, knee_y),
                   (0.0, crotch), (0.0, crotch)]
        sketch.part(smooth(outline) * (side, 1), pattern=True)
        left, right = 0.012 + lean * 2, end + 0.012 + lean * 2
        sketch.line(np.array([(left, bottom - 0.018), (right, bottom - 0.03)]) * (side, 1), "seam", 0.006)
        if leaf == "jeans" and k[5] < 0.5:
            sketch.line(np.array([(left, bottom - 0.06), (right, bottom - 0.07)]) * (side, 1), "stitch", 0.005)
        if leaf == "jeans" and k[6] < 0.6:
            sketch.fold(np.array([(knee * 0.6, crotch), (knee * 0.6 + lean, knee_y)]) * (side, 1), 0.10, 0.55)
        if leaf in ("wide-leg pants", "leggings") or k[7] < 0.3:
            sketch.line(np.array([(hip * 0.55, 0.1), (knee * 0.55 + lean, knee_y),
                                  ((left + right) / 2, bottom)]) * (side, 1),
                        "seam", 0.004)
        sketch.fold(np.array([(0.02, crotch + 0.01), (thigh * 0.7, crotch - 0.05)]) * (side, 1), 0.025, -0.7)
        sketch.fold(np.array([(0.02 + lean, knee_y), (knee * 0.8, knee_y + 0.03)]) * (side, 1), 0.02, -0.55)
        sketch.fold(np.array([(0.03, crotch), (left + 0.015, bottom)]) * (side, 1), 0.03, -0.5)
    _pants_top(sketch, item, leaf, waist, hip, crotch)
    return sketch


def _pants_top(sketch: Sketch, item: Item, leaf: str, waist: float, hip: float, crotch: float) -> None:
    k = item.knobs
    band = 0.065 if leaf == "leggings" else 0.042
    sketch.part(np.array([(-waist - 0.003, -0.004), (0, 0.014), (waist + 0.003, -0.004), (waist + 0.012, band),
                          (0, band + 0.018), (-waist - 0.012, band)]), "trim" if k[8] < 0.2 else "main", shade="tube")
    sketch.line([(-waist - 0.012, band), (0, band + 0.018), (waist + 0.012, band)], "seam", 0.005)
    sketch.line([(0, band), (0, crotch)], "seam", 0.006)
    thread = "stitch" if leaf == "jeans" else "seam"
    if leaf in ("jeans", "shorts"):
        sketch.line(smooth([(0.022, band + 0.01), (0.024, crotch * 0.6), (0.002, crotch * 0.8)], closed=False),
                    thread, 0.006)
        sketch.both(arc(waist + 0.01, band + 0.01, 0.085, 0.095, 95, 180), thread, 0.007)
        for x in (-0.1, 0.1):
            sketch.line([(x, 0.0), (x, band + 0.012)], thread, 0.012)
        sketch.part(ellipse(0, band * 0.72, 0.012, 0.012, 12), "metal", shade="flat")
    elif leaf == "wide-leg pants":
        sketch.both([(waist - 0.01, band + 0.02), (waist + 0.015, band + 0.14)], "seam", 0.009)
        if k[9] < 0.5:
            sketch.part(ribbon(smooth([(0, band), (-0.06, band + 0.12), (-0.045, band + 0.2)], closed=False), 0.022),
                        "trim")
            sketch.part(ribbon(smooth([(0, band), (0.05, band + 0.1), (0.06, band + 0.17)], closed=False), 0.022),
                        "trim")
    elif k[9] < 0.4:
        sketch.both(smooth([(waist, band), (hip - 0.02, 0.2), (hip - 0.015, crotch)], closed=False), "trim", 0.016)
