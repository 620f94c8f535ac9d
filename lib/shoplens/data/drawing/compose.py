"""One picture: an item, seen in one view. Everything is drawn at twice the size and halved at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from shoplens.data.drawing import overlays, scenes
from shoplens.data.drawing.items import Item, generator, make_item, palette_of
from shoplens.data.drawing.render import Sprite, paint
from shoplens.data.drawing.scenes import pick
from shoplens.data.drawing.shapes.outlines import outline
from shoplens.data.drawing.shapes.sketch import mix

QUALITY = 92     # of the JPEG files that drawings are kept in
DOMAINS = ("shop", "consumer")
_SMOOTH = Image.Resampling.BICUBIC
_OBJECTS = 3     # things that each further unit of clutter strews into a picture


@dataclass(frozen=True)
class Drawn:
    """`image`: RGB; `mask`: 8-bit, 255 where the product is seen; `box`: the mask's left, top, right, bottom as
    fractions of the sides, right and bottom exclusive."""

    image: Image.Image
    mask: Image.Image
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Causes:
    """What makes a catalogue hard, for experiments with one cause at a time. clutter: of other things in the picture,
    1 as usual, 0 none, 3 three times as much, shop pictures too. alike: share of pictures in [0, 1] that are brought so
    close that the outline, which tells the roots apart, is cut off, besides the few that always are."""

    clutter: float = 1.0
    alike: float = 0.0


USUAL = Causes()


def draw(item: Item, domain: str, view: int, size: int, causes: Causes = USUAL) -> Drawn:
    """View number `view` (0, 1, …) of the item in a domain ("shop" or "consumer"), `size` x `size` pixels.

    The same arguments give the same picture, whatever was drawn before. Raises ValueError on an unknown domain.
    """
    if domain not in DOMAINS:
        raise ValueError(f"bazaar: unknown domain {domain!r}; domains are {', '.join(DOMAINS)}")
    rng = generator(item.seed, item.kind, item.number, "view", DOMAINS.index(domain), view)
    side = 2 * size
    sprite = paint(item, outline(item, rng.uniform(-1, 1, 3)), min(5 * size // 2, side + 160))
    compose = _shop if domain == "shop" else _consumer
    more = generator(item.seed, item.kind, item.number, "causes", DOMAINS.index(domain), view)
    picture, cover = compose(rng, item, sprite, side, causes, more)
    picture = picture.resize((size, size), Image.Resampling.BOX)
    mask = cover.resize((size, size), Image.Resampling.BOX).point(lambda value: 255 if value >= 128 else 0)
    left, top, right, bottom = mask.getbbox()
    return Drawn(picture, mask, (left / size, top / size, right / size, bottom / size))


def _homography(corners) -> list[float]:
    """Coefficients for Image.transform that carry the unit square onto four corners (Heckbert's closed form).

    corners: top left, top right, bottom right, bottom left. Returns the map from picture to unit square.
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    det = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / det, (dx1 * sy - sx * dy1) / det
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    inverse = [e - f * h, c * h - b, b * f - c * e, f * g - d, a - c * g, c * d - a * f, d * h - e * g, b * g - a * h]
    last = a * e - b * d
    return [value / last for value in inverse]


def _place(sprite: Sprite, side: int, corners) -> tuple[Image.Image, Image.Image]:
    """The sprite warped onto four corners of a side x side picture: (RGBA layer, cover)."""
    unit = _homography(corners)
    wide = sprite.cover.width
    # Heckbert's map ends in the unit square; the sprite is `wide` pixels across.
    coefficients = [value * wide for value in unit[:6]] + unit[6:]
    layer = sprite.rgba.transform((side, side), Image.Transform.PERSPECTIVE, coefficients, _SMOOTH)
    cover = sprite.cover.transform((side, side), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    return layer, cover


def _corners(rng: np.random.Generator, side: int, scale: float, tilt: float, skew: float, mirror: bool,
             room: float = 0.5) -> list[tuple[float, float]]:
    """Where the sprite's corners land: `scale` of the side wide, turned up to `tilt` degrees, each corner moved by up
    to `skew` of the width, centred within `room` of the free (or, close up, the overhanging) space."""
    half, turn = scale / 2, np.deg2rad(rng.uniform(-tilt, tilt))
    square = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    square = square + rng.uniform(-skew, skew, (4, 2)) * scale
    if mirror:
        square[:, 0] *= -1
    spin = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    free = abs(1 - scale) * room
    centre = 0.5 + rng.uniform(-free, free, 2) * 0.9
    placed = square[:, :1] * spin[0] + square[:, 1:] * spin[1] + centre
    return [tuple(point) for point in (np.round(placed * side * 16) / 16).tolist()]


def _shadow(picture: Image.Image, cover: Image.Image, dx: int, dy: int, blur: float, strength: float) -> None:
    """Darken the picture where the product, shifted by (dx, dy), keeps the light off."""
    small = cover.resize((cover.width // 3, cover.height // 3), Image.Resampling.BOX)
    soft = Image.new("L", small.size, 0)
    soft.paste(small, (dx // 3, dy // 3))
    soft = soft.filter(ImageFilter.GaussianBlur(blur / 3)).resize(cover.size, Image.Resampling.BILINEAR)
    picture.paste((24, 22, 30), (0, 0), soft.point(lambda value: round(value * strength)))


def _minus(cover: Image.Image, layer: Image.Image) -> None:
    """Take away what an opaque layer hides; a watermark (alpha below 128) hides nothing."""
    cover.paste(0, (0, 0), layer.getchannel("A").point(lambda value: 255 if value >= 128 else 0))


def _shop(rng: np.random.Generator, item: Item, sprite: Sprite, side: int, causes: Causes,
          more: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    picture = scenes.shop(rng, side)
    scenes.clutter(more, picture, round(_OBJECTS * max(causes.clutter - 1, 0)))
    promote, extra = rng.random() < 0.5, rng.random()
    scale, close_up = mix(0.66, 0.93, rng.random()), rng.random() < 0.1
    if close_up or more.random() < causes.alike:  # the detail shot that most listings have
        scale += 0.5
    corners = _corners(rng, side, scale, 6, 0.025, rng.random() < 0.35)
    layer, cover = _place(sprite, side, corners)
    if extra < 0.14 * causes.clutter:
        _companions(rng, item, sprite, picture)
    if rng.random() < 0.7:
        _shadow(picture, cover, round(side * 0.01), round(side * mix(0.01, 0.04, rng.random())), side / 40,
                mix(0.12, 0.4, rng.random()))
    picture.paste(layer, (0, 0), layer)
    if promote:
        notes = overlays.promotion(rng, side)
        hidden = cover.copy()
        _minus(hidden, notes)
        # A poster never covers most of what it sells.
        if _amount(hidden) >= 0.7 * _amount(cover):
            picture.paste(notes, (0, 0), notes)
            cover = hidden
    return _exposed(picture, rng.uniform(0.94, 1.08), (1.0, 1.0, 1.0)), cover


def _amount(cover: Image.Image) -> int:
    return sum(cover.histogram()[128:])


def _companions(rng: np.random.Generator, item: Item, sprite: Sprite, picture: Image.Image) -> None:
    """Small copies along one side: the same product again, or the colours it also comes in."""
    side = picture.width
    width = side // 5
    x = 0 if rng.random() < 0.5 else side - width
    for row in range(int(rng.integers(1, 4))):
        small = sprite.rgba
        if rng.random() < 0.6:
            colour = pick(rng, sorted(item.leaf.states["colour"]))
            other = Item(item.seed, item.kind, item.number, item.leaf, item.states, item.labels, item.knobs,
                         item.pattern_knobs, palette_of(colour, rng.random(16)))
            small = paint(other, outline(other, np.zeros(3)), width * 2).rgba
        small = small.resize((width, width), Image.Resampling.BOX)
        picture.paste(small, (x, round(side * 0.04) + row * round(width * 1.1)), small)


def _consumer(rng: np.random.Generator, item: Item, sprite: Sprite, side: int, causes: Causes,
              more: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    picture = scenes.consumer(rng, side)
    scenes.clutter(rng, picture, round(int(rng.integers(0, 6)) * min(causes.clutter, 1)))
    scenes.clutter(more, picture, round(_OBJECTS * max(causes.clutter - 1, 0)))
    if rng.random() < 0.35 * causes.clutter:
        _neighbour(rng, item, picture)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.BoxBlur(side * mix(0.002, 0.012, rng.random())))
    closer = 0.5 if more.random() < causes.alike else 0.0
    corners = _corners(rng, side, mix(0.52, 0.86, rng.random()) + closer, 28, 0.09, rng.random() < 0.5, 0.45)
    layer, cover = _place(sprite, side, corners)
    shift = (rng.uniform(-0.05, 0.05, 2) * side).astype(int).tolist()
    _shadow(picture, cover, shift[0], abs(shift[1]), side / mix(18, 60, rng.random()), mix(0.25, 0.6, rng.random()))
    picture.paste(layer, (0, 0), layer)
    if rng.random() < 0.4 * causes.clutter:
        front = overlays.occluder(rng, side, cover.getbbox())
        hidden = cover.copy()
        _minus(hidden, front)
        if _amount(hidden) >= 0.6 * _amount(cover):
            picture.paste(front, (0, 0), front)
            cover = hidden
    picture = _lit(rng, picture)
    cast = 1 + rng.uniform(-0.11, 0.11, 3)
    picture = _exposed(picture, mix(0.75, 1.4, rng.random()), cast)
    blur = rng.random()
    if blur > 0.45:
        picture = picture.filter(ImageFilter.GaussianBlur(side / 96 * (blur - 0.4)))
    return _grain(rng, picture), cover


def _neighbour(rng: np.random.Generator, item: Item, picture: Image.Image) -> None:
    """Part of another product, of any leaf, standing about."""
    side = picture.width
    other = make_item(item.seed, "distractor", 2**40 + int(rng.integers(2**32)))
    width = round(side * mix(0.25, 0.4, rng.random()))
    small = paint(other, outline(other, np.zeros(3)), width).rgba.rotate(rng.uniform(-30, 30), _SMOOTH)
    at = (rng.random(2) * side - width / 2).astype(int).tolist()
    picture.paste(small, tuple(at), small)


def _lit(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Uneven room light: a smooth field over the whole picture, sometimes with a hard-edged shade across it."""
    side = picture.width
    coarse = rng.integers(150, 256, (3, 3), dtype=np.uint8)
    field = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    if rng.random() < 0.2:
        cut = rng.random(2) * side
        edge = Image.new("L", (side, side), 0)
        ImageDraw.Draw(edge).polygon([(0, cut[0]), (side, cut[1]), (side, side), (0, side)], 90)
        field.paste(110, (0, 0), edge.filter(ImageFilter.BoxBlur(side / 80)))
    pixels = np.asarray(picture).astype(np.uint16) * np.asarray(field)[..., None] // 225
    return Image.fromarray(np.minimum(pixels, 255).astype(np.uint8))


def _exposed(picture: Image.Image, gain: float, cast) -> Image.Image:
    """Brightness `gain` (1: as it is) and a factor for each colour channel, by table."""
    table = np.arange(256) * (np.asarray(cast)[:, None] * gain)
    return picture.point(np.minimum(table + 0.5, 255).astype(int).ravel().tolist())


def _grain(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    strength = int(rng.integers(0, 15))
    noise = rng.integers(-strength, strength + 1, (picture.height, picture.width, 3), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(picture).astype(np.int16) + noise, 0, 255).astype(np.uint8))
