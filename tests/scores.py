"""Hierarchies and CNN scores for the tests of MCR."""

from types import SimpleNamespace

import numpy as np
import pytest

from shoplens.classification import mcr
from shoplens.data.catalogue import Hierarchy


def tree(*parents):
    """Hierarchy of len(parents) + 1 layers; parents[j][c] is the parent of class c of layer j + 1."""
    sizes = [max(parents[0]) + 1, *map(len, parents)]
    names = [f"layer{j}" for j in range(len(sizes))]
    classes = {name: tuple(f"{name}-{c:03d}" for c in range(size)) for name, size in zip(names, sizes, strict=True)}
    return Hierarchy(tuple(names), classes, {n: tuple(map(int, p)) for n, p in zip(names[1:], parents, strict=True)})


def random_tree(rng, *sizes):
    """Every class of a layer has a child, the others fall anywhere."""
    return tree(*(rng.permutation(np.r_[np.arange(above), rng.integers(0, above, below - above)])
                  for above, below in zip(sizes, sizes[1:], strict=False)))


def problem(rng, hierarchy, n_images=80, signal=2.0):
    """Scores of one noisy classifier a layer, and labels that follow the tree."""
    leaf = rng.integers(0, len(hierarchy.classes[hierarchy.leaf]), n_images)
    labels = [hierarchy.ancestor(layer)[leaf] for layer in hierarchy.layers]
    scores = [rng.normal(size=(n_images, len(hierarchy.classes[layer]))) for layer in hierarchy.layers]
    for layer, y in zip(scores, labels, strict=True):
        layer[np.arange(n_images), y] += signal
    return scores, labels


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def small(rng):
    """Three layers, 2 + 4 + 7 categories: (hierarchy, scores, labels, sizes, F, W, mask) in float64."""
    hierarchy = random_tree(rng, 2, 4, 7)
    scores, labels = problem(rng, hierarchy, 40)
    W = rng.normal(size=(13, 13))
    return SimpleNamespace(hierarchy=hierarchy, scores=scores, labels=labels, sizes=(2, 4, 7),
                           F=np.concatenate(scores, axis=1), W=W, mask=mcr.related(hierarchy, W, 2))
