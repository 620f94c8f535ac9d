"""Trunks, and where each is cut into the public part all tasks share and the private part of one task (P1 §3.4)."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from shoplens import paths
from shoplens.sealed import file_hash

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

# Weight files whose network differs from what timm builds under that name: creation arguments, mean and std.
LOCAL_VARIANTS = {"mobilenetv2_100_imagenet.safetensors": ({"pad_type": "same"}, HALF, HALF)}
# The files of this study's accepted results, which a flipped bit would spoil unseen.
SHA256 = {
    "mobilenetv2_100_imagenet.safetensors": "c9e9e029038f039ba5489c3d9b6741aa0997ce2b3da7de5dbecdb113977fa894",
    "squeezenet1_1_imagenet.safetensors": "96a4b662bedd50905054b1e43e048305ea292e69541106a7dcd14a2c129d4e08",
}


class WeightsError(RuntimeError):
    """Pretrained weights were asked for and cannot be had."""


@dataclass
class Backbone:
    """A network before its last layers.

    trunk: images B×3×H×W → map B×`channels`×h×w. public_tail: that map → B×`features`, the rest of what tasks share
    (fc6 in VGG-16; average pooling where a network has no such layer). make_private: number of outputs → a fresh
    private module B×`features` → B×outputs. mean, std: what images must be normalised with. weights: where the
    pretrained weights came from ("tag", "file", "sha256"), empty when trained from scratch.
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

    pretrained: load weights from `$STUDY_WEIGHTS` (file `<name>_imagenet.safetensors` or `<name>.safetensors`), else
    from the hub. width scales small_vgg's channels. dropout acts before the private module's last layer.
    Raises WeightsError where the weights cannot be had (never falls back to random ones) and ValueError for an unknown
    name or a model that gives no map.
    """
    if name == "small_vgg":
        if pretrained:
            raise WeightsError("small_vgg has no pretrained weights: set PRETRAINED = False or choose another BACKBONE")
        return _small_vgg(width, dropout)
    if name == "squeezenet1_1":
        return _squeezenet(pretrained, dropout)
    return _from_timm(name, pretrained, dropout)


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
        fc7 = nn.Linear(features, features)
        nn.init.kaiming_normal_(fc7.weight, nonlinearity="relu")
        return nn.Sequential(fc7, nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(features, outputs))

    return Backbone("small_vgg", nn.Sequential(*layers), features, tail, features, make_private, HALF, HALF)


def _pooled(name: str, trunk: nn.Module, channels: int, dropout: float, **known) -> Backbone:
    """For networks without fully connected layers: the public part ends in average pooling, one layer is private."""
    return Backbone(name, trunk, channels, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels,
                    lambda outputs: nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, outputs)), **known)


def _squeezenet(pretrained: bool, dropout: float) -> Backbone:
    import torchvision  # here, as in _from_timm: two seconds that networks from scratch need not wait

    net, weights = torchvision.models.squeezenet1_1(), {}
    if pretrained:
        tag = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
        file = _local_file("squeezenet1_1")
        if file:
            state = load_file(file)
        else:
            state = _reach("squeezenet1_1", lambda: tag.get_state_dict(progress=False, check_hash=True))
            file = Path(torch.hub.get_dir()) / "checkpoints" / tag.url.rsplit("/", 1)[1]
        net.load_state_dict(state)
        weights = _describe(f"torchvision {tag}", file)
    return _pooled("squeezenet1_1", net.features, 512, dropout, weights=weights)


def _from_timm(name: str, pretrained: bool, dropout: float) -> Backbone:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"BACKBONE {name!r} is neither small_vgg, squeezenet1_1 nor a model of timm; close names: "
                         f"{timm.list_models('*' + name.split('.')[0][:6] + '*')[:8]}")
    arguments, weights, mean_std = {"num_classes": 0}, {}, None
    if pretrained:
        file = _local_file(name)
        if file and file.name in LOCAL_VARIANTS:
            extra, *mean_std = LOCAL_VARIANTS[file.name]
            arguments |= extra
        tag = timm.create_model(name, pretrained=False, num_classes=0).pretrained_cfg
        file = file or Path(_reach(name, lambda: hf_hub_download(tag["hf_hub_id"], "model.safetensors")))
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
        weights = _describe(f"timm {tag['architecture']}.{tag['tag']}" if not mean_std else f"file {file.name}", file)
    net = timm.create_model(name, **arguments)
    mean, std = mean_std or (net.pretrained_cfg["mean"], net.pretrained_cfg["std"])
    known = {"weights": weights, "mean": tuple(mean), "std": tuple(std)}
    if name.split(".")[0] == "vgg16":
        return _vgg16(net, dropout, **known)
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
    fc6, fc7 = net.pre_logits.fc1, net.pre_logits.fc2
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(7), fc6, nn.Flatten(), nn.ReLU(inplace=True), nn.Dropout(dropout))

    def make_private(outputs: int) -> nn.Module:
        own = nn.Linear(4096, 4096)
        with torch.no_grad():
            own.weight.copy_(fc7.weight.flatten(1))
            own.bias.copy_(fc7.bias)
        return nn.Sequential(own, nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(4096, outputs))

    return Backbone("vgg16", copy.deepcopy(net.features), 512, tail, 4096, make_private, **known)


def _local_file(name: str) -> Path | None:
    for file in (f"{name}_imagenet.safetensors", f"{name}.safetensors"):
        if (path := paths.weights_dir() / file).is_file():
            _check(path)
            return path
    return None


def _check(file: Path) -> None:
    """WeightsError where a file of weights is damaged, or not the one known by its name."""
    try:
        with safe_open(file, "pt") as opened:
            opened.keys()
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged ({error}): copy it anew, or remove it to have the weights downloaded"
                           ) from None
    if file.name in SHA256 and file_hash(file) != SHA256[file.name]:
        raise WeightsError(f"{file} is not the file known by that name (its SHA-256 is not {SHA256[file.name][:12]}…): "
                           f"copy it anew, or call other weights {file.name.replace('_imagenet', '')}")


def _reach(name: str, download: Callable):
    try:
        return download()
    except Exception as error:      # the hub's clients raise a dozen kinds when there is no network
        raise WeightsError(
            f"pretrained weights of {name!r} are neither in {paths.weights_dir()} ({name}_imagenet.safetensors) nor "
            f"to be downloaded ({type(error).__name__}). Put the file there, or point STUDY_WEIGHTS to its folder, or "
            f"set PRETRAINED = False.") from error


def _describe(tag: str, file: Path) -> dict[str, str]:
    return {"tag": tag, "file": file.name, "sha256": file_hash(Path(file))}
