"""Products that are in no catalogue, one after the other, as many as asked for, none of them kept."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from shoplens import processes
from shoplens.data.drawing.compose import QUALITY, draw
from shoplens.data.drawing.items import make_item

_CHUNK = 64


@dataclass(frozen=True)
class Distractor:
    """`item`: its name, unlike any catalogue item's; `file`: a shop view, as the bytes of a JPEG file like the
    catalogue's. Were it made otherwise, a network could tell it by its making."""

    item: str
    root: str
    leaf: str
    file: bytes


def distractor(number: int, *, seed: int = 0, size: int = 96) -> Distractor:
    """Distractor `number` (0, 1, …): the same whatever range it is drawn in."""
    item, file = make_item(seed, "distractor", number), io.BytesIO()
    draw(item, "shop", 0, size).image.save(file, "jpeg", quality=QUALITY)
    return Distractor(item.name, item.leaf.root, item.leaf.name, file.getvalue())


def distractors(count: int, *, start: int = 0, seed: int = 0, size: int = 96,
                workers: int = 1) -> Iterator[Distractor]:
    """Distractors start … start + count - 1, in order, drawn as they are asked for.

    workers: processes; with more than one, a few chunks of 64 are drawn ahead, and no more than that is held.
    """
    if workers <= 1:
        for number in range(start, start + count):
            yield distractor(number, seed=seed, size=size)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, processes.end_with, (os.getpid(),)) as pool:
        ahead: deque = deque()
        for first in range(start, start + count, _CHUNK):
            ahead.append(pool.submit(_chunk, first, min(first + _CHUNK, start + count), seed, size))
            if len(ahead) > 2 * workers:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()


def _chunk(first: int, stop: int, seed: int, size: int) -> list[Distractor]:
    return [distractor(number, seed=seed, size=size) for number in range(first, stop)]
