"""What a trained multitask network predicts for images of a search (P1 §3.4; P2 §5.7, "CI")."""

import numpy as np

from shoplens.data.catalogue import Catalogue
from shoplens.data.images import Batches, open_store
from shoplens.models.restore import MultitaskRecipe, restore_multitask
from shoplens.training import predict


def predict_logits(recipe: MultitaskRecipe, catalogue: Catalogue, rows: np.ndarray, device) -> dict[str, np.ndarray]:
    """Logits of n rows of the catalogue by a trained network: layer or attribute → float32 n×m."""
    categories = {layer: len(catalogue.hierarchy.classes[layer]) for layer in recipe.layers}
    attributes = {name: len(catalogue.attributes[name]) for name in recipe.attributes}
    backbone, model = restore_multitask(recipe, categories, attributes)
    store = open_store(catalogue.files(), recipe.image_size)
    return predict(model.to(device), Batches(store, rows, {}, 64, backbone.mean, backbone.std))


def predicted_classes(recipe: MultitaskRecipe, catalogue: Catalogue, rows: np.ndarray, layer: str, device) -> np.ndarray:
    """Class of n rows in `layer`, int64 of n, as a trained network predicts it, which the paper only suggests."""
    return predict_logits(recipe, catalogue, rows, device)[layer].argmax(axis=1)
