"""The losses of rank-based learning (P2 Eq. 3–4) and the loss of a batch, against loops and finite differences."""

import math

import pytest
import torch

from shoplens.search.losses import (
    all_distances,
    ambiguous_positive_terms,
    distance,
    hard_negative_terms,
    ranking_loss,
)


def _apart(features, a: int, b: int, squared: bool) -> float:
    total = sum((float(x) - float(y))**2 for x, y in zip(features[a], features[b], strict=True))
    return total if squared else math.sqrt(total)


# --- one query ----------------------------------------------------------------------------------------------------


def _vectors(count=4, seed=0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A query, one image and `count` others: float64 unit vectors that need a gradient."""
    drawn = torch.randn(count + 2, 5, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    return tuple(part.clone().requires_grad_() for part in (drawn[0], drawn[1], drawn[2:]))


@pytest.mark.parametrize("squared", [True, False])
def test_losses_equal_loops(squared):
    query, one, many = _vectors(40)
    to_one = _apart([query.tolist(), one.tolist()], 0, 1, squared)
    to_many = [_apart([query.tolist(), other], 0, 1, squared) for other in many.tolist()]
    hard = sum(max(0.0, to_one + 0.3 - far) for far in to_many)
    ambiguous = sum(max(0.0, far + 0.3 - to_one) for far in to_many)
    assert hard_negative_terms(query, one, many, 0.3, squared).sum().item() == pytest.approx(hard)
    assert ambiguous_positive_terms(query, many, one, 0.3, squared).sum().item() == pytest.approx(ambiguous)
    assert min(hard, ambiguous) > 0


@pytest.mark.parametrize("squared", [True, False])
def test_gradients_of_the_losses_by_finite_differences(squared):
    query, one, many = _vectors()
    assert torch.autograd.gradcheck(lambda q, p, n: hard_negative_terms(q, p, n, 0.3, squared), (query, one, many))
    assert torch.autograd.gradcheck(lambda q, p, n: ambiguous_positive_terms(q, p, n, 0.3, squared), (query, many, one))


@pytest.mark.parametrize("squared", [True, False])
def test_nothing_is_lost_and_nothing_moves_where_nothing_violates(squared):
    near, far = torch.tensor([1.0, 0.0]), torch.tensor([[-1.0, 0.0], [0.0, -1.0]])
    cases = [(hard_negative_terms, near, near.clone(), far),
             (ambiguous_positive_terms, near, near.expand(3, 2), far[0]),
             (hard_negative_terms, near, far[0], far[:0]), (ambiguous_positive_terms, near, far[:0], near.clone())]
    for terms, *vectors in cases:
        vectors = [v.clone().requires_grad_() for v in vectors]
        value = terms(*vectors, 0.1, squared).sum()
        value.backward()
        assert value.item() == 0
        assert all(not v.grad.any() for v in vectors)


def test_the_gradient_of_a_plain_distance_to_itself_is_finite():
    query = torch.ones(3, requires_grad=True)
    distance(query, query.detach().clone(), squared=False).backward()
    assert torch.isfinite(query.grad).all()

# --- the loss of a batch ------------------------------------------------------------------------------------------


def _triplets(*sets) -> tuple[torch.Tensor, torch.Tensor]:
    """(query, positive, hard negatives, nearest negative, ambiguous positives), as positions → all triplets, and which
    of them are Eq. 4's."""
    found = [((q, p, n), False) for q, p, hard, _, _ in sets for n in hard]
    found += [((q, p, n), True) for q, _, _, n, ambiguous in sets for p in ambiguous]
    return torch.tensor([t for t, _ in found]).reshape(-1, 3).long(), torch.tensor([eq4 for _, eq4 in found]).bool()


def _unit_rows(count=8) -> torch.Tensor:
    drawn = torch.randn(count, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    return (drawn / drawn.norm(dim=1, keepdim=True)).requires_grad_()


@pytest.mark.parametrize("squared", [True, False])
def test_all_distances_are_those_of_pairs(squared):
    features = _unit_rows()
    far = all_distances(features, squared).detach()
    for a in range(8):
        for b in range(8):
            if a != b:
                assert far[a, b].item() == pytest.approx(_apart(features.tolist(), a, b, squared))
    coarse = features.detach().float()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(all_distances(coarse, squared) + torch.eye(8), far.float() + torch.eye(8),
                                   rtol=0, atol=2e-3 if not squared else 1e-5)


@pytest.mark.parametrize("squared", [True, False])
def test_the_loss_of_a_batch_equals_a_loop(squared):
    features = _unit_rows()
    sets = [(0, 1, [2, 3, 4], 2, [1, 5]), (6, 7, [], 3, [7]), (5, 0, [1, 2], 1, [])]

    def apart(a, b):
        return _apart(features.tolist(), a, b, squared)

    eq3 = sum(max(0.0, apart(q, p) + 0.4 - apart(q, n)) for q, p, hard, _, _ in sets for n in hard)
    eq4 = sum(max(0.0, apart(q, p) + 0.4 - apart(q, n)) for q, _, _, n, ambiguous in sets for p in ambiguous)
    violating = sum(apart(q, p) + 0.4 > apart(q, n) for q, p, hard, _, _ in sets for n in hard)
    violating += sum(apart(q, p) + 0.4 > apart(q, n) for q, _, _, n, ambiguous in sets for p in ambiguous)
    assert 0 < violating < 8
    loss, logs = ranking_loss(features, *_triplets(*sets), 3, 0.4, squared)
    assert loss.item() == pytest.approx((eq3 + eq4) / violating)
    assert {name: value.item() for name, value in logs.items()} == pytest.approx(
        {"triplets": 8 / 3, "violating": violating / 8, "negative_loss": eq3 / violating,
         "positive_loss": eq4 / violating}, rel=1e-6)
    assert min(eq3, eq4) > 0
    assert torch.autograd.gradcheck(lambda f: ranking_loss(f, *_triplets(*sets), 3, 0.4, squared)[0], features)


def test_the_loss_of_a_batch_is_made_of_the_terms_of_its_queries():
    """Values and gradients: query by query, as a reader would write it, and from one matrix product."""
    features, sets = _unit_rows(), [(0, 1, [2, 3, 4], 2, [1, 5]), (6, 7, [3], 3, [7, 5])]
    terms = [term for q, p, hard, n, ambiguous in sets for term in (
        hard_negative_terms(features[q], features[p], features[hard], 0.4),
        ambiguous_positive_terms(features[q], features[ambiguous], features[n], 0.4))]
    by_query = torch.cat(terms).sum() / (torch.cat(terms) > 0).sum()
    at_once = ranking_loss(features, *_triplets(*sets), 2, 0.4)[0]
    torch.testing.assert_close(at_once, by_query)
    torch.testing.assert_close(*(torch.autograd.grad(loss, features)[0] for loss in (at_once, by_query)))


def test_a_batch_without_a_triplet_costs_nothing():
    features = _unit_rows()
    loss, logs = ranking_loss(features, *_triplets((0, 1, [], 2, []), (3, 4, [], 5, [])), 2)
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any()
    assert all(value.item() == 0 for value in logs.values())
