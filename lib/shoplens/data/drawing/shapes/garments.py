"""Cuts of coats, dresses and tops: what sets one leaf apart from the next."""

from __future__ import annotations

import numpy as np

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.shapes.sketch import Sketch, mix
from shoplens.data.drawing.shapes.tailor import Cut, upper_garment


def top(item: Item, pose: np.ndarray) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    cut = Cut(length=mix(0.60, 0.74, k[0]), neck=mix(0.07, 0.095, k[1]), neck_depth=mix(0.05, 0.09, k[2]))
    if leaf == "t-shirt":
        cut.collar = "vee" if k[3] < 0.3 else "crew"
        cut.pockets = "chest" if k[4] < 0.25 else "none"
    elif leaf == "tank top":
        cut.shoulder, cut.neck, cut.neck_depth = 0.15, mix(0.085, 0.11, k[1]), mix(0.11, 0.17, k[2])
    elif leaf == "polo shirt":
        cut.collar, cut.front, cut.cuffs = "polo", "half", True
        cut.pockets = "chest" if k[4] < 0.4 else "none"
    elif leaf == "dress shirt":
        cut.collar, cut.front, cut.cuffs = "shirt", "buttons", True
        cut.pockets = "chest" if k[4] < 0.6 else "none"
        cut.length *= 1.08
    else:  # sweater
        cut.collar = "turtle" if k[3] < 0.35 else "vee" if k[3] < 0.55 else "crew"
        cut.cuffs, cut.knit, cut.sleeve_width, cut.cuff = True, True, 0.1, 0.056
    return upper_garment(item, pose, cut)


def coat(item: Item, pose: np.ndarray) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    cut = Cut(length=mix(0.68, 0.82, k[0]), shoulder=0.23, chest=0.225, waist=0.21, hip=0.22, hem=0.225,
              sleeve_width=0.1, cuff=0.06)
    if leaf == "trench coat":
        cut.length, cut.hem, cut.waist = mix(0.98, 1.22, k[0]), mix(0.26, 0.32, k[1]), 0.185
        cut.collar, cut.front, cut.pockets = "lapel", "double", "slant"
        cut.belt, cut.cuffs, cut.neck_depth = k[2] < 0.85, True, mix(0.16, 0.24, k[3])
    elif leaf == "blazer":
        cut.collar, cut.pockets, cut.waist = "lapel", "flap" if k[2] < 0.6 else "welt", 0.192
        cut.front = "double" if k[4] < 0.25 else "buttons"
        cut.neck_depth = mix(0.28, 0.40, k[3])
    elif leaf == "down jacket":
        cut.length, cut.padding, cut.quilted = mix(0.66, 0.95, k[0]), mix(0.010, 0.018, k[1]), True
        cut.collar = "hood" if k[2] < 0.45 else "stand"
        cut.front, cut.pockets, cut.cuffs, cut.sleeve_width = "zip", "slant", True, 0.12
    else:  # hoodie
        cut.collar, cut.pockets, cut.cuffs = "hood", "pouch", True
        cut.front = "zip" if k[2] < 0.45 else "closed"
        cut.sleeve_width = 0.11
    return upper_garment(item, pose, cut)


def dress(item: Item, pose: np.ndarray) -> Sketch:
    k, leaf = item.knobs, item.leaf.name
    cut = Cut(length=mix(0.98, 1.25, k[0]), shoulder=0.19, chest=0.18, waist=0.145, waist_y=mix(0.33, 0.39, k[1]),
              hip=0.22, hem=0.25, neck=mix(0.08, 0.11, k[2]), neck_depth=mix(0.06, 0.14, k[3]))
    if leaf == "a-line dress":
        cut.hem, cut.hip = mix(0.32, 0.44, k[4]), mix(0.23, 0.27, k[4])
        cut.collar, cut.belt = "vee" if k[5] < 0.35 else "crew", k[6] < 0.4
    elif leaf == "sheath dress":
        cut.hem, cut.hip, cut.waist = mix(0.165, 0.195, k[4]), 0.205, 0.152
        cut.collar = "vee" if k[5] < 0.3 else "crew"
    elif leaf == "slip dress":
        cut.collar, cut.hem, cut.hip = "straps", mix(0.19, 0.29, k[4]), 0.2
        cut.neck_depth, cut.neck = mix(0.20, 0.25, k[3]), 0.12
    else:  # shirt dress
        cut.collar, cut.front, cut.cuffs = "shirt", "buttons", True
        cut.belt, cut.hem, cut.waist = k[6] < 0.7, mix(0.22, 0.30, k[4]), 0.168
        cut.pockets = "chest" if k[5] < 0.5 else "none"
    return upper_garment(item, pose, cut)
