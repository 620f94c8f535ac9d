"""Trunks, and where each is cut into the public part all tasks share and the private part of one task (P1 §3.4)."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shoplens.models import weights
from shoplens.sealed import file_hash

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

# Weight files whose network differs from what timm builds under that name: creation arguments, mean and std.
LOCAL_VARIANTS = {"mobilenetv2_100_imagenet.safetensors": ({"pad_type": "same"}, HALF, HALF)}


@dataclass
class Backbone:
    """A network before its last layers.

    trunk: images B×3×H×W → map B×`channels`×h×w. public_tail: that map → B×`features`, the rest of what tasks share:
    fc6, or average pooling and a layer in fc6's place. make_private: number of outputs → a fresh private module
    B×`features` → B×outputs, fc7 and fc8 or what stands in their places. mean, std: what images must be normalised
    with. weights: where the pretrained weights came from ("tag", "file", "sha256"), empty when trained from scratch.
    Layers that no pretrained weights reach carry `is_new`.
    """

    name: str
    trunk: nn.Module
    channels: int
    public_tail: nn.Module
    features: int
    make_private: Callable[[int], nn.Module]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    weights: dict[str, str] = field(default_factory=dict)


def load_backbone(name: str, pretrained: bool, *, width: float = 1.0, dropout: float = 0.0) -> Backbone:
    """Build `name`: "small_vgg", "squeezenet1_1", "vgg16", or any convolutional model timm knows.

    pretrained: load weights from where `weights.find` finds them. width scales small_vgg's channels. dropout acts
    before the private module's last layer, and where the paper's network has it.
    Raises WeightsError where the weights cannot be had (never falls back to random ones) and ValueError for an unknown
    name or a model that gives no map.
    """
    file = weights.find(name) if pretrained else None
    if name == "small_vgg":
        return _small_vgg(width, dropout)
    if name in weights.TORCHVISION:
        return _from_torchvision(name, file, dropout)
    return _from_timm(name, file, dropout)


def _new(layer: nn.Module) -> nn.Module:
    """A layer that starts from scratch, which `flat.parameter_groups` wants to know."""
    layer.is_new = True
    return layer


def _small_vgg(width: float, dropout: float) -> Backbone:
    """Four VGG blocks of one 3×3 convolution with batch norm, ReLU and 2×2 max pooling; for images of 48 to 96 px."""
    channels, layers = [3, *(max(8, int(c * width)) for c in (32, 64, 128, 256))], []
    for c_in, c_out in zip(channels, channels[1:], strict=False):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True),
                   nn.MaxPool2d(2)]
    features = channels[-1]
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, features), nn.ReLU(inplace=True))
    for layer in (*layers, *tail):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def make_private(outputs: int) -> nn.Module:
        fc7 = _new(nn.Linear(features, features))
        nn.init.kaiming_normal_(fc7.weight, nonlinearity="relu")
        return nn.Sequential(fc7, nn.ReLU(inplace=True), nn.Dropout(dropout), _new(nn.Linear(features, outputs)))

    return Backbone("small_vgg", nn.Sequential(*layers), features, tail, features, make_private, HALF, HALF)


def _passing(features: int) -> nn.Linear:
    """A new layer that at first gives back what it gets: it has no pretrained weights, and chance would drown those of
    the trunk."""
    layer = _new(nn.Linear(features, features))
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _pooled(name: str, trunk: nn.Module, channels: int, dropout: float, **known) -> Backbone:
    """For networks without fully connected layers: average pooling, then three in the places of P1's fc6 (public), fc7
    and fc8 (private)."""
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), _passing(channels), nn.ReLU(inplace=True))

    def make_private(outputs: int) -> nn.Module:
        return nn.Sequential(_passing(channels), nn.ReLU(inplace=True), nn.Dropout(dropout),
                             _new(nn.Linear(channels, outputs)))

    return Backbone(name, trunk, channels, tail, channels, make_private, **known)


def _from_torchvision(name: str, file: Path | None, dropout: float) -> Backbone:
    import torchvision  # here, as in _from_timm: two seconds that networks from scratch need not wait

    net, known = getattr(torchvision.models, name)(), {}
    if file:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
        net.load_state_dict(state)
        known = {"weights": _describe(f"torchvision {weights.TORCHVISION[name]}.IMAGENET1K_V1", file)}
    if name == "vgg16":
        return _vgg16(net, dropout, **known)
    return _pooled(name, net.features, 512, dropout, **known)


def _from_timm(name: str, file: Path | None, dropout: float) -> Backbone:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"BACKBONE {name!r} is neither small_vgg, squeezenet1_1, vgg16 nor a model of timm; close "
                         f"names: {timm.list_models('*' + name.split('.')[0][:6] + '*')[:8]}")
    extra, *mean_std = LOCAL_VARIANTS.get(file.name, ({},)) if file else ({},)
    loading = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}} if file else {}
    net = timm.create_model(name, num_classes=0, **extra, **loading)
    known = dict(zip(("mean", "std"), map(tuple, mean_std or (net.pretrained_cfg["mean"], net.pretrained_cfg["std"])),
                     strict=True))
    if file:
        tag = f"file {file.name}" if mean_std else "timm {architecture}.{tag}".format(**net.pretrained_cfg)
        known["weights"] = _describe(tag, file)
    trunk = TimmMap(net)
    with torch.no_grad():
        shape = trunk.eval()(torch.zeros(1, *net.pretrained_cfg["input_size"])).shape
    if len(shape) != 4 or shape[1] != net.num_features:     # tokens, or a map with its channels last
        raise ValueError(f"{name} gives no map B×C×h×w but {tuple(shape)}: choose a convolutional BACKBONE")
    return _pooled(name, trunk.train(), shape[1], dropout, **known)


class TimmMap(nn.Module):
    """A timm model up to its last map: B×3×H×W → B×C×h×w."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net
        net.reset_classifier(0, "")

    def forward(self, images: Tensor) -> Tensor:
        return self.net.forward_features(images)


def _vgg16(net: nn.Module, dropout: float, **known) -> Backbone:
    """P1 §3.4: 13 convolutions and fc6 are public, fc7 and fc8 private; every task starts from the same fc7."""
    fc6, fc7 = net.classifier[0], net.classifier[3]
    tail = nn.Sequential(net.avgpool, nn.Flatten(), fc6, nn.ReLU(inplace=True), nn.Dropout(dropout))

    def make_private(outputs: int) -> nn.Module:
        return nn.Sequential(copy.deepcopy(fc7), nn.ReLU(inplace=True), nn.Dropout(dropout),
                             _new(nn.Linear(4096, outputs)))

    return Backbone("vgg16", net.features, 512, tail, 4096, make_private, **known)


def _describe(tag: str, file: Path) -> dict[str, str]:
    return {"tag": tag, "file": file.name, "sha256": file_hash(file)}
