"""The trunk of a trained network rebuilt from plain arguments and the file of weights that an earlier run left.

Multitask networks, whose recipe builds on this one, are in `classification.class_predictions`: an edit of theirs must
not train a search network again.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shoplens.models.backbones import Backbone, load_backbone


@dataclass(frozen=True)
class Recipe:
    """What a trained network is rebuilt from.

    backbone, pretrained, width: as for `load_backbone`. image_size: side of the images it sees [px]. weights: file of
    the trained network's state; None where the trunk is taken as `load_backbone` gives it.
    """

    backbone: str
    pretrained: bool
    width: float
    image_size: int
    weights: Path | None = None

    def build_backbone(self) -> Backbone:
        """The backbone before `weights` are read."""
        return load_backbone(self.backbone, self.pretrained, width=self.width)


@dataclass(frozen=True)
class TrunkRecipe(Recipe):
    """The recipe of a trunk for search. last_relu: where it ends, see `netvlad.cut_trunk`."""

    last_relu: bool = True


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
