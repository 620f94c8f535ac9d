"""Fabric and print: the picture-sized texture that a patterned part of an item is cut from."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shoplens.data.drawing.items import Item, blend
from shoplens.data.drawing.shapes.sketch import ellipse, mix

WORDS = ("NOVA", "ROAM", "79", "WILD", "LUCKY", "SEA", "HELLO", "CITY", "ZEN", "1984", "MUSE", "GO!")


def texture(item: Item, side: int) -> Image.Image:
    """`side` x `side` RGB cloth of the item's pattern; a printed motif is not in it (see `motif`)."""
    main = item.palette["main"]
    draw = _TEXTURES.get(item.states.get("pattern", "plain"))
    return Image.new("RGB", (side, side), main) if draw is None else draw(item, side)


def _stripes(item: Item, side: int) -> Image.Image:
    k, paint = item.pattern_knobs, item.palette
    period = max(4, round(side * mix(0.035, 0.095, k[0])))
    share = mix(0.25, 0.5, k[1])
    step = np.arange(side)
    down, across = np.meshgrid(step, step, indexing="ij")
    phase = down + across if k[2] > 0.75 else down if k[3] < 0.6 else across
    phase = phase % period
    cloth = np.empty((side, side, 3), np.uint8)
    cloth[:] = paint["main"]
    cloth[phase < share * period] = paint["second"]
    if k[4] < 0.35:
        middle = round(period * (1 + share) / 2)
        cloth[(phase == middle) | (phase == middle + 1)] = paint["third"]
    return Image.fromarray(cloth)


def _checks(item: Item, side: int) -> Image.Image:
    k, paint = item.pattern_knobs, item.palette
    period = max(6, round(side * mix(0.07, 0.16, k[0])))
    share = mix(0.35, 0.55, k[1])
    line = np.arange(side) % period
    bar = (line < share * period).astype(int)
    level = bar[:, None] + bar[None, :]
    cloth = np.empty((side, side, 3), np.uint8)
    for count, strength in enumerate((0.0, 0.42, 0.85)):
        cloth[level == count] = blend(paint["main"], paint["second"], strength)
    if k[2] < 0.6:
        thin = (line == round(period * (1 + share) / 2)) | (line == round(period * (1 + share) / 2) + 1)
        cloth[thin, :] = blend(paint["main"], paint["third"], 0.8)
        cloth[:, thin] = blend(paint["main"], paint["third"], 0.8)
    return Image.fromarray(cloth)


def _tiled(side: int, tile: Image.Image) -> Image.Image:
    repeats = side // tile.width + 1
    return Image.fromarray(np.tile(np.asarray(tile), (repeats, repeats, 1))[:side, :side])


def _dots(item: Item, side: int) -> Image.Image:
    k, paint = item.pattern_knobs, item.palette
    period = max(8, round(side * mix(0.055, 0.13, k[0])))
    radius = period * mix(0.13, 0.24, k[1])
    tile = Image.new("RGB", (period, period), paint["main"])
    draw = ImageDraw.Draw(tile)
    spots = [(0.25, 0.25), (0.75, 0.75)] if k[2] < 0.7 else [(0.5, 0.5)]
    for index, (x, y) in enumerate(spots):
        ink = paint["third"] if index and k[3] < 0.25 else paint["second"]
        draw.ellipse([period * x - radius, period * y - radius, period * x + radius, period * y + radius], ink)
    return _tiled(side, tile)


def _floral(item: Item, side: int) -> Image.Image:
    k, paint = item.pattern_knobs, item.palette
    period = round(side * mix(0.16, 0.30, k[0]))
    tile = Image.new("RGB", (period, period), paint["main"])
    draw = ImageDraw.Draw(tile)
    petals, turn = 5 + int(k[1] * 3), k[2] * 6
    leaf = blend((70, 128, 74), paint["main"], 0.25)
    for x, y, size in ((0.28, 0.30, 0.20), (0.74, 0.68, 0.16), (0.76, 0.20, 0.10), (0.26, 0.78, 0.11)):
        size *= mix(0.85, 1.15, k[3])
        cx, cy = x * period, y * period
        for way in (-1, 1):
            stem = ellipse(cx + way * size * period * 0.9, cy + size * period * 0.8, size * period * 0.5,
                           size * period * 0.2, 10)
            draw.polygon([tuple(point) for point in stem], leaf)
        ink = paint["second"] if size > 0.13 else paint["third"]
        for angle in turn + np.arange(petals) * (2 * np.pi / petals):
            px, py = cx + np.cos(angle) * size * period * 0.55, cy + np.sin(angle) * size * period * 0.55
            radius = size * period * 0.42
            draw.ellipse([px - radius, py - radius, px + radius, py + radius], ink)
        core = size * period * 0.28
        draw.ellipse([cx - core, cy - core, cx + core, cy + core], (238, 196, 74) if k[4] < 0.6 else paint["light"])
    return _tiled(side, tile)


def _animal(item: Item, side: int) -> Image.Image:
    k, paint = item.pattern_knobs, item.palette
    rng = np.random.Generator(np.random.PCG64(int(k[0] * 2**40)))
    if k[1] < 0.6:  # leopard: broken rings around a darker middle
        period = round(side * mix(0.22, 0.34, k[2]))
        tile = Image.new("RGB", (period, period), paint["main"])
        draw = ImageDraw.Draw(tile)
        for cell in range(16):
            x, y = ((cell % 4 + 0.2 + 0.6 * rng.random()) / 4 * period,
                    (cell // 4 + 0.2 + 0.6 * rng.random()) / 4 * period)
            radius, start = period * (0.06 + 0.05 * rng.random()), 360 * rng.random()
            where = [x - radius, y - radius * 0.8, x + radius, y + radius * 0.8]
            draw.ellipse(where, blend(paint["main"], paint["second"], 0.45))
            draw.arc(where, start, start + 250, paint["second"], max(1, round(radius * 0.6)))
        return _tiled(side, tile)
    field = rng.integers(0, 256, (14, 9), dtype=np.uint8)  # zebra: level bands of a smooth height field
    height = np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BICUBIC)).astype(int)
    bands = (height + np.arange(side)[:, None] * 3) // max(10, round(mix(16, 26, k[2]))) % 2
    cloth = np.empty((side, side, 3), np.uint8)
    cloth[:] = paint["main"]
    cloth[bands == 1] = paint["second"]
    return Image.fromarray(cloth)


_TEXTURES = {"stripes": _stripes, "checks": _checks, "dots": _dots, "floral": _floral, "animal": _animal}


def motif(item: Item, side: int) -> Image.Image:
    """The printed picture of pattern "print", RGBA, `side` x `side`: a word, an emblem or a small landscape."""
    k, paint = item.pattern_knobs, item.palette
    canvas = Image.new("RGBA", (side, side), paint["second"] + (0,))
    draw = ImageDraw.Draw(canvas)
    first, other = paint["second"], paint["third"]
    kind = int(k[0] * 6)
    if kind in (0, 1):
        word = WORDS[int(k[1] * len(WORDS))]
        font = ImageFont.load_default(size=max(6, round(side * 1.25 / max(3, len(word)))))
        draw.text((side / 2, side * 0.42), word, fill=first, font=font, anchor="mm", stroke_width=max(1, side // 60),
                  stroke_fill=first)
        if kind:
            draw.rectangle([side * 0.1, side * 0.72, side * 0.9, side * 0.78], other)
            draw.rectangle([side * 0.1, side * 0.82, side * 0.6, side * 0.86], other)
    elif kind == 2:
        points = 5 + int(k[1] * 3)
        turn = np.arange(2 * points) * np.pi / points - np.pi / 2
        radius = np.where(np.arange(2 * points) % 2, 0.2, 0.46) * side
        star = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1) + side / 2
        draw.polygon([tuple(point) for point in star.tolist()], first)
    elif kind == 3:
        draw.ellipse([side * 0.08, side * 0.08, side * 0.92, side * 0.92], first)
        draw.polygon([(side * 0.14, side * 0.68), (side * 0.4, side * 0.3), (side * 0.58, side * 0.56),
                      (side * 0.7, side * 0.42),
                      (side * 0.86, side * 0.68), (side * 0.7, side * 0.84), (side * 0.3, side * 0.84)], other)
    elif kind == 4:
        draw.pieslice([side * 0.08, side * 0.14, side * 0.52, side * 0.56], 150, 360, first)
        draw.pieslice([side * 0.48, side * 0.14, side * 0.92, side * 0.56], 180, 390, first)
        draw.polygon([(side * 0.09, side * 0.40), (side * 0.5, side * 0.32), (side * 0.91, side * 0.40),
                      (side * 0.5, side * 0.92)], first)
    else:
        for index, ink in enumerate((first, other, first)):
            inset = side * (0.06 + 0.15 * index)
            draw.ellipse([inset, inset, side - inset, side - inset], None, ink, max(2, side // 14))
    return canvas
