"""Outlines of drink bottles and furniture."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, arc, box, ellipse, mirrored, mix, ribbon, smooth


def bottle(item: Item, pose: np.ndarray) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    girth = {"slender": mix(0.13, 0.155, k[0]), "stout": mix(0.19, 0.235, k[0])}[item.states["shape"]]
    sketch = Sketch(print_at=(0.0, 0.62, girth * 0.75))
    if leaf == "thermos":
        shoulder = mix(0.24, 0.34, k[1])
        sketch.part(mirrored(smooth([(0, shoulder - 0.06), (girth * 0.75, shoulder - 0.06), (girth, shoulder + 0.05),
                                     (girth, 1.0), (girth, 1.0), (girth * 0.94, 1.05),
                                     (0, 1.055)], closed=False)), pattern=True, shade="tube")
        sketch.part(box(-girth * 0.86, shoulder - 0.09, girth * 0.86, shoulder - 0.03, 0.01), "metal", shade="tube")
        cap = girth * mix(0.74, 0.92, k[2])
        sketch.part(box(-cap, mix(0.0, 0.1, k[3]), cap, shoulder - 0.08, mix(0.02, 0.07, k[4])),
                    "metal" if k[5] < 0.35 else "trim" if k[5] < 0.65 else "main", shade="tube")
        sketch.part(box(-girth * 1.01, 0.98, girth * 1.01, 1.05, 0.015), "metal" if k[6] < 0.5 else "trim",
                    shade="tube")
        if k[7] < 0.3:
            sketch.part(ribbon(smooth([(girth, 0.4), (girth + 0.13, 0.46), (girth + 0.13, 0.72), (girth, 0.8)],
                                      closed=False), 0.035), "trim", shade="gloss")
    elif leaf == "sports bottle":
        grip, neck = mix(0.72, 0.9, k[1]), mix(0.55, 0.8, k[2])
        half = [(0, 0.2), (girth * neck, 0.2), (girth, 0.31), (girth, 0.45), (girth * grip, 0.58), (girth, 0.72),
                (girth, 0.98), (girth, 0.98), (girth * 0.85, 1.05), (0, 1.055)]
        sketch.part(mirrored(smooth(half, closed=False)), pattern=True, shade="tube",
                    opacity=255 if k[3] < 0.6 else 225)
        for y in (0.55, 0.58, 0.61):
            sketch.line([(-girth * grip, y), (girth * grip, y)], "seam", 0.008)
        sketch.part(box(-girth * neck * 1.08, 0.10, girth * neck * 1.08, 0.22, 0.03), "trim", shade="tube")
        sketch.part([(-0.05, 0.10), (-0.035, 0.01), (0.035, 0.01), (0.05, 0.10)], "second", shade="tube")
        sketch.part(box(-0.028, -0.04, 0.028, 0.02, 0.015), "light", shade="tube")
        if k[4] < 0.5:
            sketch.part(ribbon(arc(girth * neck, 0.16, 0.10, 0.09, -90, 90), 0.028), "trim")
        for i in range(5):
            sketch.line([(girth * 0.45, 0.66 + 0.06 * i), (girth * 0.66, 0.66 + 0.06 * i)], "light", 0.008)
    else:  # tumbler
        base = girth * mix(0.62, 0.78, k[1])
        girth *= 1.25
        if k[2] < 0.6:
            tilt = mix(-0.06, 0.1, k[3]) + 0.03 * pose[0]
            sketch.line([(tilt * 0.3, 0.25), (tilt, -0.2)], "second" if k[4] < 0.5 else "light", 0.036)
        sketch.part(mirrored([(0, 0.22), (girth * 0.96, 0.22), (base, 1.0), (base * 0.92, 1.02), (0, 1.03)]),
                    pattern=True, shade="tube")
        sleeve = mix(0.42, 0.55, k[5])
        if k[6] < 0.5:
            at = [girth * 0.96 + (base - girth * 0.96) * (y - 0.22) / 0.78 for y in (sleeve, sleeve + 0.24)]
            sketch.part(mirrored([(0, sleeve), (at[0] + 0.006, sleeve), (at[1] + 0.006, sleeve + 0.24),
                                  (0, sleeve + 0.24)]), "trim", shade="tube")
        sketch.part(box(-girth * 1.02, 0.15, girth * 1.02, 0.235, 0.025), "trim" if k[7] < 0.6 else "light",
                    shade="tube")
        sketch.part(mirrored(smooth([(0, 0.06), (girth * 0.7, 0.07), (girth * 0.9, 0.15), (0, 0.16)], closed=False)),
                    "trim" if k[7] < 0.6 else "light", shade="gloss")
    return sketch


def furniture(item: Item, pose: np.ndarray) -> Sketch:
    return {"table": _table, "stool": _stool}.get(item.leaf.name, _seat)(item)


def _legs(sketch: Sketch, xs, top: float, bottom: float, paint: str, width: float, splay: float) -> None:
    for x in xs:
        foot = x * (1 + splay)
        sketch.part([(x - width, top), (x + width, top), (foot + width * 0.6, bottom), (foot - width * 0.6, bottom)],
                    paint, shade="tube")


def _seat(item: Item) -> Sketch:
    """Armchair and sofa: the same upholstery, one to three cushions wide."""
    k, round_ = item.knobs, item.states["shape"] == "round"
    cushions = 1 if item.leaf.name == "armchair" else 2 + (k[0] < 0.45)
    half = mix(0.27, 0.31, k[1]) * (1 if cushions == 1 else 0.72 * cushions)
    back, arm = mix(0.42, 0.62, k[2]), mix(0.09, 0.14, k[3])
    corner = 0.16 if round_ else 0.035
    sketch = Sketch(print_at=(0.0, -back * 0.55, 0.12))
    leg = mix(0.06, 0.18, k[4])
    _legs(sketch, (-half * 0.7, half * 0.7), 0.22, 0.22 + leg, "wood" if k[5] < 0.6 else "dark", 0.022, 0.0)
    _legs(sketch, (-half - arm * 0.4, half + arm * 0.4), 0.25, 0.27 + leg, "wood" if k[5] < 0.6 else "dark", 0.026,
          0.05)
    sketch.part(box(-half - arm * 0.5, -back, half + arm * 0.5, 0.1, corner), pattern=True, shade="cloth")
    width = 2 * half / cushions
    for i in range(cushions):
        left = -half + i * width
        sketch.part(box(left + 0.008, -back + 0.07, left + width - 0.008, 0.04, corner * 0.6), pattern=True,
                    shade="ball")
        if k[6] < 0.35:
            for x in (0.3, 0.7):
                for y in (0.35, 0.65):
                    sketch.part(ellipse(left + width * x, -back * y, 0.012, 0.012, 8), "seam", shade="flat")
    for i in range(cushions):
        left = -half + i * width
        sketch.part(box(left + 0.004, 0.0, left + width - 0.004, 0.13, 0.04), pattern=True, shade="gloss")
    sketch.part(box(-half, 0.12, half, 0.24, 0.02), pattern=True)
    arm_top = -mix(0.12, 0.22, k[7])
    for side in (-1, 1):
        x = sorted((side * (half - 0.005), side * (half + arm)))
        sketch.part(box(x[0], arm_top, x[1], 0.26, min(corner, arm * 0.55)), pattern=True, shade="tube")
    if k[8] < 0.4:
        x = -half * 0.55 if k[9] < 0.5 else half * 0.5
        sketch.part(box(x - 0.1, -0.19, x + 0.1, 0.01, 0.03), "second", shade="ball")
    return sketch


def _stool(item: Item) -> Sketch:
    k = item.knobs
    half, leg = mix(0.20, 0.27, k[0]), mix(0.5, 0.95, k[1])
    paint = "wood" if k[2] < 0.55 else "metal" if k[2] < 0.75 else "main"
    sketch = Sketch(print_at=(0.0, 0.0, 0.08))
    _legs(sketch, (-half * 0.45, half * 0.45), 0.02, leg * 0.92, paint, 0.02, 0.25)
    bar = leg * mix(0.5, 0.72, k[3])
    sketch.line([(-half * 0.95, bar), (half * 0.95, bar)], paint, 0.024)
    _legs(sketch, (-half * 0.8, half * 0.8), 0.02, leg, paint, 0.026, mix(0.1, 0.35, k[4]))
    thick = mix(0.06, 0.14, k[5])
    if item.states["shape"] == "round":
        sketch.part(np.concatenate([arc(0, thick, half, 0.06, 0, 180), arc(0, 0, half, 0.06, 180, 360)]),
                    pattern=True, shade="tube")
        sketch.part(ellipse(0, 0, half, 0.065, 36), pattern=True, shade="gloss")
    else:
        sketch.part(box(-half, 0.0, half, thick + 0.04, 0.02), pattern=True, shade="tube")
        sketch.part([(-half * 0.82, -0.08), (half * 0.82, -0.08), (half, 0.02), (-half, 0.02)], pattern=True,
                    shade="gloss")
    return sketch


def _table(item: Item) -> Sketch:
    k = item.knobs
    half, leg = mix(0.40, 0.58, k[0]), mix(0.42, 0.62, k[1])
    depth, thick = mix(0.08, 0.15, k[2]), mix(0.03, 0.06, k[3])
    sketch = Sketch()
    legs = "main" if k[4] < 0.5 else "metal" if k[4] < 0.7 else "dark"
    if item.states["shape"] == "round":
        if k[5] < 0.5:
            _legs(sketch, (0.0,), depth * 0.4, leg, legs, 0.045, 0)
            sketch.part(ellipse(0, leg, half * 0.5, depth * 0.45), legs, shade="gloss")
        else:
            _legs(sketch, (-half * 0.35, half * 0.35), 0.02, leg * 0.86, legs, 0.02, 0.2)
            _legs(sketch, (-half * 0.6, half * 0.6), depth * 0.5, leg, legs, 0.026, 0.2)
        sketch.part(np.concatenate([arc(0, thick, half, depth, 0, 180), arc(0, 0, half, depth, 180, 360)]), "main",
                    shade="tube")
        sketch.part(ellipse(0, 0, half, depth, 40), "main", shade="gloss")
        grain = [arc(0, 0, half * share, depth * share, 200, 340, 12) for share in (0.35, 0.7)]
    else:
        back = half * mix(0.72, 0.86, k[6])
        _legs(sketch, (-back * 0.94, back * 0.94), -depth, leg * 0.8, legs, 0.018, 0)
        _legs(sketch, (-half * 0.93, half * 0.93), depth, leg, legs, 0.03, 0)
        if k[7] < 0.5:
            sketch.part(box(-half * 0.9, depth, half * 0.9, depth + 0.11), "main", shade="cloth")
            sketch.part(ellipse(0, depth + 0.07, 0.02, 0.014, 10), "metal", shade="flat")
        sketch.part(box(-half, depth - 0.003, half, depth + thick, 0.008), "main", shade="cloth")
        sketch.part([(-back, -depth), (back, -depth), (half, depth), (-half, depth)], "main", shade="gloss")
        grain = [[(-half * 0.8, y), (half * 0.8, y)] for y in np.array([-0.5, 0.0, 0.5]) * depth]
    for line in grain:
        sketch.line(line, "seam", 0.004)
    return sketch
