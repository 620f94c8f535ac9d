"""Pictures of other products, drawn and searched as they stream by (P2 §5.8)."""

import importlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from shoplens.data.images import normalise
from shoplens.search.nearest import Chunks


def draws_distractors(dataset: str) -> bool:
    """Whether the data set can draw pictures of other products."""
    return hasattr(importlib.import_module(f"shoplens.data.sources.{dataset}"), "distractors")


def distractor_images(dataset: str, count: int, size: int, seed: int = 0, batch: int = 256) -> Iterator[np.ndarray]:
    """Batches of distractor pictures, uint8 B×size×size×3, drawn as they are asked for; ValueError where the data set
    cannot draw any."""
    if not draws_distractors(dataset):
        raise ValueError(f"{dataset!r} cannot draw distractors")
    source, held = importlib.import_module(f"shoplens.data.sources.{dataset}"), []
    for distractor in source.distractors(count, seed=seed, size=size):
        held.append(distractor.image)
        if len(held) == batch:
            yield np.stack(held)
            held = []
    if held:
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
