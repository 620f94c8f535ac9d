"""From a sketch to pixels: flat paint, pattern, then light. All pixel arithmetic is 8-bit, so it is exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from shoplens.data.drawing.items import Item
from shoplens.data.drawing.patterns import motif, texture
from shoplens.data.drawing.shapes.sketch import Fold, Part, Sketch

_MARGIN = 0.03


def _tube_profile() -> np.ndarray:
    """Light across a standing cylinder, 64 samples, 128 = unchanged: dark rims and a bright streak left of middle."""
    x = np.linspace(-1, 1, 64)
    streak, back_light = np.exp(-(((x + 0.38) / 0.16) ** 2)), np.exp(-(((x - 0.72) / 0.1) ** 2))
    light = 140 - 70 * np.abs(x) ** 2.4 + 46 * streak + 12 * back_light
    return np.clip(np.round(light), 0, 255).astype(np.uint8)


_TUBE = Image.fromarray(_tube_profile()[None, :])


@dataclass
class Sprite:
    """`rgba`: the lit product; `cover`: 8-bit, 255 wherever the product is, see-through parts too."""

    rgba: Image.Image
    cover: Image.Image


class _Painter:
    def __init__(self, item: Item, sketch: Sketch, side: int):
        self.item, self.sketch, self.side = item, sketch, side
        left, top, right, bottom = sketch.bounds()
        self.scale = side * (1 - 2 * _MARGIN) / max(right - left, bottom - top)
        self.shift = np.array([side / 2 - (left + right) / 2 * self.scale,
                               side / 2 - (top + bottom) / 2 * self.scale])
        self.colour = Image.new("RGB", (side, side), item.palette["main"])
        self.alpha = Image.new("L", (side, side), 0)
        self.cover = Image.new("L", (side, side), 0)
        self.light = Image.new("L", (side, side), 128)
        self.folds = Image.new("L", (side, side), 128)
        self.cloth = self._cloth()

    def _cloth(self) -> Image.Image:
        cloth = texture(self.item, self.side)
        if self.item.states.get("pattern") == "print":
            x, y, half = self.sketch.print_at
            size = max(8, round(2 * half * self.scale))
            stamp = motif(self.item, size)
            at = self._pixels(np.array([[x - half, y - half]]))[0]
            cloth.paste(stamp, (round(at[0]), round(at[1])), stamp)
        return cloth

    def _pixels(self, points: np.ndarray) -> list[tuple[float, float]]:
        # Sixteenths of a pixel: a last-digit difference in a sine cannot move a vertex.
        return [tuple(point) for point in (np.round((points * self.scale + self.shift) * 16) / 16).tolist()]

    def _paint(self, paint) -> tuple[int, int, int]:
        return self.item.palette[paint] if isinstance(paint, str) else tuple(paint)

    def part(self, part: Part) -> None:
        pixels = self._pixels(part.outline)
        xs, ys = [x for x, _ in pixels], [y for _, y in pixels]
        pad = 2
        box = (max(0, int(min(xs)) - pad), max(0, int(min(ys)) - pad), min(self.side, int(max(xs)) + pad + 1),
               min(self.side, int(max(ys)) + pad + 1))
        mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
        draw = ImageDraw.Draw(mask)
        draw.polygon([(x - box[0], y - box[1]) for x, y in pixels], 255)
        for hole in part.holes:
            draw.polygon([(x - box[0], y - box[1]) for x, y in self._pixels(hole)], 0)
        if part.pattern:
            self.colour.paste(self.cloth.crop(box), box, mask)
        else:
            self.colour.paste(self._paint(part.paint), box, mask)
        self.light.paste(self._relief(mask, part.shade), box, mask)
        self.folds.paste(128, box, mask)
        self.cover.paste(255, box, mask)
        self.alpha.paste(part.opacity, box, mask)

    def _relief(self, mask: Image.Image, shade: str):
        """Light on a part seen as a raised surface, lit from the upper left; 128 leaves the colour as it is."""
        if shade == "flat":
            return 128
        if shade == "tube":
            return _TUBE.resize(mask.size, Image.Resampling.BILINEAR)
        depth, gain = {"cloth": (0.045, 3.2), "gloss": (0.05, 1.7), "ball": (0.12, 1.5)}[shade]
        half = (max(4, mask.width // 2), max(4, mask.height // 2))
        small = Image.new("L", (half[0] + 8, half[1] + 8), 0)
        small.paste(mask.resize(half, Image.Resampling.BOX), (4, 4))
        radius = max(1.0, min(self.side * depth / 2, min(half) * 0.3))
        height = small.filter(ImageFilter.GaussianBlur(radius))
        step = max(1, round(radius * 0.7))
        slope = ImageChops.subtract(ImageChops.offset(height, -step, -step), ImageChops.offset(height, step, step),
                                    gain, 128)
        slope = slope.crop((4, 4, 4 + half[0], 4 + half[1]))
        if shade != "cloth":
            slope = slope.point(_SHINE)
        return slope.resize(mask.size, Image.Resampling.BILINEAR)

    def line(self, points: np.ndarray, paint, width: float) -> None:
        pixels = self._pixels(points)
        thick = max(1, round(width * self.scale))
        ImageDraw.Draw(self.colour).line(pixels, self._paint(paint), thick, joint="curve")
        if thick > self.side // 90:
            for layer, value in ((self.light, 128), (self.alpha, 255), (self.cover, 255), (self.folds, 128)):
                ImageDraw.Draw(layer).line(pixels, value, thick, joint="curve")
        if thick > self.side // 50:
            lift = [(x - thick * 0.15, y - thick * 0.2) for x, y in pixels]
            ImageDraw.Draw(self.light).line(lift, 160, max(1, thick // 3), joint="curve")

    def fold(self, fold: Fold) -> None:
        value = round(128 + 70 * fold.depth)
        ImageDraw.Draw(self.folds).line(self._pixels(fold.points), value, max(1, round(fold.width * self.scale)),
                                        joint="curve")

    def finish(self) -> Sprite:
        third = (self.side // 3, self.side // 3)
        soft = self.folds.resize(third, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(self.side / 180))
        soft = soft.resize((self.side, self.side), Image.Resampling.BILINEAR)
        light = np.asarray(self.light).astype(np.int16) + np.asarray(soft) - 128
        colour = np.asarray(self.colour).astype(np.uint16)
        # Below 128 light scales the colour; above, it adds white as well, so that dark products shine too.
        scale = np.clip(light, 0, 128).astype(np.uint16)[..., None]
        gain = (np.clip(light - 128, 0, 190) * 5 // 4).astype(np.uint16)[..., None]
        lit = (colour * scale >> 7) + ((262 - colour) * gain >> 8)
        rgba = Image.fromarray(np.minimum(lit, 255).astype(np.uint8))
        rgba.putalpha(self.alpha)
        return Sprite(rgba, self.cover)


def _shine(value: int) -> int:
    """Polish: light above 168 is thrown back almost three times as strongly."""
    lit = 128 + (value - 128) * (0.9 if value < 128 else 1.0) + max(0, value - 168) * 1.6
    return round(min(255, max(0, lit)))


_SHINE = [_shine(value) for value in range(256)]


def paint(item: Item, sketch: Sketch, side: int) -> Sprite:
    """The sketch of the item as a square sprite of `side` pixels, the product filling it but for a small margin."""
    painter = _Painter(item, sketch, side)
    for mark in sketch.marks:
        if isinstance(mark, Part):
            painter.part(mark)
        elif isinstance(mark, Fold):
            painter.fold(mark)
        else:
            painter.line(mark.points, mark.paint, mark.width)
    return painter.finish()
