"""Salient-sensitive CNNs: a trunk with spatial attention inside (P1 §3.2)."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shoplens.models.backbones import Backbone

PLACES = ("pool5", "conv5", "pool4")
READINGS = ("dynamic", "template", "centre")
GAUSSIAN, NEUTRAL = 1.0, 0.0    # standard deviations of the attention's initial weights


class SpatialAttention(nn.Module):
    """Weights in (0, 1) for the places of a map, the same for all its channels (P1 §3.2).

    reading "dynamic": a 1×1 convolution to one map, then a sigmoid, so that every image has weights of its own.
    reading "template": one learned h×w map, then a sigmoid, shared by all images (the paper's words allow both);
    it is resized where a map has another size. reading "centre": nothing is learned, the weights are `centre_prior`'s:
    the control that knows only where products tend to stand. std: standard deviation of the initial weights; 0 is
    neutral, every place counts a half at first, however large the activations are. The paper's "standard Gaussian" is
    1, at which most sigmoids of a trained trunk start saturated.
    forward: maps B×C×h×w → maps B×C×h×w.
    """

    is_new = True

    def __init__(self, channels: int, *, reading: str = "dynamic", size: tuple[int, int] | None = None,
                 std: float = NEUTRAL):
        super().__init__()
        if reading not in READINGS or (reading == "template") != (size is not None):
            raise ValueError(f"reading is one of {READINGS}, the second together with its size; got {reading!r}, "
                             f"{size}")
        self.reading = reading
        if reading == "dynamic":
            self.score = nn.Conv2d(channels, 1, kernel_size=1)
            nn.init.normal_(self.score.weight, std=std)
            nn.init.zeros_(self.score.bias)
        elif reading == "template":
            self.template = nn.Parameter(torch.randn(1, 1, *size) * std)

    def weights(self, maps: Tensor) -> Tensor:
        """Attention of each place: B×C×h×w → B×1×h×w, in (0, 1)."""
        if self.reading == "dynamic":
            return torch.sigmoid(self.score(maps))
        if self.reading == "centre":
            return centre_prior(*maps.shape[2:]).to(maps).expand(len(maps), 1, -1, -1)
        template = self.template
        if template.shape[2:] != maps.shape[2:]:
            template = F.interpolate(template, maps.shape[2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(template).expand(len(maps), -1, -1, -1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.weights(maps)


def centre_prior(height: int, width: int, spread: float = 0.25) -> Tensor:
    """The guess that products stand in the middle: a Gaussian, h×w, 1 at its top. spread: deviation by the side."""
    down, across = (torch.exp(-(((torch.arange(n) + 0.5) / n - 0.5) / spread) ** 2 / 2) for n in (height, width))
    return down[:, None] * across


class AttendedTrunk(nn.Module):
    """A trunk with spatial attention inside (ssCNN, P1 §3.2): B×3×H×W → B×C×h×w.

    place: behind "pool5" (the default: behind the whole trunk), "conv5" (before the last pooling) or "pool4" (behind
    the pooling before that). Trunks without a pooling at their end have no conv5 apart from pool5; trunks that are
    not a plain sequence take only pool5. image_size: side of the images in pixels, for a template's size.
    """

    def __init__(self, trunk: nn.Module, *, place: str = "pool5", reading: str = "dynamic", std: float = NEUTRAL,
                 image_size: int = 224):
        super().__init__()
        self.before, self.after = _cut(trunk, place)
        with torch.no_grad():
            channels, *size = self.before.eval()(torch.zeros(1, 3, image_size, image_size)).shape[1:]
        self.before.train()
        self.attention = SpatialAttention(channels, reading=reading, std=std,
                                          size=tuple(size) if reading == "template" else None)

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.attention(self.before(images)))

    def attention_map(self, images: Tensor) -> Tensor:
        """Where the network looks: images B×3×H×W → weights B×1×h×w."""
        return self.attention.weights(self.before(images))


def attend(backbone: Backbone, image_size: int, *, place: str = "pool5", reading: str = "dynamic",
           std: float = NEUTRAL) -> Backbone:
    """`backbone` with spatial attention in its trunk (options as `AttendedTrunk`): what turns bCNN into ssCNN and
    bMTL into ssMTL."""
    trunk = AttendedTrunk(backbone.trunk, place=place, reading=reading, std=std, image_size=image_size)
    return replace(backbone, trunk=trunk)


def _cut(trunk: nn.Module, place: str) -> tuple[nn.Module, nn.Module]:
    """The trunk before and behind `place`."""
    if place not in PLACES:
        raise ValueError(f"attention goes behind one of {PLACES}, got {place!r}")
    if place == "pool5":
        return trunk, nn.Identity()
    if not isinstance(trunk, nn.Sequential):
        raise ValueError(f"a {type(trunk).__name__} is no plain sequence of layers: place the attention behind pool5")
    layers = list(trunk)
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    ends_in_pool = pools and pools[-1] == len(layers) - 1
    if place == "conv5" and not ends_in_pool:
        raise ValueError("this trunk does not end in a pooling: behind conv5 is behind pool5")
    cut = pools[-1] if place == "conv5" else pools[-2 if ends_in_pool else -1] + 1
    return nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:])
