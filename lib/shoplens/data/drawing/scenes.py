"""What surrounds a product: shop and consumer backgrounds. Nothing here knows what the product is."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from shoplens.data.drawing.items import blend
from shoplens.data.drawing.shapes.sketch import mix

_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
_PASTELS = ((252, 236, 238), (232, 242, 252), (240, 248, 236), (253, 246, 228), (240, 236, 250), (236, 236, 236))
VIVID = ((226, 42, 62), (255, 196, 38), (32, 128, 214), (36, 160, 110), (120, 70, 190), (250, 120, 60), (30, 32, 40))
_WOOD = ((190, 146, 100), (150, 106, 70), (112, 78, 54), (214, 186, 150), (168, 160, 150))
_WALL = ((222, 216, 206), (196, 204, 206), (208, 190, 170), (160, 172, 164), (180, 164, 172), (120, 124, 134))
_CLOTH = ((232, 228, 222), (188, 194, 206), (206, 186, 178), (120, 130, 150), (150, 112, 104), (96, 104, 96))


def pick(rng: np.random.Generator, options):
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def _ramp(side: int, first, last, across: bool = False) -> Image.Image:
    """Linear gradient, top to bottom or left to right."""
    ends = np.array([[first], [last]], np.uint8)
    strip = Image.fromarray(ends).resize((1, side), _BILINEAR)
    strip = strip.resize((side, side), Image.Resampling.NEAREST)
    return strip.transpose(Image.Transpose.ROTATE_90) if across else strip


def speckle(rng: np.random.Generator, side: int, cells: tuple[int, int], strength: int) -> np.ndarray:
    """(side, side) int32 noise in -strength..strength, `cells` (rows, columns) wide blotches interpolated."""
    coarse = rng.integers(0, 256, cells, dtype=np.uint8)
    field = np.asarray(Image.fromarray(coarse).resize((side, side), _BICUBIC)).astype(np.int32)
    return (field - 128) * strength // 128


def _rough(picture: Image.Image, *fields: np.ndarray) -> Image.Image:
    pixels = np.asarray(picture).astype(np.int32) + sum(fields)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# ---- shop ----

def _white(rng, side) -> Image.Image:
    shade = int(rng.integers(240, 256))
    return Image.new("RGB", (side, side), (shade, shade, shade))


def _soft(rng, side) -> Image.Image:
    tone = pick(rng, _PASTELS)
    picture = _ramp(side, (252, 252, 252), blend(tone, (200, 200, 206), 0.5 * rng.random()))
    if rng.random() < 0.4:  # a studio table: horizon two thirds down
        floor = round(side * mix(0.6, 0.82, rng.random()))
        picture.paste(blend(tone, (190, 190, 196), 0.35), (0, floor, side, side))
        picture = picture.filter(ImageFilter.BoxBlur(side // 60))
    return picture


def _glow(rng, side) -> Image.Image:
    tone = pick(rng, _PASTELS if rng.random() < 0.6 else _CLOTH)
    edge, centre = blend(tone, (0, 0, 0), 0.22 * rng.random()), blend(tone, (255, 255, 255), 0.8)
    coarse = Image.new("RGB", (48, 48), edge)
    ImageDraw.Draw(coarse).ellipse([10, 10, 37, 37], centre)
    return coarse.filter(ImageFilter.GaussianBlur(9)).resize((side, side), _BICUBIC)


def _blocks(rng, side) -> Image.Image:
    first, second = pick(rng, _PASTELS), pick(rng, _PASTELS + VIVID)
    picture = Image.new("RGB", (side, side), first)
    draw, cut = ImageDraw.Draw(picture), side * mix(0.25, 0.75, rng.random())
    style = int(rng.integers(4))
    if style == 0:
        draw.polygon([(0, cut), (side, side - cut), (side, side), (0, side)], second)
    elif style == 1:
        draw.rectangle([cut, 0, side, side], second)
    elif style == 2:
        radius = side * mix(0.3, 0.45, rng.random())
        draw.ellipse([side / 2 - radius, side / 2 - radius, side / 2 + radius, side / 2 + radius], second)
    else:  # rays of a sale poster
        turns = np.linspace(0, 2 * np.pi, 25) + rng.random()
        rim = np.stack([np.cos(turns), np.sin(turns)], axis=1) * side + side / 2
        for ray in range(0, 24, 2):
            draw.polygon([(side / 2, side / 2), tuple(rim[ray].tolist()), tuple(rim[ray + 1].tolist())],
                         blend(first, second, 0.5))
    return picture


def _frame(rng, side) -> Image.Image:
    picture = _soft(rng, side) if rng.random() < 0.5 else _white(rng, side)
    width = max(2, round(side * mix(0.015, 0.05, rng.random())))
    ImageDraw.Draw(picture).rectangle([0, 0, side - 1, side - 1], None, pick(rng, VIVID), width)
    return picture


def shop(rng: np.random.Generator, side: int) -> Image.Image:
    """Clean, soft or promotional ground of a shop picture; side x side RGB."""
    edges = (0.34, 0.58, 0.70, 0.92, 1.0)
    kind = int(np.searchsorted(edges, rng.random(), side="right"))
    return (_white, _soft, _glow, _blocks, _frame)[kind](rng, side)


# ---- consumer ----

def _planks(rng, side) -> Image.Image:
    wood = pick(rng, _WOOD)
    picture = Image.new("RGB", (side, side), wood)
    draw, count = ImageDraw.Draw(picture), int(rng.integers(3, 8))
    for i in range(count):
        top, bottom = side * i / count, side * (i + 1) / count
        draw.rectangle([0, top, side, bottom], blend(wood, (40, 26, 16), 0.22 * rng.random()))
        joint = side * rng.random()
        draw.line([(joint, top), (joint, bottom)], blend(wood, (0, 0, 0), 0.55), max(1, side // 120))
        draw.line([(0, bottom), (side, bottom)], blend(wood, (0, 0, 0), 0.6), max(1, side // 100))
    grain = speckle(rng, side, (side // 3, 6), 22)
    picture = _rough(picture, grain, speckle(rng, side, (5, 5), 14))
    return picture.transpose(Image.Transpose.ROTATE_90) if rng.random() < 0.5 else picture


def _tiles(rng, side) -> Image.Image:
    tone, grout = pick(rng, _WALL), int(rng.integers(80, 230))
    picture = Image.new("RGB", (side, side), tone)
    draw, count = ImageDraw.Draw(picture), int(rng.integers(3, 8))
    step, offset, brick = side / count, rng.random(), rng.random() < 0.4
    for row in range(-1, count + 1):
        for column in range(-1, count + 1):
            x = (column + offset + (0.5 * (row % 2) if brick else 0)) * step
            y = (row + offset) * step
            draw.rectangle([x, y, x + step, y + step], blend(tone, (30, 30, 34), 0.25 * rng.random()), (grout,) * 3,
                           max(1, side // 110))
    return _rough(picture, speckle(rng, side, (24, 24), 10))


def _carpet(rng, side) -> Image.Image:
    picture = Image.new("RGB", (side, side), pick(rng, _CLOTH))
    return _rough(picture, speckle(rng, side, (side // 2, side // 2), 40), speckle(rng, side, (6, 6), 26))


def _sheet(rng, side) -> Image.Image:
    """Rumpled bedding: a few long soft folds."""
    tone = pick(rng, _CLOTH)
    folds = Image.new("L", (side // 2, side // 2), 128)
    draw = ImageDraw.Draw(folds)
    for _ in range(int(rng.integers(5, 11))):
        points = [tuple(point) for point in (rng.random((3, 2)) * side / 2).tolist()]
        draw.line(points, int(rng.integers(60, 200)), max(2, round(side * mix(0.02, 0.07, rng.random()))),
                  joint="curve")
    folds = folds.filter(ImageFilter.GaussianBlur(side / 40)).resize((side, side), _BILINEAR)
    return _rough(Image.new("RGB", (side, side), tone), np.asarray(folds).astype(np.int32) - 128)


def _room(rng, side) -> Image.Image:
    """A wall above a floor."""
    wall = _tiles(rng, side) if rng.random() < 0.3 else _rough(Image.new("RGB", (side, side), pick(rng, _WALL)),
                                                               speckle(rng, side, (8, 8), 12))
    floor = _planks(rng, side) if rng.random() < 0.6 else _carpet(rng, side)
    horizon = round(side * mix(0.45, 0.8, rng.random()))
    wall.paste(floor.resize((side, side - horizon), _BILINEAR), (0, horizon))
    ImageDraw.Draw(wall).line([(0, horizon), (side, horizon)], (238, 236, 230), max(2, side // 40))
    return wall


def _bokeh(rng, side) -> Image.Image:
    """Street or garden, out of focus."""
    small = side // 2
    tone = pick(rng, _WALL + ((70, 96, 66), (54, 62, 78), (110, 130, 90)))
    picture = _ramp(small, blend(tone, (255, 255, 255), 0.35), blend(tone, (0, 0, 0), 0.3))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(14, 30))):
        x, y, radius = (rng.random(3) * (small, small, small * 0.11)).tolist()
        draw.ellipse([x - radius, y - radius, x + radius, y + radius],
                     blend(tone, pick(rng, VIVID + _PASTELS), 0.2 + 0.6 * rng.random()))
    return picture.filter(ImageFilter.GaussianBlur(small / mix(18, 50, rng.random()))).resize((side, side), _BILINEAR)


def _shelf(rng, side) -> Image.Image:
    wood = pick(rng, _WOOD)
    picture = Image.new("RGB", (side, side), blend(wood, (20, 16, 14), 0.55))
    draw, count = ImageDraw.Draw(picture), int(rng.integers(2, 5))
    for row in range(1, count + 1):
        board, x = side * row / count, 0.0
        while x < side:
            width, height = side * mix(0.03, 0.16, rng.random()), side / count * mix(0.4, 0.85, rng.random())
            tone = blend(pick(rng, VIVID + _CLOTH + _PASTELS), (30, 26, 24), 0.15 + 0.4 * rng.random())
            draw.rectangle([x, board - height, x + width, board], tone)
            x += width + side * mix(0.005, 0.08, rng.random())
        draw.rectangle([0, board - side * 0.02, side, board + side * 0.02], wood)
    return picture.filter(ImageFilter.BoxBlur(side * mix(0.001, 0.012, rng.random())))


def consumer(rng: np.random.Generator, side: int) -> Image.Image:
    """Cluttered ground of a photo taken at home or outside; side x side RGB."""
    return pick(rng, (_planks, _tiles, _carpet, _sheet, _room, _bokeh, _shelf))(rng, side)


def clutter(rng: np.random.Generator, ground: Image.Image, count: int) -> None:
    """Draw `count` everyday things (books, cups, phones, plants, cables, papers) onto the ground, anywhere."""
    draw, side = ImageDraw.Draw(ground), ground.width
    for _ in range(count):
        thing(rng, draw, *(rng.random(2) * side).tolist(), side * mix(0.07, 0.20, rng.random()))


def thing(rng: np.random.Generator, draw: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
    """One everyday thing centred at (x, y), about `size` pixels in radius."""
    tone = blend(pick(rng, VIVID + _CLOTH), (90, 84, 80), 0.5 * rng.random())
    dark, kind, turn = blend(tone, (0, 0, 0), 0.45), int(rng.integers(6)), rng.random() * np.pi
    along, across = np.array([np.cos(turn), np.sin(turn)]) * size, np.array([-np.sin(turn), np.cos(turn)]) * size

    def quad(long: float, wide: float):
        corners = [(-long, -wide), (long, -wide), (long, wide), (-long, wide)]
        return [tuple((np.array([x, y]) + a * along + b * across).tolist()) for a, b in corners]

    if kind == 0:  # book or box
        draw.polygon([(px + size * 0.12, py + size * 0.14) for px, py in quad(1.0, 0.7)], dark)
        draw.polygon(quad(1.0, 0.7), tone)
        draw.polygon(quad(0.7, 0.25), blend(tone, (255, 255, 255), 0.5))
    elif kind == 1:  # cup from above
        draw.ellipse([x - size, y - size * 0.8, x + size, y + size * 0.8], (236, 234, 228), dark)
        draw.ellipse([x - size * 0.62, y - size * 0.5, x + size * 0.62, y + size * 0.5],
                     blend(tone, (70, 40, 20), 0.6))
    elif kind == 2:  # phone
        draw.polygon(quad(1.0, 0.5), (26, 26, 30))
        draw.polygon(quad(0.86, 0.43), blend(tone, (120, 150, 190), 0.6))
    elif kind == 3:  # leaves
        for angle in turn + np.arange(5) * 1.25:
            tip = (x + size * 1.2 * np.cos(angle), y + size * 1.2 * np.sin(angle))
            side = (size * 0.28 * np.sin(angle), -size * 0.28 * np.cos(angle))
            middle = ((x + tip[0]) / 2, (y + tip[1]) / 2)
            draw.polygon([(x, y), (middle[0] + side[0], middle[1] + side[1]), tip,
                          (middle[0] - side[0], middle[1] - side[1])],
                         blend((58, 120, 64), (30, 70, 40), rng.random()))
    elif kind == 4:  # cable
        points = (np.array([x, y]) + (rng.random((5, 2)) - 0.5) * size * 4).tolist()
        draw.line([tuple(point) for point in points], dark, max(1, round(size * 0.12)), joint="curve")
    else:  # paper with lines
        draw.polygon(quad(0.9, 0.65), (240, 238, 230))
        for share in (-0.35, 0.0, 0.35):
            ends = [np.array([x, y]) + a * along + share * across for a in (-0.7, 0.6)]
            draw.line([tuple(end.tolist()) for end in ends], (130, 130, 140), max(1, round(size * 0.06)))
