"""Search networks put together: the frozen trunk with its stored activations, heads, learned networks restored, and
activations of cropped pictures (P2 §3.2, §5.5)."""

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from shoplens.data.catalogue import BOX, Catalogue
from shoplens.data.images import Batches, ImageStore, normalise, open_store, warp
from shoplens.models.backbones import Backbone
from shoplens.models.netvlad import Descriptor, GlobalPooling, NetVLAD, NetVLADInit, cut_trunk
from shoplens.models.restore import Recipe, TrunkRecipe, load_weights, restore_trunk
from shoplens.search.activations import Activations, RowFeatures, store_activations
from shoplens.search.protocols import SearchProtocol

GLOBAL, GEM = "global", "gem"       # features that are not local weights of `netvlad.LocalWeights`


@dataclass(frozen=True)
class FrozenTrunk:
    """What all networks of a protocol stand on.

    recipe, backbone: whose trunk it is. frozen: the part that never learns. block: the last block as it was before
    learning (copy it before you train it). store: the images. maps: activations of the frozen part, for `rows`.
    """

    recipe: TrunkRecipe
    backbone: Backbone
    frozen: nn.Module
    block: nn.Module
    store: ImageStore
    maps: Activations
    rows: np.ndarray


def trunk_label(recipe: Recipe, backbone: Backbone) -> str:
    """What decides a trunk's activations, for their key: the hash of published weights, else of the weights it has."""
    published, learned = backbone.weights.get("sha256", ""), ""
    if not published:
        whole = hashlib.sha256()
        for name, value in backbone.trunk.state_dict().items():
            whole.update(name.encode() + value.cpu().numpy().tobytes())
        learned = whole.hexdigest()
    return f"{recipe.backbone} {published} {learned} width {recipe.width}"


def load_frozen_trunk(recipe: TrunkRecipe, catalogue: Catalogue, protocol: SearchProtocol, device) -> FrozenTrunk:
    """Trunk cut in two and its stored activations for every image of the protocol."""
    backbone = restore_trunk(recipe)
    frozen, block = cut_trunk(backbone.trunk.to(device).eval(), recipe.last_relu)
    store = open_store(catalogue.files(), recipe.image_size)
    rows = np.unique(np.concatenate([own.rows for own in protocol.splits.values()]))
    maps = store_activations(frozen, Batches(store, rows, {}, 64, backbone.mean, backbone.std),
                             trunk_label(recipe, backbone))
    return FrozenTrunk(recipe, backbone, frozen, block, store, maps, rows)


def save_init(init: NetVLADInit, file: Path) -> None:
    """Plain arrays in one .npz."""
    np.savez(file, centres=init.centres.numpy(), alpha=init.alpha, direction=init.direction.numpy())


def load_init(file: Path) -> NetVLADInit:
    """Read what `save_init` wrote."""
    with np.load(file) as arrays:
        return NetVLADInit(torch.from_numpy(arrays["centres"]), float(arrays["alpha"]),
                           torch.from_numpy(arrays["direction"]))


def make_head(kind: str, init: NetVLADInit, assignment: str) -> nn.Module:
    """"global": NetVLAD (Eq. 1). "relu", "sigmoid", "hidden", "norm": NetVLAD with such weights (Eq. 2). "gem":
    generalised-mean pooling, which P2 does not have."""
    if kind == GEM:
        return GlobalPooling("gem")
    return NetVLAD(init, assignment, None if kind == GLOBAL else kind)


def restore_descriptor(weights: Path, kind: str, trunk: FrozenTrunk, init: NetVLADInit, assignment: str,
                       device) -> Descriptor:
    """A learned network in eval mode. weights: file of its state. kind: its head, see `make_head`. trunk, init,
    assignment: what it began from."""
    model = Descriptor(copy.deepcopy(trunk.block), make_head(kind, init, assignment)).to(device)
    model.load_state_dict(load_weights(weights, device))
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
def cropped_activations(catalogue: Catalogue, rows: np.ndarray, trunk: FrozenTrunk) -> RowFeatures:
    """Activations of the frozen part for pictures cut to their product's box, addressed by row number.

    The boxes are cut from pictures of twice the size, so that a product that fills half of one keeps its detail.
    Pictures whose box is not known stay whole. Raises KeyError where the catalogue knows no boxes at all.
    """
    boxes = catalogue.images[BOX].to_numpy(float)[rows]
    store = open_store(catalogue.files(), 2 * trunk.recipe.image_size)
    device = next(trunk.frozen.parameters()).device
    activations = []
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        images = normalise(store.images(rows[part]).to(device), trunk.backbone.mean, trunk.backbone.std)
        images = F.avg_pool2d(warp(images, crop_maps(boxes[part]).to(device)), 2)
        activations.append(trunk.frozen(images).float().cpu().numpy())
    return RowFeatures.of(rows, np.concatenate(activations))
