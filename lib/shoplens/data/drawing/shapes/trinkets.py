"""Outlines of small things: jewellery, watches, glasses and makeup."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, box, ellipse, mirrored, mix, smooth


def accessory(item: Item, pose: np.ndarray) -> Sketch:
    return {"necklace": _necklace, "wristwatch": _watch}.get(item.leaf.name, _glasses)(item, pose)


def _necklace(item: Item, pose: np.ndarray) -> Sketch:
    k = item.knobs
    sketch = Sketch()
    drop, wide = mix(0.7, 1.0, k[0]), mix(0.30, 0.42, k[1]) * (1 + 0.12 * pose[0])
    chain = smooth([(-wide * 0.55, -0.02), (-wide, 0.25), (-wide * 0.75, 0.55 * drop + 0.1), (0, drop),
                    (wide * 0.75, 0.55 * drop + 0.1), (wide, 0.25), (wide * 0.55, -0.02)], closed=False, steps=10)
    bead = mix(0.016, 0.034, k[2])
    gem = "main" if k[3] < 0.45 else "metal"
    stride = max(2, round(bead * 90))
    sketch.line(chain, "metal", 0.016)
    for x, y in chain[::stride]:
        sketch.part(ellipse(x, y, bead, bead, 10), gem, shade="flat")
        sketch.part(ellipse(x - bead * 0.3, y - bead * 0.3, bead * 0.35, bead * 0.35, 8), "light", shade="flat")
    size = mix(0.09, 0.16, k[4])
    if item.states["shape"] == "round":
        outline = ellipse(0, drop + size, size, size * mix(0.9, 1.3, k[5]))
    else:
        tilt = mix(0.7, 1.1, k[5])
        outline = np.array([(0, drop - 0.01), (size * tilt, drop + size), (0, drop + 2 * size),
                            (-size * tilt, drop + size)])
        if k[6] < 0.5:
            outline = box(-size * 0.8, drop + 0.01, size * 0.8, drop + 1.9 * size, 0.01)
    centre = outline.mean(axis=0)
    sketch.part(centre + (outline - centre) * 1.18, "metal", shade="gloss")
    sketch.part(outline, "main", shade="ball")
    if k[7] < 0.5:
        sketch.part(centre + (outline - centre) * 0.45, "second", shade="ball")
    return sketch


def _watch(item: Item, pose: np.ndarray) -> Sketch:
    k = item.knobs
    sketch = Sketch()
    strap, case = mix(0.10, 0.14, k[0]), mix(0.19, 0.24, k[1])
    steel = k[2] < 0.3
    for side in (-1, 1):
        tail = np.array([(-strap, side * 0.12), (strap, side * 0.12), (strap * 0.8, side * 0.62),
                         (-strap * 0.8, side * 0.62)])
        sketch.part(tail, "metal" if steel else "main", shade="tube")
        if steel:
            for y in np.arange(0.2, 0.6, 0.05):
                sketch.line([(-strap * 0.95, side * y), (strap * 0.95, side * y)], (70, 70, 76), 0.008)
        else:
            sketch.both([(strap * 0.82, side * 0.24), (strap * 0.66, side * 0.6)], "stitch", 0.006)
    if not steel:
        for y in (0.40, 0.47, 0.54):
            sketch.part(ellipse(0, y, 0.012, 0.016, 8), "inner", shade="flat")
    sketch.part(box(case, -0.03, case + 0.035, 0.03, 0.01), "metal", shade="gloss")
    if item.states["shape"] == "round":
        frame = ellipse(0, 0, case, case, 36)
    else:
        frame = box(-case * 0.9, -case * 1.05, case * 0.9, case * 1.05, mix(0.03, 0.09, k[3]))
    sketch.part(frame, "metal", shade="ball")
    dial = "light" if k[4] < 0.4 else "main" if steel or k[4] > 0.75 else "dark"
    sketch.part(frame * 0.82, dial, shade="flat")
    ink = "dark" if dial == "light" else "light"
    for turn in np.deg2rad(np.arange(0, 360, 30 if k[5] < 0.6 else 90)):
        way = np.array([np.sin(turn), -np.cos(turn)]) * case
        sketch.line([way * 0.66, way * 0.76], ink, 0.014)
    for turn, reach in ((k[6] * 360, 0.62), (k[7] * 360, 0.42)):
        turn = np.deg2rad(turn)
        sketch.line([(0, 0), (np.sin(turn) * case * reach, -np.cos(turn) * case * reach)], ink, 0.018)
    if k[8] < 0.4:
        sketch.part(ellipse(0, case * 0.38, case * 0.17, case * 0.17, 14), "second", shade="flat")
    return sketch


def _glasses(item: Item, pose: np.ndarray) -> Sketch:
    k, sun = item.knobs, item.leaf.name == "sunglasses"
    shape = item.states["shape"]
    sketch = Sketch()
    wide, high = mix(0.20, 0.25, k[0]), mix(0.15, 0.20, k[1]) * (1.12 if sun else 0.95)
    gap, rim = mix(0.035, 0.06, k[2]), mix(0.014, 0.045, k[3])
    centre = gap + wide
    if shape == "round":
        lens = ellipse(centre, 0, (wide + high) / 2, (wide + high) / 2 * mix(0.9, 1.05, k[4]), 32)
    elif shape == "square":
        lens = box(centre - wide, -high, centre + wide, high * mix(0.8, 1.0, k[4]), mix(0.03, 0.09, k[5]))
    else:
        lens = smooth([(centre - wide, -high * 0.55), (centre, -high * 0.75), (centre + wide * 1.2, -high * 1.25),
                       (centre + wide * 0.98, -0.1 * high), (centre + wide * 0.3, high),
                       (centre - wide * 0.7, high * 0.75)])
    middle = lens.mean(axis=0)
    outer = middle + (lens - middle) * (1 + rim * 5)
    frame = "metal" if rim < 0.02 else "main"
    right, top = outer[:, 0].max(), lens[:, 1].min() * 0.45
    fold = 0.30 + 0.10 * pose[1]
    for side in (1, -1):
        temple = smooth([(side * (right - 0.02), top), (side * (right + 0.05), top - 0.02),
                         (side * (right - fold * 0.3), top - fold), (side * (right - fold),
                                                                     top - fold * 1.05)], closed=False)
        sketch.line(temple, "seam" if frame == "main" else "metal", 0.022 + rim * 0.4)
    for side in (1, -1):
        flip = np.array([side, 1.0])
        tint = ("dark" if k[6] < 0.6 else "main") if sun else (205, 222, 228)
        sketch.part(lens * flip, tint, shade="gloss", opacity=round(mix(215, 255, k[7])) if sun else 70)
        sketch.fold((middle + [(-wide * 0.5, high * 0.4), (wide * 0.1, -high * 0.5)]) * flip, 0.05, 0.8)
        sketch.part(outer * flip, frame, pattern=False, shade="gloss", holes=[lens * flip])
    bridge = smooth([(-gap * 1.4, top * 0.3), (0, top * 0.3 - 0.035), (gap * 1.4, top * 0.3)], closed=False)
    sketch.line(bridge, frame, 0.022 + rim * 0.5)
    if sun and k[8] < 0.3:
        sketch.line([(-centre, top * 1.6), (centre, top * 1.6)], "metal", 0.016)
    return sketch


def makeup(item: Item, pose: np.ndarray) -> Sketch:
    draw = {"lipstick": _lipstick, "mascara": _mascara, "nail polish": _polish, "compact": _compact}[item.leaf.name]
    sketch = Sketch()
    draw(sketch, item, pose)
    return sketch


def _stick(sketch: Sketch, item: Item, half: float, top: float, bottom: float, paint: str) -> None:
    """A case standing upright: round ones shade like a cylinder, square ones show an edge."""
    if item.states["shape"] == "round":
        sketch.part(box(-half, top, half, bottom, 0.02), paint, shade="tube")
    else:
        sketch.part(box(-half, top, half, bottom), paint, shade="gloss")
        sketch.fold([(half * 0.35, top), (half * 0.35, bottom)], half * 0.9, -0.55)
        sketch.line([(half * 0.1, top), (half * 0.1, bottom)], "seam" if paint == "main" else (90, 88, 92), 0.006)


def _lipstick(sketch: Sketch, item: Item, pose: np.ndarray) -> None:
    k = item.knobs
    half, case = mix(0.11, 0.15, k[0]), "metal" if k[1] < 0.35 else "dark" if k[1] < 0.7 else "trim"
    bullet, rise = half * 0.66, mix(0.20, 0.32, k[2])
    slant = bullet * mix(0.5, 1.6, k[3])
    sketch.part(smooth([(-bullet, 0.3), (-bullet, 0.3), (-bullet, 0.3 - rise + slant),
                        (-bullet * 0.5, 0.3 - rise + slant * 0.3), (bullet * 0.5, 0.3 - rise - 0.02),
                        (bullet, 0.3 - rise + 0.03), (bullet, 0.3), (bullet, 0.3)]), "main", shade="tube")
    _stick(sketch, item, half * 0.82, 0.28, 0.46, "metal")
    _stick(sketch, item, half, 0.44, 0.92, case)
    sketch.line([(-half, 0.48), (half, 0.48)], "metal" if case != "metal" else (90, 88, 92), 0.014)
    if k[4] < 0.5:
        sketch.part(ellipse(0, 0.68, half * 0.35, half * 0.35), "metal" if case != "metal" else "dark", shade="flat")
    if pose[1] > 0:
        lid = Sketch()
        _stick(lid, item, half * 1.02, 0.40, 0.92, case)
        sketch.marks.extend(lid.moved(half * 2.5, 0.0).marks)


def _mascara(sketch: Sketch, item: Item, pose: np.ndarray) -> None:
    k = item.knobs
    half, split = mix(0.07, 0.10, k[0]), mix(0.42, 0.56, k[1])
    if pose[1] > 0:
        wand = Sketch()
        x = half * 3.4
        wand.line([(0, split), (0, 0.95)], "dark", 0.02)
        for y in np.arange(0.76, 1.0, 0.025):
            wand.line([(-half * 0.55, y), (half * 0.55, y + 0.012)], "dark", 0.014)
        _stick(wand, item, half, 0.05, split, "main")
        sketch.marks.extend(wand.moved(x, 0.0).marks)
        sketch.part(box(-half * 0.5, split - 0.09, half * 0.5, split + 0.02, 0.01), "metal", shade="tube")
    else:
        _stick(sketch, item, half * mix(0.85, 1.0, k[2]), 0.0, split, "main" if k[3] < 0.6 else "trim")
    sketch.part(box(-half * 1.04, split - 0.015, half * 1.04, split + 0.03), "metal", shade="tube")
    _stick(sketch, item, half, split + 0.02, 1.0, "main")
    for y in np.linspace(split + 0.12, split + 0.30, 2 + (k[4] < 0.5)):
        sketch.line([(-half * 0.55, y), (half * 0.55, y)], "metal" if k[5] < 0.5 else "second", 0.022)


def _polish(sketch: Sketch, item: Item, pose: np.ndarray) -> None:
    k = item.knobs
    half, body = mix(0.17, 0.23, k[0]), mix(0.34, 0.46, k[1])
    cap = half * mix(0.40, 0.55, k[2])
    cap_top = 0.52 - mix(0.42, 0.55, k[3])
    if item.states["shape"] == "round":
        outline = smooth([(0, 0.52), (cap * 0.9, 0.52), (half * 0.9, 0.56), (half, 0.52 + body * 0.5),
                          (half * 0.9, 0.5 + body), (0, 0.53 + body)], closed=False)
    else:
        outline = np.array([(0, 0.51), (cap * 0.9, 0.51), (half * 0.97, 0.57), (half, 0.59), (half, 0.52 + body),
                            (0, 0.52 + body)])
    sketch.part(mirrored(outline), "main", shade="tube")
    middle = mirrored(outline).mean(axis=0)
    sketch.line(middle + (mirrored(outline) - middle) * 0.88, "light", 0.008)
    sketch.part(box(-cap * 0.8, 0.47, cap * 0.8, 0.53), "metal", shade="tube")
    paint = "dark" if k[4] < 0.5 else "light" if k[4] < 0.7 else "metal"
    sketch.part([(-cap * mix(0.7, 1.0, k[5]), cap_top), (cap * mix(0.7, 1.0, k[5]), cap_top), (cap, 0.485),
                 (-cap, 0.485)], paint, shade="tube")
    if k[6] < 0.5:
        sketch.part(box(-half * 0.55, 0.60 + body * 0.2, half * 0.55, 0.62 + body * 0.42, 0.01), "light",
                    shade="flat")


def _compact(sketch: Sketch, item: Item, pose: np.ndarray) -> None:
    k, round_ = item.knobs, item.states["shape"] == "round"
    half = mix(0.33, 0.38, k[0])
    tall = half * mix(0.85, 1.0, k[1])
    lid_high = tall * (0.95 + 0.08 * pose[0])

    def tray(cy: float, rx: float, ry: float) -> np.ndarray:
        return ellipse(0, cy, rx, ry, 40) if round_ else box(-rx, cy - ry, rx, cy + ry, mix(0.03, 0.09, k[2]))

    sketch.part(tray(-lid_high, half, lid_high), "main", shade="gloss")
    sketch.part(tray(-lid_high, half * 0.84, lid_high * 0.84), (196, 214, 224), shade="gloss")
    sketch.fold([(-half * 0.5, -lid_high * 0.6), (half * 0.2, -lid_high * 1.6)], 0.1, 0.9)
    base = tall * 0.55
    sketch.part(tray(base * 0.98 + 0.03, half, base), "inner", shade="flat")
    sketch.part(tray(base * 0.98, half, base), "main", shade="gloss")
    powder = ["second", (226, 186, 152), (214, 150, 140)][int(k[3] * 3)]
    sketch.part(tray(base * 0.96, half * 0.82, base * 0.76), powder, shade="cloth")
    if k[4] < 0.5:
        sketch.line([(0, base * 0.25), (0, base * 1.68)], "main", 0.02)
    sketch.part(box(-0.05, -0.02, 0.05, 0.025, 0.008), "metal", shade="gloss")
    sketch.part(box(-0.045, base * 1.94, 0.045, base * 2.02 + 0.02, 0.008), "metal", shade="gloss")
