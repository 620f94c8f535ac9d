"""Trained networks rebuilt from plain arguments and the file of weights that an earlier run left."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shoplens.models.attention import attend
from shoplens.models.backbones import Backbone, load_backbone
from shoplens.models.multitask import MultitaskClassifier


@dataclass(frozen=True)
class Recipe:
    """What a trained network is rebuilt from.

    backbone, pretrained, width: as for `load_backbone`. image_size: side of the images it sees [px]. attention: spatial
    attention behind its trunk, as `attend` puts it there. weights: file of the trained network's state; None where the
    trunk is taken as `load_backbone` gives it.
    """

    backbone: str
    pretrained: bool
    width: float
    image_size: int
    attention: bool = False
    weights: Path | None = None

    def build_backbone(self) -> Backbone:
        """The backbone before `weights` are read."""
        backbone = load_backbone(self.backbone, self.pretrained, width=self.width)
        return attend(backbone, self.image_size) if self.attention else backbone


@dataclass(frozen=True)
class TrunkRecipe(Recipe):
    """The recipe of a trunk for search. last_relu: where it ends, see `netvlad.cut_trunk`."""

    last_relu: bool = True


@dataclass(frozen=True)
class MultitaskRecipe(Recipe):
    """The recipe of a `MultitaskClassifier`. layers, attributes: its tasks. branch: how it reads attributes."""

    layers: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    branch: str = "two_layer"


def load_weights(file: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """State of a network, as `torch.save` wrote it."""
    return torch.load(file, map_location=device, weights_only=True)


def restore_trunk(recipe: Recipe) -> Backbone:
    """The backbone with the trunk of a trained classifier; its other parts are as they were built.

    Raises RuntimeError where the trunk in the file has another shape.
    """
    backbone = recipe.build_backbone()
    if recipe.weights is not None:
        backbone.trunk.load_state_dict({name.removeprefix("trunk."): value
                                        for name, value in load_weights(recipe.weights).items()
                                        if name.startswith("trunk.")})
    return backbone


def restore_multitask(recipe: MultitaskRecipe, categories: dict[str, int],
                      attributes: dict[str, int]) -> tuple[Backbone, MultitaskClassifier]:
    """The backbone a trained multitask network was built on, which knows how images are normalised, and the network in
    eval mode.

    categories, attributes: numbers of classes and of states, as for `MultitaskClassifier`.
    """
    backbone = recipe.build_backbone()
    model = MultitaskClassifier(backbone, categories, attributes, recipe.branch)
    model.load_state_dict(load_weights(recipe.weights))
    return backbone, model.eval()
