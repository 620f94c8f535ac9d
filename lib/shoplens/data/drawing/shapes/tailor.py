"""One tailor's pattern for every upper garment: body, sleeves, collar, front and pockets from a Cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, arc, box, ellipse, mirrored, mix, ribbon, smooth

SLEEVE_SHARE = {"sleeveless": 0.0, "short": 0.34, "elbow": 0.60, "long": 1.0}
FIT = {"slim": 0.84, "regular": 1.0, "loose": 1.2}


@dataclass
class Cut:
    """Half widths and heights of an upper garment, in product units; shoulders lie at y = 0."""

    length: float = 0.66
    shoulder: float = 0.215
    chest: float = 0.205
    waist: float = 0.19
    waist_y: float = 0.40
    hip: float = 0.205
    hem: float = 0.21
    sleeve: float = 1.0  # share of the arm
    sleeve_width: float = 0.085
    cuff: float = 0.05  # half width of the sleeve's end
    neck: float = 0.08
    neck_depth: float = 0.06
    collar: str = "crew"  # crew, vee, straps, shirt, polo, turtle, lapel, hood, stand
    front: str = "closed"  # closed, buttons, double, zip, half
    pockets: str = "none"  # none, chest, slant, flap, pouch, welt
    cuffs: bool = False  # ribbed or buttoned ends
    knit: bool = False
    quilted: bool = False
    belt: bool = False
    padding: float = 0.0  # bulge of a down jacket


def upper_garment(item: Item, pose: np.ndarray, cut: Cut) -> Sketch:
    """The garment of a cut, made wider or narrower by the item's shape and sleeved by its sleeve length."""
    fit = FIT[item.states["shape"]]
    cut.chest, cut.waist, cut.hip, cut.hem = cut.chest * fit**0.6, cut.waist * fit, cut.hip * fit, cut.hem * fit
    cut.shoulder, cut.sleeve_width = cut.shoulder * fit**0.4, cut.sleeve_width * fit**0.8
    cut.sleeve = SLEEVE_SHARE[item.states["sleeve_length"]]
    sketch = Sketch(print_at=(0.0, 0.31 if cut.front == "closed" else 0.28, 0.125))
    if cut.collar == "hood":
        sketch.part(smooth([(-0.15, 0.03), (-0.145, -0.1), (0, -0.17), (0.145, -0.1), (0.15, 0.03), (0, 0.1)]),
                    pattern=True)
    sketch.part(smooth([(-cut.neck, 0.0), (-cut.neck, 0.0), (0, -0.022), (cut.neck, 0.0), (cut.neck, 0.0),
                        (cut.neck * 0.7, cut.neck_depth + 0.02), (-cut.neck * 0.7, cut.neck_depth + 0.02)]), "inner")
    if cut.sleeve:
        for side in (1, -1):
            _sleeve(sketch, item, cut, side, mix(14, 40, 0.5 + 0.5 * pose[0]))
    _body(sketch, item, cut)
    _collar(sketch, item, cut)
    _front(sketch, item, cut)
    _pockets(sketch, item, cut)
    return sketch


def _sleeve(sketch: Sketch, item: Item, cut: Cut, side: int, degrees: float) -> None:
    lean = np.deg2rad(degrees)
    along, across = np.array([np.sin(lean), np.cos(lean)]), np.array([np.cos(lean), -np.sin(lean)])
    reach = 0.60 * cut.sleeve
    start = np.array([cut.shoulder - 0.012, 0.055])
    end_half = mix(cut.sleeve_width * 0.95, cut.cuff, cut.sleeve)
    pit = np.array([cut.chest - 0.03, 0.225])
    outer = [start + (-0.03, -0.05), start + across * cut.sleeve_width * 0.45 + along * 0.02,
             start + along * reach * 0.5 + across * cut.sleeve_width * (0.62 + cut.padding * 8),
             start + along * reach + across * end_half]
    inner = [start + along * reach - across * end_half,
             start + along * max(reach * 0.5, 0.1) - across * cut.sleeve_width * 0.62, pit]
    flip = np.array([side, 1.0])
    outline = np.concatenate([smooth(outer, closed=False), smooth(inner, closed=False)]) * flip
    sketch.part(outline, pattern=True)
    ends = np.array([outer[-1], inner[0]])
    if cut.cuffs:
        back = ends - along * 0.045
        sketch.part(np.array([ends[0], ends[1], back[1], back[0]]) * flip, "trim" if item.knobs[7] < 0.3 else "main",
                    shade="tube")
    else:
        sketch.line((ends - along * 0.02) * flip, "seam", 0.005)
    if cut.quilted:
        for share in np.arange(0.12, cut.sleeve, 0.13):
            mid = start + along * share * 0.6
            sketch.line(np.array([mid + across * cut.sleeve_width * 0.7,
                                  mid - across * cut.sleeve_width * 0.7]) * flip,
                        "seam", 0.006)
    elif cut.sleeve > 0.5:
        elbow = start + along * reach * 0.55
        sketch.fold(np.array([elbow - across * 0.05, elbow + across * 0.03 + along * 0.03]) * flip, 0.02, -0.5)


def _body(sketch: Sketch, item: Item, cut: Cut) -> None:
    deep = cut.neck_depth
    if cut.collar == "straps":
        half = [(0.0, deep), (cut.neck * 0.55, deep - 0.045), (cut.neck, deep - 0.09), (cut.chest * 0.86, 0.23),
                (cut.chest * 0.96, 0.26)]
        for side in (1, -1):
            sketch.line([(side * cut.neck, deep - 0.085), (side * cut.neck * 0.85, 0.0)], "main", 0.014)
    else:
        bow = {"vee": 0.35, "lapel": 0.3}.get(cut.collar, 0.93)
        half = [(0.0, deep), (cut.neck * 0.6, deep * bow), (cut.neck, 0.0), (cut.neck, 0.0)]
        if cut.sleeve:
            half += [(cut.shoulder, 0.045), (cut.shoulder, 0.045), (cut.chest, 0.2)]
        else:
            half += [(cut.shoulder * 0.86, 0.028), (cut.shoulder * 0.86, 0.028), (cut.shoulder * 0.80, 0.13),
                     (cut.chest, 0.235), (cut.chest, 0.235)]
    hip_y = min(cut.waist_y + 0.2, cut.length - 0.06)
    half += [(cut.waist, min(cut.waist_y, cut.length - 0.12)), (cut.hip, hip_y), (cut.hem, cut.length - 0.01),
             (cut.hem, cut.length - 0.01), (cut.hem * 0.5, cut.length + 0.012), (0.0, cut.length + 0.015)]
    half = smooth(half, closed=False)
    if cut.padding:
        half[:, 0] += cut.padding * np.abs(np.sin(half[:, 1] * 24)) * (half[:, 1] > 0.2)
    sketch.part(mirrored(half), pattern=True)
    if cut.sleeve:
        sketch.both(smooth([(cut.shoulder - 0.005, 0.05), (cut.shoulder - 0.03, 0.13), (cut.chest - 0.015, 0.215)],
                           closed=False), "seam", 0.005)
    if cut.cuffs and cut.collar in ("hood", "stand", "crew", "turtle"):
        sketch.line([(-cut.hem, cut.length - 0.05), (0, cut.length - 0.03), (cut.hem, cut.length - 0.05)], "seam",
                    0.006)
    else:
        sketch.line([(-cut.hem, cut.length - 0.03), (0, cut.length - 0.008), (cut.hem, cut.length - 0.03)], "seam",
                    0.004)
    if cut.quilted:
        for y in np.arange(0.19, cut.length - 0.04, 0.131):
            sketch.line([(-cut.chest - 0.01, y), (0, y + 0.014), (cut.chest + 0.01, y)], "seam", 0.008)
            sketch.fold([(-cut.chest, y + 0.05), (cut.chest, y + 0.05)], 0.04, 0.45)
    elif cut.knit:
        _knit(sketch, item, cut)
    else:
        _drape(sketch, item, cut)


def _knit(sketch: Sketch, item: Item, cut: Cut) -> None:
    """Ribs at the hem, and cables or plain wales above."""
    for x in np.linspace(-cut.hem * 0.95, cut.hem * 0.95, 17):
        sketch.line([(x, cut.length - 0.045), (x, cut.length)], "seam", 0.005)
    if item.knobs[8] < 0.5:
        for x in (-0.085, 0.0, 0.085):
            for way in (1, -1):
                rows = np.arange(cut.neck_depth + 0.05, cut.length - 0.06, 0.035)
                sketch.fold(np.stack([x + way * 0.018 * np.cos(np.arange(len(rows)) * np.pi), rows], axis=1), 0.014,
                            -0.7 if way > 0 else 0.5)
    else:
        for x in np.linspace(-0.8, 0.8, 9) * cut.waist:
            sketch.fold([(x, 0.16), (x, cut.length - 0.05)], 0.012, -0.55)


def _drape(sketch: Sketch, item: Item, cut: Cut) -> None:
    k = item.knobs
    for i in range(5):
        x = mix(-0.8, 0.8, (i + k[8 + i]) / 5)
        top_y = mix(cut.waist_y - 0.05, cut.waist_y + 0.12, k[13 + i])
        sketch.fold([(x * cut.waist, min(top_y, cut.length - 0.2)), (x * cut.hem, cut.length)],
                    mix(0.02, 0.045, k[9 + i]), -0.6 if i % 2 else 0.45)
    sketch.fold([(-cut.chest, 0.24), (-cut.chest * 0.35, 0.30)], 0.03, -0.5)
    sketch.fold([(cut.chest, 0.24), (cut.chest * 0.35, 0.30)], 0.03, -0.5)


def _collar(sketch: Sketch, item: Item, cut: Cut) -> None:
    neck, deep = cut.neck, cut.neck_depth
    if cut.collar in ("crew", "vee"):
        bow = 0.35 if cut.collar == "vee" else 0.93
        rim = smooth([(neck, 0.0), (neck * 0.6, deep * bow), (0, deep), (-neck * 0.6, deep * bow), (-neck, 0)],
                     closed=False)
        sketch.part(ribbon(rim, 0.018), "trim" if item.knobs[7] < 0.3 else "seam", shade="flat")
    elif cut.collar == "turtle":
        sketch.part(smooth([(-neck, -0.07), (0, -0.062), (neck, -0.07), (neck * 1.1, 0.03), (0, deep),
                            (-neck * 1.1, 0.03)]))
        sketch.line([(-neck, -0.02), (0, -0.012), (neck, -0.02)])
    elif cut.collar in ("shirt", "polo"):
        spread = mix(0.09, 0.125, item.knobs[18])
        for side in (1, -1):
            flap = np.array([(0.004, deep), (neck + 0.012, -0.028), (neck + 0.026, 0.02), (spread, deep + 0.065),
                             (0.06, deep + 0.055)])
            paint = "trim" if item.knobs[7] < 0.25 else "main"
            sketch.part(flap * (side, 1), paint, pattern=paint == "main" and item.knobs[7] > 0.6)
            sketch.line(np.concatenate([flap, flap[:1]]) * (side, 1))
    elif cut.collar == "lapel":
        notch = mix(0.35, 0.5, item.knobs[18])
        for side in (-1, 1):
            flap = np.array([(0.0, deep + 0.02), (neck + 0.01, -0.02), (neck + 0.05, 0.04), (0.15, deep * notch),
                             (0.115, deep * notch + 0.02), (0.145, deep * notch + 0.045)])
            sketch.part(flap * (side, 1), "main", pattern=True)
            sketch.line(np.concatenate([flap, flap[:1]]) * (side, 1), "seam", 0.007)
    elif cut.collar == "hood":
        sketch.part(ellipse(0, -0.03, 0.085, 0.075), "inner")
        sketch.part(ribbon(arc(0, -0.03, 0.1, 0.09, 20, -200, 20), 0.03), "main", pattern=True)
        sketch.both([(0.04, 0.06), (0.045, 0.2)], "trim", 0.012)
    elif cut.collar == "stand":
        sketch.part(smooth([(-neck, -0.06), (0, -0.05), (neck, -0.06), (neck * 1.25, 0.04), (0, deep + 0.01),
                            (-neck * 1.25, 0.04)]))


def _front(sketch: Sketch, item: Item, cut: Cut) -> None:
    start, paint = cut.neck_depth + 0.02, "metal" if item.knobs[19] < 0.25 else "trim"
    if cut.front == "buttons":
        sketch.line([(0.018, start), (0.018, cut.length)], "seam", 0.005)
        blazer = cut.collar == "lapel"
        count = 2 + (item.knobs[20] < 0.4) if blazer else 6
        sketch.buttons(0.0, start + 0.05, start + 0.05 + 0.09 * count if blazer else cut.length - 0.07, count, paint,
                       0.015 if blazer else 0.010)
    elif cut.front == "double":
        sketch.line([(0.055, start), (0.06, cut.length)], "seam", 0.006)
        for x in (-0.055, 0.085):
            sketch.buttons(x, start + 0.05, min(cut.waist_y + 0.16, cut.length - 0.1), 3, paint, 0.016)
    elif cut.front == "zip":
        sketch.line([(0, start - 0.02), (0, cut.length)], "seam", 0.018)
        sketch.line([(0, start - 0.02), (0, cut.length)], "metal", 0.007)
    elif cut.front == "half":
        sketch.part(box(-0.02, start - 0.01, 0.02, start + 0.15), "trim" if item.knobs[7] < 0.25 else "main")
        sketch.line([(0.02, start), (0.02, start + 0.15), (-0.02, start + 0.15)], "seam", 0.005)
        sketch.buttons(0.0, start + 0.03, start + 0.12, 3, paint, 0.009)
    if cut.belt:
        y = cut.waist_y
        sketch.part(box(-cut.waist - 0.012, y - 0.02, cut.waist + 0.012, y + 0.022, 0.006), "trim", shade="cloth")
        sketch.part(box(-0.03, y - 0.028, 0.03, y + 0.03, 0.006), "metal", shade="gloss",
                    holes=[box(-0.018, y - 0.015, 0.018, y + 0.017)])


def _pockets(sketch: Sketch, item: Item, cut: Cut) -> None:
    low = min(cut.waist_y + 0.08, cut.length - 0.17)
    if cut.pockets == "chest":
        pocket = np.array([(0.055, 0.24), (0.135, 0.24), (0.135, 0.32), (0.095, 0.338), (0.055, 0.32), (0.055, 0.24)])
        sketch.line(pocket, "seam", 0.006)
    elif cut.pockets == "slant":
        sketch.both([(0.14, low), (0.105, low + 0.12)], "seam", 0.014)
    elif cut.pockets in ("flap", "welt"):
        for side in (1, -1):
            x = sorted((side * 0.07, side * 0.165))
            if cut.pockets == "flap":
                sketch.part(box(x[0], low, x[1], low + 0.045, 0.01), "main", pattern=True)
            sketch.line([(x[0], low), (x[1], low)], "seam", 0.009)
        sketch.line([(0.075, 0.235), (0.13, 0.225)], "seam", 0.009)
    elif cut.pockets == "pouch":
        pouch = np.array([(-0.075, low), (0.075, low), (0.13, low + 0.13), (-0.13, low + 0.13), (-0.075, low)])
        sketch.line(pouch, "seam", 0.008)
