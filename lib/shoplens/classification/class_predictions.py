"""Classes of a search's images as a multitask network predicts them (P2 §5.7, "CI")."""

import numpy as np
import torch

from shoplens.data.catalogue import Catalogue
from shoplens.data.images import Batches, open_store
from shoplens.models.attention import attend
from shoplens.models.backbones import load_backbone
from shoplens.models.multitask import MultitaskClassifier
from shoplens.search.protocols import SearchSplit
from shoplens.training import predict


def predicted_classes(run, catalogue: Catalogue, split: SearchSplit, layer: str, device,
                      network: str = "05_bmtl_rl") -> tuple[np.ndarray, np.ndarray] | None:
    """Class of each query and gallery image in `layer` as a multitask network of notebook 05 predicts it, which the
    paper only suggests; None where that run is not among the inputs."""
    if not run.inputs(network):
        return None
    before = run.record(run.inputs(network)[0])["parameters"]
    backbone = load_backbone(before["BACKBONE"], before["PRETRAINED"], width=before["WIDTH"])
    if before["ATTENTION"]:
        backbone = attend(backbone, before["IMAGE_SIZE"])
    sizes = {name: len(catalogue.hierarchy.classes[name]) for name in catalogue.hierarchy.layers}
    model = MultitaskClassifier(backbone, sizes).to(device).eval()
    model.load_state_dict(torch.load(run.input(network, "model.pt"), map_location=device, weights_only=True))
    store = open_store(catalogue.files(), before["IMAGE_SIZE"])
    return tuple(predict(model, Batches(store, rows, {}, 64, backbone.mean, backbone.std))[layer].argmax(axis=1)
                 for rows in (split.queries, split.gallery))
