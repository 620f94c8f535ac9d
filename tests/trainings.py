"""Small networks, batches and validations for the tests of the training loop."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from shoplens.data.images import Batches, ImageStore

COUNT, CLASSES = 21, 3


def noise(batch_size=8, **changes) -> Batches:
    """21 pictures of 8×8 noise in 3 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    known = {"indices": np.arange(COUNT), "targets": {"leaf": np.arange(COUNT) % CLASSES}, "mean": (0.5,) * 3,
             "std": (0.25,) * 3}
    return Batches(ImageStore(pixels, Path("unused"), "digest"), batch_size=batch_size, **(known | changes))


def tiny(seed=0) -> nn.Module:
    """Everything that keeps a state between batches: batch norm and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
                         nn.Linear(6 * 36, CLASSES))


def plain_net(seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, CLASSES))


def a_step(model, batch):
    loss = nn.functional.cross_entropy(model(batch["images"]), batch["leaf"])
    return loss, {"twice": 2 * loss.detach()}


def steady(model) -> dict[str, float]:
    return {"macc": 0.5}


def copy_of_weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(model, other: dict[str, torch.Tensor], atol=0.0) -> None:
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


class ScriptedValidation:
    """A validation that returns the given scores in turn and remembers the weights it saw."""

    def __init__(self, *scores, stop_at=None):
        self.scores, self.stop_at, self.seen = scores, stop_at, []

    def __call__(self, model):
        assert not model.training
        assert not torch.is_grad_enabled()
        self.seen.append(copy_of_weights(model))
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt
        return {"macc": self.scores[len(self.seen) - 1]}
