"""Features for search: NetVLAD and attention-weighted NetVLAD over a trunk's map (P2 §3.1–3.2, Eq. 1–2)."""

import copy
import math
from dataclasses import dataclass

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ASSIGNMENTS = ("v1", "v2")
ATTENTIONS = ("relu", "sigmoid", "hidden", "norm")
TOP_SHARE = 0.01        # the runner-up centre's share of a typical descriptor, which sets α (Arandjelović et al.)


@dataclass(frozen=True)
class NetVLADInit:
    """What NetVLAD starts from: centres float32 K×C, α, and v, the normalised mean of normalised descriptors (C)."""

    centres: Tensor
    alpha: float
    direction: Tensor


def descriptors(maps: Tensor) -> Tensor:
    """Maps B×C×h×w → descriptors B×N×C of unit length, N = h·w, row by row (P2 §3.1; a zero descriptor stays zero)."""
    return F.normalize(maps.flatten(2), dim=1).transpose(1, 2)


def initialise(sample: np.ndarray, clusters: int = 64, *, assignment: str = "v1", iterations: int = 40,
               restarts: int = 3, seed: int = 0) -> NetVLADInit:
    """Centres by k-means on a sample of descriptors, and α so that the runner-up gets a hundredth of the best.

    sample: M×C floats of unit length, M ≥ clusters. "v1": α = −log(0.01) / mean gap of the two largest dot products
    with normalised centres; "v2": of the two smallest squared distances. All of the sample is used, and the best of
    `restarts` is taken. Raises ValueError for fewer descriptors than clusters.
    """
    _one_of(assignment, ASSIGNMENTS, "assignment")
    sample = np.ascontiguousarray(sample, np.float32)
    if len(sample) < clusters:
        raise ValueError(f"{clusters} centres need at least as many descriptors, got {len(sample)}")
    kmeans = faiss.Kmeans(sample.shape[1], clusters, niter=iterations, nredo=restarts, seed=seed,
                          min_points_per_centroid=1, max_points_per_centroid=len(sample))
    kmeans.train(sample)
    centres = kmeans.centroids
    if assignment == "v1":
        unit = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
        nearness = sample @ unit.T
    else:
        nearness = -((sample**2).sum(1)[:, None] - 2 * sample @ centres.T + (centres**2).sum(1))
    top = np.partition(nearness, -2, axis=1)[:, -2:] if clusters > 1 else np.tile([0.0, 1.0], (len(sample), 1))
    gap = float(np.mean(top[:, 1] - top[:, 0]))
    mean = torch.from_numpy(sample).mean(dim=0)
    alpha = -math.log(TOP_SHARE) / max(gap, 1e-6)
    return NetVLADInit(torch.from_numpy(centres.copy()), alpha, F.normalize(mean, dim=0))


class LocalWeights(nn.Module):
    """w_i of Eq. 2, one weight per place: descriptors B×N×C → B×N, all ≥ 0.

    kind "relu" (the paper's): ReLU of a 1×1 convolution without bias. "sigmoid": sigmoid in its place. "hidden": a
    hidden layer of C/4 units before it. "norm": the length of the descriptor before normalisation, nothing learned
    (the paper's L2-norm scoring). direction: unit vector C the weights start from (§4.2).
    """

    def __init__(self, direction: Tensor, kind: str = "relu"):
        super().__init__()
        self.kind = _one_of(kind, ATTENTIONS, "attention")
        channels = len(direction)
        if kind == "hidden":
            # Starts as the plain layer: hidden pairs hold ±direction, so that their ReLUs add up to x·v.
            hidden = nn.Linear(channels, max(2, channels // 4), bias=False)
            out = nn.Linear(hidden.out_features, 1, bias=False)
            with torch.no_grad():
                hidden.weight.mul_(0.1)
                hidden.weight[:2] = torch.stack([direction, -direction])
                out.weight.zero_()
                out.weight[0, :2] = torch.tensor([1.0, -1.0])
            self.score = nn.Sequential(hidden, nn.ReLU(), out)
        elif kind != "norm":
            self.score = nn.Linear(channels, 1, bias=False)
            with torch.no_grad():
                self.score.weight.copy_(direction[None])

    def forward(self, units: Tensor, lengths: Tensor) -> Tensor:
        """units: B×N×C descriptors of unit length. lengths: B×N, what their lengths were."""
        if self.kind == "norm":
            return lengths
        score = self.score(units).squeeze(-1)
        return torch.sigmoid(score) if self.kind == "sigmoid" else F.relu(score)


class NetVLAD(nn.Module):
    """Eq. 1, and with `weights` Eq. 2: residuals of descriptors to K centres, softly assigned, summed, normalised.

    init: see `initialise`. assignment: "v1" (what the paper's code base used: softmax of α·c/‖c‖·x) or "v2" (the
    formula of its paper: softmax of −α‖x − c‖²). weights: kind of `LocalWeights`, None for the global feature.
    After summing: each centre's residual to unit length (intra-normalisation), then the whole.
    forward: maps B×C×h×w → B×(K·C) of unit length. An image all of whose weights are zero is taken with equal
    weights: a zero vector is at squared distance 1 from every other, closer than an image of cosine below ½.
    """

    def __init__(self, init: NetVLADInit, assignment: str = "v1", weights: str | None = None):
        super().__init__()
        self.assignment = _one_of(assignment, ASSIGNMENTS, "assignment")
        centres = init.centres.clone()
        self.centres = nn.Parameter(centres)
        if assignment == "v1":
            self.assign = nn.Linear(centres.shape[1], len(centres), bias=False)
            scale = init.alpha / centres.norm(dim=1, keepdim=True).clamp_min(1e-12)
            first = scale * centres
        else:
            self.assign = nn.Linear(centres.shape[1], len(centres))
            first = 2 * init.alpha * centres
        with torch.no_grad():
            self.assign.weight.copy_(first)
            if assignment == "v2":
                self.assign.bias.copy_(-init.alpha * centres.square().sum(dim=1))
        self.local = LocalWeights(init.direction, weights) if weights else None

    @property
    def features(self) -> int:
        """Length of the feature, K·C."""
        return self.centres.numel()

    def local_weights(self, maps: Tensor) -> Tensor:
        """w_i as a map: B×C×h×w → B×h×w; ones for the global feature."""
        if self.local is None:
            return maps.new_ones(maps.shape[0], *maps.shape[2:])
        return self.local(descriptors(maps), maps.flatten(2).norm(dim=1)).unflatten(1, maps.shape[2:])

    def forward(self, maps: Tensor) -> Tensor:
        x = descriptors(maps)                                               # B×N×C
        share = self.assign(x).softmax(dim=-1)                              # B×N×K
        if self.local is not None:
            w = self.local(x, maps.flatten(2).norm(dim=1))                  # B×N
            silent = (w == 0).all(dim=1, keepdim=True)
            share = share * torch.where(silent, torch.ones_like(w), w)[..., None]
        residuals = share.transpose(1, 2) @ x - share.sum(dim=1)[..., None] * self.centres      # B×K×C
        return F.normalize(F.normalize(residuals, dim=2).flatten(1), dim=1)


class GlobalPooling(nn.Module):
    """The features a reader would try first: "average" or "max" over places, or "gem" (generalised mean, p = 3 to
    start with, learned), to unit length. forward: maps B×C×h×w → B×C."""

    def __init__(self, kind: str = "average"):
        super().__init__()
        self.kind = _one_of(kind, ("average", "max", "gem"), "pooling")
        if kind == "gem":
            self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, maps: Tensor) -> Tensor:
        if self.kind == "gem":
            maps = maps.clamp_min(1e-6)
            top = maps.detach().amax(dim=(2, 3), keepdim=True)     # cancels; without it a large p leaves float32
            pooled = (maps / top).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p) * top.flatten(1)
        else:
            pooled = maps.mean(dim=(2, 3)) if self.kind == "average" else maps.amax(dim=(2, 3))
        return F.normalize(pooled, dim=1)


class Descriptor(nn.Module):
    """The learned part of a search network: the trunk's last block, then NetVLAD (P2 §3.2, Fig. 3).

    freeze_norm: batch normalisation keeps the running statistics it came with, in training too; its scale and shift
    learn on. Batches of mined triplets are no random sample, and features are mined and searched by running statistics.
    forward: activations of the frozen part B×C'×h×w → features B×D of unit length.
    """

    def __init__(self, block: nn.Module, head: nn.Module, freeze_norm: bool = False):
        super().__init__()
        self.block, self.head, self.freeze_norm = block, head, freeze_norm

    def train(self, mode: bool = True) -> "Descriptor":
        super().train(mode)
        for module in self.modules() if self.freeze_norm else ():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, activations: Tensor) -> Tensor:
        return self.head(self.block(activations))


def cut_trunk(trunk: nn.Sequential, last_relu: bool = True) -> tuple[nn.Sequential, nn.Sequential]:
    """The trunk as its frozen part and its last block: what follows the last pooling that has a convolution after it,
    without a pooling at the very end (P2 §3: VGG-16 is cut before conv5, whose map is taken before pool5).

    last_relu: False takes the map before its last ReLU, as the code the paper builds on does; SqueezeNet's, which
    stands inside its last module, once for each half of the channels, too. Weights are the trunk's own either way.
    Raises ValueError for trunks that are no plain sequence, where no pooling stands inside, and where a ReLU is to be
    left out of a trunk that does not end in one.
    """
    if not isinstance(trunk, nn.Sequential):
        raise ValueError(f"a {type(trunk).__name__} is no plain sequence of layers to be cut: choose small_vgg, "
                         f"squeezenet1_1 or vgg16")
    layers = list(trunk)
    if isinstance(layers[-1], nn.MaxPool2d):
        layers.pop()
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    if not pools:
        raise ValueError("this trunk has no pooling inside, so it has no last block to learn")
    if not last_relu:
        layers[-1:] = _without_relu(layers[-1])
    return nn.Sequential(*layers[:pools[-1] + 1]), nn.Sequential(*layers[pools[-1] + 1:])


def _without_relu(last: nn.Module) -> list[nn.Module]:
    """A trunk's last layer without its ReLU: nothing, where it is one; a module around the same weights, where it is
    SqueezeNet's."""
    if isinstance(last, nn.ReLU):
        return []
    inside = {f"expand{size}_activation": nn.Identity() for size in ("1x1", "3x3")}
    if not set(inside) <= set(last._modules):
        raise ValueError(f"this trunk ends in a {type(last).__name__}, not in a ReLU that could be left out: set "
                         "LAST_RELU = True")
    plain = copy.copy(last)
    plain._modules = last._modules | inside
    return [plain]


def _one_of(value: str, names: tuple[str, ...], what: str) -> str:
    if value not in names:
        raise ValueError(f"{what} is one of {names}, got {value!r}")
    return value
