"""Trained multitask networks rebuilt, and what they predict for images of a search (P1 §3.4; P2 §5.7, "CI")."""

from dataclasses import dataclass

import numpy as np

from shoplens.data.catalogue import Catalogue
from shoplens.data.images import Batches, open_store
from shoplens.models.attention import attend
from shoplens.models.backbones import Backbone
from shoplens.models.multitask import MultitaskClassifier
from shoplens.models.restore import Recipe, load_weights
from shoplens.training import predict


@dataclass(frozen=True)
class MultitaskRecipe(Recipe):
    """What a trained `MultitaskClassifier` is rebuilt from. store_size: side of the pictures that are brought to
    `image_size` for it [px]. attention: whether `attend` puts spatial attention behind its trunk. layers, attributes:
    its tasks. branch: how it reads attributes."""

    store_size: int = 0
    attention: bool = False
    layers: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    branch: str = "two_layer"

    def build_backbone(self) -> Backbone:
        """The backbone before `weights` are read, with its attention."""
        backbone = super().build_backbone()
        return attend(backbone, self.image_size) if self.attention else backbone


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


def predict_logits(recipe: MultitaskRecipe, catalogue: Catalogue, rows: np.ndarray, device) -> dict[str, np.ndarray]:
    """Logits of n rows of the catalogue by a trained network: layer or attribute → float32 n×m."""
    categories = {layer: len(catalogue.hierarchy.classes[layer]) for layer in recipe.layers}
    attributes = {name: len(catalogue.attributes[name]) for name in recipe.attributes}
    backbone, model = restore_multitask(recipe, categories, attributes)
    store = open_store(catalogue.files(), recipe.store_size or recipe.image_size, rows=rows)
    return predict(model.to(device), Batches(store, rows, {}, 64, backbone.mean, backbone.std, size=recipe.image_size))


def predicted_classes(recipe: MultitaskRecipe, catalogue: Catalogue, rows: np.ndarray, layer: str,
                      device) -> np.ndarray:
    """Class of n rows in `layer`, int64 of n, as a trained network predicts it, which the paper only suggests."""
    return predict_logits(recipe, catalogue, rows, device)[layer].argmax(axis=1)
