"""Resolution-free drawings of products: outlines, strokes and folds in product units, and the geometry they need.

A product is drawn facing the viewer, x to the right and y down, in units of about one product height; the
renderer scales the whole sketch to its picture, so only proportions matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

Paint = str | tuple[int, int, int]  # a role in the item's palette ("main", "trim", "metal", …) or an RGB colour


@dataclass(frozen=True)
class Part:
    """A filled outline. `shade`: how light falls on it — flat, cloth, gloss, tube (a standing cylinder) or ball."""

    outline: np.ndarray
    paint: Paint
    pattern: bool = False
    shade: str = "cloth"
    opacity: int = 255
    holes: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Stroke:
    """A line of `width` product units; it belongs to the product (chains, handles, seams)."""

    points: np.ndarray
    paint: Paint
    width: float


@dataclass(frozen=True)
class Fold:
    """A soft crease: `depth` in -1..1 darkens (negative) or lightens what lies below it."""

    points: np.ndarray
    width: float
    depth: float


@dataclass
class Sketch:
    """What the renderer paints, first entry first. Scale-dependent decisions stay in the renderer."""

    marks: list[Part | Stroke | Fold] = field(default_factory=list)
    print_at: tuple[float, float, float] = (0.0, 0.35, 0.2)  # centre x, centre y and half size of a printed motif

    def part(self, outline, paint="main", *, pattern=False, shade="cloth", opacity=255, holes=()) -> np.ndarray:
        outline = np.asarray(outline, float)
        holes = tuple(np.asarray(hole, float) for hole in holes)
        self.marks.append(Part(outline, paint, pattern, shade, opacity, holes))
        return outline

    def line(self, points, paint="seam", width=0.006) -> None:
        self.marks.append(Stroke(np.asarray(points, float), paint, width))

    def fold(self, points, width=0.03, depth=-0.5) -> None:
        self.marks.append(Fold(np.asarray(points, float), width, depth))

    def both(self, points, paint="seam", width=0.006) -> None:
        """The same line left and right of the vertical axis."""
        points = np.asarray(points, float)
        self.line(points, paint, width)
        self.line(points * (-1, 1), paint, width)

    def buttons(self, x: float, top: float, bottom: float, count: int, paint="trim", radius=0.011) -> None:
        for y in np.linspace(top, bottom, count):
            self.part(ellipse(x, y, radius, radius, 10), paint, shade="flat")

    def moved(self, dx: float, dy: float, scale: float = 1.0) -> Sketch:
        """A copy, scaled about the origin and then shifted."""
        shift = (dx, dy)

        def move(mark):
            if isinstance(mark, Part):
                return replace(mark, outline=mark.outline * scale + shift,
                               holes=tuple(hole * scale + shift for hole in mark.holes))
            return replace(mark, points=mark.points * scale + shift, width=mark.width * scale)

        x, y, half = self.print_at
        return Sketch([move(mark) for mark in self.marks], (x * scale + dx, y * scale + dy, half * scale))

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of everything that covers the background."""
        lows, highs = [], []
        for mark in self.marks:
            if isinstance(mark, Fold):
                continue
            points = mark.outline if isinstance(mark, Part) else mark.points
            pad = mark.width / 2 if isinstance(mark, Stroke) else 0.0
            lows.append(points.min(axis=0) - pad)
            highs.append(points.max(axis=0) + pad)
        left, top = np.min(lows, axis=0)
        right, bottom = np.max(highs, axis=0)
        return float(left), float(top), float(right), float(bottom)


def mix(low: float, high: float, share: float) -> float:
    """The value `share` (0..1) of the way from low to high."""
    return low + (high - low) * float(share)


def ellipse(cx: float, cy: float, rx: float, ry: float, count: int = 28) -> np.ndarray:
    turn = np.arange(count) * (2 * np.pi / count)
    return np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], axis=1)


def arc(cx: float, cy: float, rx: float, ry: float, start: float, stop: float, count: int = 16) -> np.ndarray:
    """Open arc; angles in degrees, clockwise on screen from the positive x axis."""
    turn = np.deg2rad(np.linspace(start, stop, count))
    return np.stack([cx + rx * np.cos(turn), cy + ry * np.sin(turn)], axis=1)


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> np.ndarray:
    """Rectangle with rounded corners."""
    radius = min(radius, (right - left) / 2, (bottom - top) / 2)
    if radius <= 0:
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    corners = [(right - radius, top + radius, -90), (right - radius, bottom - radius, 0),
               (left + radius, bottom - radius, 90), (left + radius, top + radius, 180)]
    return np.concatenate([arc(x, y, radius, radius, start, start + 90, 6) for x, y, start in corners])


def smooth(points, closed: bool = True, steps: int = 6) -> np.ndarray:
    """Catmull-Rom curve through the points; a point given twice in a row keeps its corner."""
    points = np.asarray(points, float)
    if closed:
        ring = np.concatenate([points[-1:], points, points[:2]])
    else:
        ring = np.concatenate([points[:1], points, points[-1:]])
    before, start, stop, after = ring[:-3, None], ring[1:-2, None], ring[2:-1, None], ring[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * start + (stop - before) * t + (2 * before - 5 * start + 4 * stop - after) * t * t
                   + (3 * start - before - 3 * stop + after) * t * t * t)
    apart = np.abs(stop - start).max(axis=(1, 2)) > 0  # no curve between the two copies of a corner, it would loop
    curve = curve[apart].reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


def mirrored(right_half) -> np.ndarray:
    """Closed outline from its right half, listed top to bottom."""
    right_half = np.asarray(right_half, float)
    return np.concatenate([right_half, right_half[::-1] * (-1, 1)])


def ribbon(points, widths) -> np.ndarray:
    """Outline of a band along `points`, `widths` wide (one number or one a point)."""
    points = np.asarray(points, float)
    along = np.gradient(points, axis=0)
    along /= np.maximum(np.sqrt((along**2).sum(axis=1, keepdims=True)), 1e-9)
    across = along[:, ::-1] * (-1, 1)
    half = np.broadcast_to(np.asarray(widths, float).reshape(-1, 1) / 2, (len(points), 1))
    return np.concatenate([points + across * half, (points - across * half)[::-1]])
