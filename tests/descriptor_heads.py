"""Heads, maps and vectors for the tests of NetVLAD and of what stands beside it."""

import math

import torch

from shoplens.models.netvlad import NetVLAD, NetVLADInit


def a_start(clusters=3, channels=5, alpha=2.0, seed=0) -> NetVLADInit:
    rng = torch.Generator().manual_seed(seed)
    direction = torch.randn(channels, generator=rng)
    return NetVLADInit(torch.randn(clusters, channels, generator=rng), alpha, direction / direction.norm())


def some_maps(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_head(assignment="v1", kind=None, start=None, seed=0) -> NetVLAD:
    torch.manual_seed(seed)
    return NetVLAD(start or a_start(), assignment, kind)


def dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(x) -> list[float]:
    length = math.sqrt(dot(x, x))
    return [v / length for v in x] if length else list(x)
