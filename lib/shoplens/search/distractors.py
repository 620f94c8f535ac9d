"""Pictures of other products, searched as they stream by: those a catalogue marks, and drawn ones (P2 §5.8)."""

import importlib
import io
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from shoplens.data.catalogue import Catalogue
from shoplens.data.images import decode, normalise
from shoplens.processes import usable_cores
from shoplens.search.nearest import Chunks

FEW = 1000      # so many are drawn sooner by one process than others have started


def marked(catalogue: Catalogue) -> np.ndarray:
    """Rows of the catalogue whose role is `distractor`."""
    return np.flatnonzero(catalogue.images["role"] == "distractor") if "role" in catalogue.images else np.array([], int)


def can_draw(catalogue: Catalogue) -> bool:
    """Whether the catalogue's source can draw pictures of other products."""
    return hasattr(importlib.import_module(f"shoplens.data.sources.{catalogue.name}"), "distractors")


def distractor_images(catalogue: Catalogue, drawn: int, size: int, seed: int = 0,
                      batch: int = 256) -> Iterator[np.ndarray]:
    """Batches of pictures, uint8 B×size×size×3: those that the catalogue marks, then `drawn` others, drawn as they are
    asked for, at the catalogue's own size and kept as its pictures are; ValueError where it cannot draw any."""
    if drawn and not can_draw(catalogue):
        raise ValueError(f"{catalogue.name!r} cannot draw distractors")
    files = catalogue.files()
    pictures = (decode(files[row], size) for row in marked(catalogue))
    if drawn:
        source = importlib.import_module(f"shoplens.data.sources.{catalogue.name}")
        strangers = source.distractors(drawn, seed=seed, size=catalogue.provenance["size"],
                                       workers=usable_cores() if drawn > FEW else 1)
        pictures = itertools.chain(pictures, (decode(io.BytesIO(each.file), size) for each in strangers))
    while held := list(itertools.islice(pictures, batch)):
        yield np.stack(held)


@torch.no_grad()
def stream(pictures: Iterator[np.ndarray], frozen: nn.Module, models: list[nn.Module], mean, std,
           first: int) -> Chunks:
    """(ids, features) of pictures as they come, of several networks side by side: nothing but a batch is ever held.

    first: id of the first picture; take the number of rows of the catalogue, so that no id is one of its rows.
    """
    device = next(frozen.parameters()).device
    for batch in pictures:
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).to(device)
        maps = frozen(normalise(images, mean, std))
        features = np.concatenate([model(maps).float().cpu().numpy() for model in models], axis=1)
        yield np.arange(first, first + len(batch)), features / np.sqrt(len(models), dtype=np.float32)
        first += len(batch)
