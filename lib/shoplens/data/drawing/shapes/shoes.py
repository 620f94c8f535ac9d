"""Outlines of shoes, seen from the side, toe to the right."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, box, ellipse, mix, ribbon, smooth

TOE = {"pointed": (1.06, 0.02), "round": (1.0, 0.10), "square": (1.0, 0.16)}  # reach, height of the toe box


def shoe(item: Item, pose: np.ndarray) -> Sketch:
    """A single shoe, or the pair with the second one behind it when pose[1] says so."""
    single = {"sandal": _sandal, "pump": _pump, "sneaker": _sneaker}.get(item.leaf.name, _boot)(item)
    if pose[1] < 0:
        return single
    far = single.moved(-0.12 - 0.1 * abs(pose[2]), -0.07, 0.97)
    return Sketch(far.marks + single.marks, single.print_at)


def _toe_line(item: Item, vamp: float) -> list[tuple[float, float]]:
    """Points from the vamp down to the sole at the toe; the ground is y = 0 and up is negative."""
    reach, height = TOE[item.states["shape"]]
    if item.states["shape"] == "square":
        return [(0.70, -vamp * 0.8), (reach - 0.02, -height), (reach, -height + 0.02), (reach, -0.02), (reach, 0.0)]
    return [(0.70, -vamp * 0.72), (reach - 0.12, -height - 0.03), (reach - 0.01, -height * 0.5), (reach, 0.0),
            (reach, 0.0)]


def _boot(item: Item) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    shaft = {"ankle boot": mix(0.42, 0.56, k[0]), "rain boot": mix(0.80, 0.98, k[0]),
             "high boot": mix(1.0, 1.3, k[0])}[leaf]
    slack = {"ankle boot": mix(0.0, 0.03, k[1]), "rain boot": mix(0.05, 0.08, k[1]),
             "high boot": mix(0.0, 0.05, k[1])}[leaf]
    heel = {"ankle boot": mix(0.05, 0.20, k[2]), "rain boot": 0.05, "high boot": mix(0.06, 0.24, k[2])}[leaf]
    sole = {"ankle boot": mix(0.03, 0.07, k[3]), "rain boot": mix(0.06, 0.09, k[3]), "high boot": 0.03}[leaf]
    gloss = "gloss" if leaf == "rain boot" or k[4] < 0.3 else "cloth"
    sketch = Sketch(print_at=(0.22, -0.30, 0.09))
    lift = heel
    sketch.part([(0.02, -lift - sole), (0.25, -lift - sole), (mix(0.24, 0.14, heel * 4), 0), (0.03, 0)], "dark",
                shade="gloss")
    sketch.part(smooth([(0.0, -lift), (0.3, -lift), (0.6, -sole * 0.2), (1.0, 0), (1.01, -sole), (0.6, -sole * 1.1),
                        (0.3, -lift - sole), (0, -lift - sole)]),
                "trim" if k[5] < 0.4 else "dark", shade="gloss")
    back = 0.02 - slack
    upper = [(back, -shaft), (back, -shaft), (0.42 + slack, -shaft), (0.42 + slack, -shaft),
             (0.40 + slack * 0.6, -0.36), (0.52, -0.27)]
    upper += _toe_line(item, 0.27)
    upper = [(x, y - sole * 0.9) for x, y in upper]
    upper += [(0.6, -sole), (0.3, -lift - sole), (0.0, -lift - sole), (0.0, -lift - sole), (0.03, -0.3)]
    sketch.part(smooth(upper), pattern=True, shade=gloss)
    sketch.fold([(0.3, -0.34), (0.44, -0.28)], 0.04, -0.8)
    sketch.fold([(0.1, -shaft), (0.12, -0.2)], 0.07, 0.5)
    if leaf == "rain boot":
        band = 0.07
        sketch.part(box(back - 0.006, -shaft - sole, 0.426 + slack, -shaft - sole + band),
                    "trim" if k[6] < 0.5 else "main", shade="tube")
        sketch.line([(back, -shaft + band - sole), (0.42 + slack, -shaft + band - sole)], "seam", 0.01)
        sketch.part(box(0.3 + slack, -shaft + 0.1, 0.41 + slack, -shaft + 0.15, 0.01), "trim", shade="flat")
    else:
        sketch.line([(back, -shaft - sole + 0.03), (0.42 + slack, -shaft - sole + 0.03)], "seam", 0.008)
        if k[7] < 0.4:
            sketch.line([(0.24, -shaft - sole), (0.25, -0.12 - lift)], "metal", 0.014)
        elif k[7] < 0.7 and leaf == "ankle boot":
            sketch.part([(0.14, -shaft - sole), (0.29, -shaft - sole), (0.25, -0.18), (0.18, -0.18)], "inner",
                        shade="flat")
        elif k[7] < 0.7:
            sketch.part(box(back - 0.005, -0.42, 0.425 + slack, -0.37), "trim", shade="tube")
            sketch.part(box(0.3, -0.435, 0.37, -0.355, 0.01), "metal", shade="gloss")
        else:
            for y in np.linspace(-0.30, -shaft - sole + 0.08, 5):
                sketch.line([(0.34, y), (0.44 + slack * 0.5, y - 0.03)], "trim", 0.016)
    return sketch


def _pump(item: Item) -> Sketch:
    k = item.knobs
    heel, sole = mix(0.16, 0.38, k[0]), mix(0.015, 0.04, k[1])
    block = k[2] < 0.35
    top = heel + 0.20
    sketch = Sketch(print_at=(0.72, -0.1, 0.06))
    foot = 0.10 if block else 0.03
    sketch.part([(0.0, -heel - 0.06), (0.19, -heel), (0.13 + foot * 0.4, -heel * 0.5), (0.05 + foot, 0),
                 (0.05 - foot * 0.3, 0), (0.03, -heel * 0.6)],
                "main", shade="gloss")
    sketch.part(smooth([(0.02, -top + 0.02), (0.10, -top + 0.05), (0.4, -heel * 0.62 - 0.14), (0.62, -0.15),
                        (0.58, -0.10), (0.2, -heel - 0.05)]),
                "inner", shade="flat")
    dip = mix(0.02, 0.07, k[3])
    upper = [(0.0, -top), (0.0, -top), (0.10, -top + 0.06 + dip), (0.38, -heel * 0.6 - 0.05 + dip * 0.3),
             (0.60, -0.10), (0.68, -0.16), (0.68, -0.16)]
    upper += _toe_line(item, 0.17)[1:]
    upper += [(0.7, 0.0), (0.55, -0.02), (0.3, -heel * 0.65), (0.15, -heel), (-0.01, -heel - 0.03)]
    sketch.part(smooth(upper), pattern=True, shade="gloss")
    sketch.part(ribbon(smooth([(0.0, -heel), (0.18, -heel + 0.01), (0.35, -heel * 0.55), (0.6, 0.0), (1.0, 0.006)],
                              closed=False), sole + 0.012), "dark", shade="flat")
    if k[4] < 0.35:
        sketch.part(ribbon(smooth([(0.04, -top - 0.05), (0.2, -top - 0.09), (0.32, -top - 0.02)], closed=False),
                           0.03), "main")
        sketch.part(ribbon([(0.02, -top), (0.04, -top - 0.06)], 0.03), "main")
        sketch.part(ribbon([(0.32, -top - 0.03), (0.34, -heel * 0.6 - 0.08)], 0.03), "main")
    elif k[4] < 0.6:
        for side in (-1, 1):
            sketch.part(smooth([(0.70, -0.15), (0.70 + side * 0.08, -0.21), (0.70 + side * 0.085, -0.11)]), "trim",
                        shade="gloss")
        sketch.part(ellipse(0.70, -0.155, 0.022, 0.026), "metal", shade="gloss")
    return sketch


def _sneaker(item: Item) -> Sketch:
    k = item.knobs
    sole, ankle = mix(0.08, 0.14, k[0]), mix(0.34, 0.52, k[1] ** 2)
    sketch = Sketch(print_at=(0.3, -0.24, 0.07))
    upper = [(0.03, -ankle), (0.03, -ankle), (0.12, -ankle + 0.04), (0.30, -ankle + 0.05), (0.36, -ankle - 0.01),
             (0.36, -ankle - 0.01), (0.50, -0.28)]
    upper += _toe_line(item, 0.26)
    upper = [(x, y - sole * 0.8 if y < 0 else -sole * 0.7) for x, y in upper]
    upper += [(0.5, -sole * 0.7), (0.0, -sole * 0.7), (0.01, -0.24)]
    sketch.part(smooth([(0.05, -ankle - 0.05), (0.2, -ankle - 0.06), (0.36, -ankle - 0.08), (0.36, -ankle),
                        (0.1, -ankle + 0.02)]), "inner")
    sketch.part(smooth(upper), pattern=True)
    sketch.part(smooth([(0.86, -sole * 0.8), (0.84, -sole - 0.10), (0.93, -sole - 0.10), (1.0, -sole * 0.8)]),
                "trim" if k[2] < 0.5 else "main")
    sketch.part(smooth([(0.0, -sole), (0.03, -0.30), (0.14, -0.28), (0.17, -sole)]),
                "second" if k[3] < 0.6 else "main")
    reach = TOE[item.states["shape"]][0]
    sketch.part(smooth([(-0.02, -sole), (-0.02, -sole), (0.5, -sole * 0.85), (reach + 0.01, -sole),
                        (reach + 0.01, -sole), (reach, -0.02), (0.9, 0.0), (0.1, 0.0), (-0.03, -0.03)]),
                "light" if k[4] < 0.7 else "trim", shade="gloss")
    sketch.line([(0.0, -sole * 0.5), (0.98, -sole * 0.5)], "second" if k[5] < 0.5 else "seam", 0.012)
    for i in range(4):
        x, y = 0.40 + i * 0.075, -ankle * 0.55 - sole * 0.8 + i * 0.030 - 0.07
        sketch.line([(x - 0.05, y + 0.07), (x + 0.05, y)], "light", 0.022)
    if k[6] < 0.4:
        for i in range(3):
            sketch.line([(0.36 + i * 0.06, -sole), (0.28 + i * 0.06, -0.26)], "second", 0.026)
    elif k[6] < 0.8:
        sketch.part(smooth([(0.2, -0.2), (0.3, -0.15), (0.62, -0.28), (0.34, -0.23), (0.24, -0.26)]), "second",
                    shade="flat")
    return sketch


def _sandal(item: Item) -> Sketch:
    k = item.knobs
    heel, sole = mix(0.02, 0.2, k[0] ** 2), mix(0.03, 0.08, k[1])
    lift = heel + sole
    reach = TOE[item.states["shape"]][0]
    sketch = Sketch(print_at=(0.6, -0.1, 0.05))
    if heel > 0.05:
        sketch.part([(0.0, -lift), (0.2, -lift), (0.16, 0), (0.03, 0)], "wood", shade="gloss")
    sketch.part(smooth([(-0.02, -lift), (0.25, -lift + 0.01), (0.55, -sole), (reach, -sole - 0.015),
                        (reach + 0.01, -0.02), (reach - 0.05, 0), (0.55, 0), (0.25, -heel), (-0.01, -heel)]),
                "wood" if k[2] < 0.5 else "dark", shade="gloss")
    broad = mix(0.035, 0.065, k[7])
    for x, high in ((0.62, 0.21), (0.86, 0.14))[: 1 + (k[3] < 0.6)]:
        band = smooth([(x - 0.10, -sole * 0.7), (x - 0.06, -high * 0.7), (x + 0.01, -high - sole * 0.4),
                       (x + 0.08, -high * 0.7), (x + 0.11, -sole * 0.5)], closed=False)
        sketch.part(ribbon(band, broad), pattern=True)
    if k[4] < 0.75:
        high = lift + mix(0.16, 0.26, k[5])
        sketch.part(ribbon(smooth([(0.03, -lift + 0.01), (0.02, -high + 0.04), (0.10, -high)], closed=False), 0.035),
                    "main")
        sketch.part(ribbon(smooth([(0.02, -high + 0.03), (0.16, -high - 0.02), (0.30, -high + 0.04), (0.22, -lift)],
                                  closed=False), 0.035), "main", pattern=True)
        sketch.part(ellipse(0.30, -high + 0.045, 0.024, 0.024, 12), "metal", shade="gloss",
                    holes=[ellipse(0.30, -high + 0.045, 0.011, 0.011, 8)])
    if k[6] < 0.45:
        sketch.part(ribbon(smooth([(0.28, -lift - 0.15), (0.5, -lift * 0.5 - 0.20), (0.68, -0.19)], closed=False),
                           0.03), "main")
    elif k[6] < 0.7:
        sketch.part(ellipse(0.74, -0.155, 0.035, 0.03), "second", shade="gloss")
    return sketch
