"""Search networks put together from what earlier runs left: trunk, stored activations, learned block and head."""

import copy
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from shoplens.data.catalogue import BOX, Catalogue
from shoplens.data.images import Batches, ImageStore, normalise, open_store, warp
from shoplens.models.backbones import Backbone, load_backbone
from shoplens.models.netvlad import Descriptor, GlobalPooling, NetVLAD, NetVLADInit, cut_trunk
from shoplens.search.activations import RowFeatures, store_activations
from shoplens.search.protocols import SearchProtocol

GLOBAL, GEM = "global", "gem"       # features that are not local weights of `netvlad.LocalWeights`


@dataclass(frozen=True)
class FrozenTrunk:
    """What all networks of a protocol stand on. maps: activations of the frozen part, float32 N×C×h×w, for `rows`.
    block: the last block as it was before learning (copy it before you train it)."""

    backbone: Backbone
    frozen: nn.Module
    block: nn.Module
    store: ImageStore
    maps: np.ndarray
    rows: np.ndarray


def trunk_label(parameters: dict, backbone: Backbone) -> str:
    """What decides a trunk's activations, for their key: the hash of published weights, else of the weights it has."""
    published, learned = backbone.weights.get("sha256", ""), ""
    if not published:
        whole = hashlib.sha256()
        for name, value in backbone.trunk.state_dict().items():
            whole.update(name.encode() + value.cpu().numpy().tobytes())
        learned = whole.hexdigest()
    return f"{parameters['BACKBONE']} {published} {learned} width {parameters['WIDTH']}"


def uses_run(parameters: dict) -> bool:
    """Are the trunk's weights those of an earlier run?"""
    return not parameters["PRETRAINED"] and bool(parameters["TRUNK_FROM"])


def trunk_file(run, parameters: dict) -> Path:
    """The weights TRUNK_FROM stands for. Where the parameters are those of an earlier run (RUN), the ones that run
    read: a network of another seed has the classifier of its own seed as input, but stands on what its start saw."""
    name, start = parameters["TRUNK_FROM"], parameters.get("RUN")
    if not start:
        return run.input(name, "model.pt")
    one_a_seed = re.compile(re.escape(name) + r"(-s\d+)?")
    read = [run_id for run_id in run.record(start)["inputs"] if one_a_seed.fullmatch(run_id)]
    return run.results / "artefacts" / read[0] / "model.pt"


def load_trunk(run, parameters: dict) -> Backbone:
    """The pretrained network of a run with parameters BACKBONE, PRETRAINED, WIDTH and TRUNK_FROM: ImageNet's weights,
    or the trunk of that earlier run where there are none (see `trunk_file`)."""
    backbone = load_backbone(parameters["BACKBONE"], parameters["PRETRAINED"], width=parameters["WIDTH"])
    if uses_run(parameters):
        state = torch.load(trunk_file(run, parameters), map_location="cpu", weights_only=True)
        backbone.trunk.load_state_dict({name.removeprefix("trunk."): value for name, value in state.items()
                                        if name.startswith("trunk.")})
    return backbone


def load_frozen_trunk(run, catalogue: Catalogue, protocol: SearchProtocol, parameters: dict, device) -> FrozenTrunk:
    """Trunk cut in two and its stored activations for every image of the protocol. parameters: those of the run of
    notebook 08 (see `load_trunk`; IMAGE_SIZE, LAST_RELU)."""
    backbone = load_trunk(run, parameters)
    frozen, block = cut_trunk(backbone.trunk.to(device).eval(), parameters["LAST_RELU"])
    store = open_store(catalogue.files(), parameters["IMAGE_SIZE"])
    rows = np.unique(np.concatenate([r for own in protocol.splits.values() for r in (own.queries, own.gallery)]))
    maps = store_activations(frozen, Batches(store, rows, {}, 64, backbone.mean, backbone.std),
                             trunk_label(parameters, backbone))
    return FrozenTrunk(backbone, frozen, block, store, maps, rows)


def save_init(start: NetVLADInit, file: Path) -> None:
    """Plain arrays in one .npz."""
    np.savez(file, centres=start.centres.numpy(), alpha=start.alpha, direction=start.direction.numpy())


def load_init(file: Path) -> NetVLADInit:
    """Read what `save_init` wrote."""
    with np.load(file) as known:
        return NetVLADInit(torch.from_numpy(known["centres"]), float(known["alpha"]), torch.from_numpy(known["direction"]))


def make_head(feature: str, start: NetVLADInit, assignment: str) -> nn.Module:
    """"global": NetVLAD (Eq. 1). "relu", "sigmoid", "hidden", "norm": NetVLAD with such weights (Eq. 2). "gem":
    generalised-mean pooling, which P2 does not have."""
    if feature == GEM:
        return GlobalPooling("gem")
    return NetVLAD(start, assignment, None if feature == GLOBAL else feature)


def restore(run, run_id: str, ground: FrozenTrunk, start: NetVLADInit, assignment: str, device) -> Descriptor:
    """The learned network of a run of notebook 09, in eval mode; `ground` must be that of its start."""
    feature = run.record(run_id)["parameters"]["FEATURE"]
    model = Descriptor(copy.deepcopy(ground.block), make_head(feature, start, assignment)).to(device)
    file = run.results / "artefacts" / run_id / "model.pt"
    model.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return model.eval()


def crop_maps(boxes: np.ndarray) -> torch.Tensor:
    """Affine maps B×2×3 (see `images.warp`) that stretch each box over the whole picture. boxes: B×4, left, top, right,
    bottom as fractions; a box that is not known (NaN) is the whole picture."""
    boxes = np.where(np.isnan(boxes).any(axis=1, keepdims=True), [0.0, 0.0, 1.0, 1.0], boxes)
    left, top, right, bottom = torch.as_tensor(boxes, dtype=torch.float32).T
    theta = torch.zeros(len(boxes), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = right - left, left + right - 1
    theta[:, 1, 1], theta[:, 1, 2] = bottom - top, top + bottom - 1
    return theta


@torch.no_grad()
def cropped_activations(catalogue: Catalogue, rows: np.ndarray, ground: FrozenTrunk, image_size: int) -> RowFeatures:
    """Activations of the frozen part for pictures cut to their product's box, addressed by row number.

    The boxes are cut from pictures of twice the size, so that a product that fills half of one keeps its detail.
    Pictures whose box is not known stay whole. Raises KeyError where the catalogue knows no boxes at all.
    """
    boxes = catalogue.images[BOX].to_numpy(float)[rows]
    store = open_store(catalogue.files(), 2 * image_size)
    device = next(ground.frozen.parameters()).device
    told = []
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        images = normalise(store.images(rows[part]).to(device), ground.backbone.mean, ground.backbone.std)
        images = F.avg_pool2d(warp(images, crop_maps(boxes[part]).to(device)), 2)
        told.append(ground.frozen(images).float().cpu().numpy())
    place = np.full(len(catalogue), -1)
    place[rows] = np.arange(len(rows))
    return RowFeatures(np.concatenate(told), place)
