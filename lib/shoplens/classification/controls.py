"""What a gain of structure must be held against, and how much room there is for one: made of scores that are there."""

import numpy as np
from scipy.special import log_softmax

from shoplens.classification.comparison import ScoresBySeed
from shoplens.classification.evaluation import Scores
from shoplens.classification.logit_adjustment import choose_tau, logit_adjust
from shoplens.data.catalogue import Catalogue, Hierarchy

TAUS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def _with(scores: Scores, test: np.ndarray) -> Scores:
    return Scores(scores.layer, scores.rows, {"test": test})


def ensembles(of_seed: dict[int, Scores], size: int) -> dict[int, Scores]:
    """seed → the mean of the probabilities of `size` networks of one kind, that seed and those that follow it in a
    ring: what as many networks are worth that know nothing of structure. {} where there are fewer seeds than `size`."""
    seeds = sorted(of_seed)
    if len(seeds) < size:
        return {}
    sure = {seed: np.exp(log_softmax(of_seed[seed].values["test"], axis=1)) for seed in seeds}
    ring = {seed: [seeds[(place + step) % len(seeds)] for step in range(size)] for place, seed in enumerate(seeds)}
    return {seed: _with(of_seed[seed], np.log(np.mean([sure[one] for one in together], axis=0) + 1e-30))
            for seed, together in ring.items()}


def summed_layers(by_layer: dict[str, dict[int, Scores]], hierarchy: Hierarchy) -> dict[int, Scores]:
    """seed → log P(leaf) plus log P of each layer above it, by the CNN of that layer: MCR's idea with nothing fitted.

    by_layer: layer → seed → scores; the leaf among them. Seeds that some layer has not are left out.
    """
    leaf = hierarchy.leaf
    seeds = set.intersection(*(set(of_seed) for of_seed in by_layer.values()))
    return {seed: _with(by_layer[leaf][seed], sum(
        log_softmax(of_seed[seed].values["test"], axis=1)[:, hierarchy.ancestor(layer)]
        for layer, of_seed in by_layer.items())) for seed in sorted(seeds)}


def adjusted(of_seed: dict[int, Scores], labels: np.ndarray, counts: np.ndarray) -> dict[int, Scores]:
    """seed → test scores adjusted for how common each class is, τ by validation MACC: prior and structure told apart.

    labels: class of every row of the catalogue. counts: training images of each class.
    """
    found = {}
    for seed, own in of_seed.items():
        tau, _ = choose_tau(own.values["val"], labels[own.rows["val"]], counts, TAUS)
        found[seed] = _with(own, logit_adjust(own.values["test"], counts, tau))
    return found


def with_true_root(of_seed: dict[int, Scores], labels: np.ndarray, hierarchy: Hierarchy) -> dict[int, Scores]:
    """seed → test scores with every leaf outside of the true root ruled out: the most that a perfect root could add."""
    above = hierarchy.ancestor(hierarchy.layers[0])
    return {seed: _with(own, np.where(above[None] == above[labels[own.rows["test"]]][:, None], own.values["test"],
                                      -np.inf)) for seed, own in of_seed.items()}


def with_true_attributes(of_seed: dict[int, Scores], catalogue: Catalogue) -> dict[int, Scores]:
    """seed → test scores times how often each leaf has the image's true attributes, by counts of training images with
    one added everywhere (a naive Bayes over labelled attributes): about the most that perfect attributes could add."""
    labels = catalogue.labels(catalogue.hierarchy.leaf)
    train = catalogue.rows("train")
    found = {}
    for seed, own in of_seed.items():
        test = own.rows["test"]
        scores = log_softmax(own.values["test"], axis=1)
        for name, states in catalogue.attributes.items():
            known = catalogue.states(name)
            counts = np.ones((scores.shape[1], len(states)))
            labelled = train[known[train] > 0]
            np.add.at(counts, (labels[labelled], known[labelled] - 1), 1)
            likely = np.log(counts / counts.sum(axis=1, keepdims=True))
            seen = known[test] > 0
            scores[seen] += likely[:, known[test][seen] - 1].T
        found[seed] = _with(own, scores)
    return found


def headroom(of_seed: dict[int, Scores], labels: np.ndarray, catalogue: Catalogue) -> ScoresBySeed:
    """The flat CNN, and what perfect knowledge would make of its answers."""
    found = {"as it is": of_seed}
    if len(catalogue.hierarchy.layers) > 1:
        found["with the true root"] = with_true_root(of_seed, labels, catalogue.hierarchy)
    if catalogue.attributes:
        found["with the true attributes"] = with_true_attributes(of_seed, catalogue)
    return found
