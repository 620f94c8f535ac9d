"""Losses from the library against loops written from their papers, given candidates, and training with them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shoplens.search.metric_losses import ARCFACE, CLASSES, LOSSES, SUPCON, TRIPLET, Learner, Projection, make_loss

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def _unit(count=6, seed=0) -> torch.Tensor:
    drawn = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def _dot(a, b) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def _apart(a, b) -> float:
    return math.sqrt(sum((float(x) - float(y))**2 for x, y in zip(a, b, strict=True)))


def _supcon(features, positives: dict, others: dict, temperature=0.1) -> float:
    """Khosla et al., Eq. 2, mean over anchors with a positive. positives, others: anchor → who counts."""
    total = []
    for a, mine in positives.items():
        everyone = [*mine, *others[a]]
        bottom = math.log(sum(math.exp(_dot(features[a], features[o]) / temperature) for o in everyone))
        total.append(-sum(_dot(features[a], features[p]) / temperature - bottom for p in mine) / len(mine))
    return sum(total) / len(total)


def test_supervised_contrastive_equals_a_loop():
    features = _unit()
    alike = {a: [b for b in range(6) if b != a and LABELS[b] == LABELS[a]] for a in range(6)}
    others = {a: [b for b in range(6) if LABELS[b] != LABELS[a]] for a in range(6)}
    expected = _supcon(features, {a: mine for a, mine in alike.items() if mine}, others)
    loss, miner = make_loss(SUPCON, 3, 4)
    assert miner is None
    assert loss(features, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_classes_are_a_softmax_over_cosines_and_arcface_adds_an_angle():
    features = _unit().abs()
    for kind, scale, extra in ((CLASSES, 20, 0.0), (ARCFACE, 64, math.radians(28.6))):
        loss, miner = make_loss(kind, 3, 4)
        assert miner is None
        loss.W.data.abs_()      # no angle beyond a right one, where ArcFace turns to another formula
        total = 0.0
        for x, label in zip(features, LABELS.tolist(), strict=True):
            cosines = [_dot(x, w) / math.sqrt(_dot(w, w)) for w in loss.W.T.tolist()]
            angle = math.acos(cosines[label])
            cosines[label] = math.cos(angle + extra)
            total += math.log(sum(math.exp(scale * c) for c in cosines)) - scale * cosines[label]
        assert loss(features, LABELS).item() == pytest.approx(total / 6, rel=1e-4)


def test_the_hardest_triplet_of_each_anchor_equals_a_loop():
    features, terms = _unit(), []
    for a in range(6):
        alike = [_apart(features[a], features[b]) for b in range(6) if b != a and LABELS[b] == LABELS[a]]
        others = [_apart(features[a], features[b]) for b in range(6) if LABELS[b] != LABELS[a]]
        if alike:
            terms.append(max(0.0, max(alike) + 0.2 - min(others)))
    loss, miner = make_loss(TRIPLET, 3, 4, margin=0.2)
    violating = [term for term in terms if term > 0]
    assert len(violating) < 6
    learner = Learner(nn.Identity(), loss, miner)
    assert learner(features, LABELS).item() == pytest.approx(sum(violating) / len(violating), rel=1e-5)


def test_candidates_take_the_place_of_all_pairs():
    """Two queries: 0 with positive 2, ambiguous 5 and negatives 1 and 3; 4 with positive 1 and negative 0."""
    features = _unit()
    triplets = torch.tensor([[0, 2, 1], [0, 2, 3], [0, 5, 1], [4, 1, 0]])
    chosen = Learner(nn.Identity(), *make_loss(SUPCON, 3, 4))
    expected = _supcon(features, {0: [2, 5], 4: [1]}, {0: [1, 3], 4: [0]})
    assert chosen(features, LABELS, triplets).item() == pytest.approx(expected, rel=1e-5)
    terms = [max(0.0, _apart(features[a], features[p]) + 0.2 - _apart(features[a], features[n]))
             for a, p, n in triplets.tolist()]
    violating = [term for term in terms if term > 0]
    learner = Learner(nn.Identity(), *make_loss(TRIPLET, 3, 4, margin=0.2))
    assert learner(features, LABELS, triplets).item() == pytest.approx(sum(violating) / len(violating), rel=1e-5)
    for kind in (SUPCON, TRIPLET):      # nothing violates: a loss of 0 that can be propagated back
        free = features.clone().requires_grad_()
        nothing = Learner(nn.Identity(), *make_loss(kind, 3, 4))(free, LABELS, triplets[:0])
        nothing.backward()
        assert nothing.item() == 0
        assert not free.grad.any()
    for kind in (CLASSES, ARCFACE):
        with pytest.raises(ValueError, match="takes no candidates"):
            Learner(nn.Identity(), *make_loss(kind, 3, 4))(features, LABELS, triplets)


def test_a_loss_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="loss is one of .*, got 'contrastive'"):
        make_loss("contrastive", 3, 4)


def test_a_projection_starts_by_keeping_distances():
    pooled = torch.rand(20, 6)
    same = Projection(6, 6)(pooled)
    lengths = pooled / pooled.norm(dim=1, keepdim=True)
    torch.testing.assert_close(torch.cdist(same, same), torch.cdist(lengths, lengths), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(Projection(6, 3)(pooled).norm(dim=1), torch.ones(20))


@pytest.mark.parametrize("kind", LOSSES)
def test_each_loss_brings_products_together(kind):
    """Two coordinates say which product it is, ten are louder and say nothing."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 15)
    angle = labels * np.pi / 2
    images = np.column_stack([np.cos(angle), np.sin(angle), 1.5 * rng.normal(size=(60, 10))]).astype(np.float32)
    torch.manual_seed(0)
    learner = Learner(Projection(12, 6), *make_loss(kind, 4, 6))
    optimizer = torch.optim.SGD(learner.parameters(), 0.1, 0.9)

    def right() -> float:
        """Share of images whose nearest other image is of their product."""
        with torch.no_grad():
            far = torch.cdist(learner(torch.from_numpy(images)), learner(torch.from_numpy(images)))
        return float(np.mean(labels[far.fill_diagonal_(9).argmin(dim=1)] == labels))

    before = right()
    for _ in range(150):
        loss = learner(torch.from_numpy(images), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 0.65
    assert right() > before + 0.25
