"""What a shop writes over its pictures, and what gets in the way of a consumer's camera; both hide the product."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shoplens.data.drawing.items import blend
from shoplens.data.drawing.scenes import VIVID, pick, thing
from shoplens.data.drawing.shapes.sketch import mix

_SLOGANS = ("SALE", "NEW", "HOT", "-30%", "-50%", "FREE SHIPPING", "BEST PRICE", "2 FOR 1", "TODAY ONLY", "LIMITED",
            "TOP SELLER", "NEW SEASON", "CLICK NOW", "IN STOCK", "GIFT INSIDE", "11.11")


def _text(draw, rng, words: str, x: float, y: float, height: float, ink, room: float) -> None:
    """Words centred at (x, y), at most `room` pixels wide."""
    size = max(5, round(min(height, room / (0.58 * len(words)))))
    draw.text((x, y), words, fill=ink, font=ImageFont.load_default(size=size), anchor="mm", stroke_width=size // 14,
              stroke_fill=ink)


def _price(rng) -> str:
    return f"{pick(rng, ('$', 'ONLY $', ''))}{int(rng.integers(9, 499))}{pick(rng, ('', '.00', '.90', '.99'))}"


def _banner(draw, rng, side, tone) -> None:
    high, top = side * mix(0.09, 0.17, rng.random()), rng.random() < 0.35
    y = 0 if top else side - high
    draw.rectangle([0, y, side, y + high], tone)
    _text(draw, rng, pick(rng, _SLOGANS), side / 2, y + high / 2, high * 0.72, (255, 255, 255), side * 0.92)


def _badge(draw, rng, side, tone) -> None:
    radius = side * mix(0.08, 0.13, rng.random())
    x = radius * 1.15 if rng.random() < 0.5 else side - radius * 1.15
    y = radius * 1.15 if rng.random() < 0.7 else side - radius * 1.15
    if rng.random() < 0.5:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], tone)
    else:
        turn = np.arange(24) * np.pi / 12
        reach = np.where(np.arange(24) % 2, 0.82, 1.08) * radius
        draw.polygon([(x + r * np.cos(t), y + r * np.sin(t)) for r, t in zip(reach, turn, strict=True)], tone)
    _text(draw, rng, pick(rng, _SLOGANS[:5]), x, y, radius * 0.75, (255, 255, 255), radius * 1.8)


def _tag(draw, rng, side, tone) -> None:
    wide, high = side * mix(0.22, 0.34, rng.random()), side * mix(0.08, 0.12, rng.random())
    x = mix(0, side - wide, rng.random() < 0.5)
    y = mix(side * 0.02, side - high * 1.2, rng.random() < 0.6)
    draw.rectangle([x, y, x + wide, y + high], tone)
    _text(draw, rng, _price(rng), x + wide / 2, y + high / 2, high * 0.8, (255, 246, 200), wide * 0.9)


def _column(draw, rng, side, tone) -> None:
    """Small print down one side."""
    x = side * (0.14 if rng.random() < 0.5 else 0.86)
    for row in range(int(rng.integers(2, 5))):
        _text(draw, rng, pick(rng, _SLOGANS), x, side * (0.2 + 0.11 * row), side * 0.055, tone, side * 0.26)


def _watermark(draw, rng, side, tone) -> None:
    ink = blend(tone, (255, 255, 255), 0.4) + (120,)
    _text(draw, rng, pick(rng, ("MYSHOP.CC", "SUNNY STORE", "mall-88", "Lily's closet")),
          side * mix(0.3, 0.7, rng.random()),
          side * mix(0.3, 0.8, rng.random()), side * 0.08, ink, side * 0.6)


def promotion(rng: np.random.Generator, side: int) -> Image.Image:
    """RGBA layer of one to three promotional elements near the borders."""
    layer = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    kinds = (_banner, _badge, _tag, _column, _watermark)
    for index in rng.permutation(len(kinds))[: int(rng.integers(1, 4))]:
        kinds[index](draw, rng, side, pick(rng, VIVID))
    return layer


def occluder(rng: np.random.Generator, side: int, box: tuple[int, int, int, int]) -> Image.Image:
    """RGBA layer with one or two things at the rim of `box` (left, top, right, bottom; pixels), covering part of it."""
    layer = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    left, top, right, bottom = box
    for _ in range(int(rng.integers(1, 3))):
        along, edge = rng.random(), int(rng.integers(4))
        x, y = ((mix(left, right, along), top), (mix(left, right, along), bottom), (left, mix(top, bottom, along)),
                (right, mix(top, bottom, along)))[edge]
        if rng.random() < 0.3:
            _finger(rng, draw, x, y, side, edge)
        else:
            thing(rng, draw, x, y, min(right - left, bottom - top) * mix(0.10, 0.24, rng.random()))
    return layer


def _finger(rng, draw, x: float, y: float, side: int, edge: int) -> None:
    """Fingers that hold the product, reaching in from outside the picture."""
    skin = pick(rng, ((236, 200, 172), (206, 160, 128), (150, 104, 76), (96, 66, 50)))
    out = np.array([(0, -1), (0, 1), (-1, 0), (1, 0)][edge], float)
    across = np.array([out[1], out[0]])
    thick = round(side * mix(0.045, 0.065, rng.random()))
    for index in range(int(rng.integers(1, 4))):
        start = np.array([x, y]) - out * side * 0.06 + across * thick * 1.05 * index
        draw.line([tuple(start.tolist()), tuple((start + out * side * 0.7).tolist())],
                  blend(skin, (90, 50, 40), 0.1 * index), thick)
        draw.ellipse([start[0] - thick / 2, start[1] - thick / 2, start[0] + thick / 2, start[1] + thick / 2],
                     blend(skin, (90, 50, 40), 0.1 * index))
