"""Rank-based candidate selection (P2 §3.3) against written-out versions and hand-made rankings."""

import math

import numpy as np
import pytest

from shoplens.search.mining import Candidates, Memory, Mining, refreshes, select, triplets_of

# --- one query ----------------------------------------------------------------------------------------------------


def _written_out(query, to_p: dict[int, float], to_n: dict[int, float], rank, hard, ambiguous, margin) -> Candidates:
    """The choice from row → distance, by walking down both rankings."""
    ranked_p = sorted(to_p, key=lambda row: (to_p[row], row))
    ranked_n = sorted(to_n, key=lambda row: (to_n[row], row))
    rank = rank if rank <= len(ranked_p) else len(ranked_p)
    chosen, closest = ranked_p[rank - 1], ranked_n[0]
    negatives, positives = [], []
    for row in ranked_n:
        if to_n[row] < to_p[chosen] + margin and len(negatives) < hard:
            negatives.append(row)
    for row in ranked_p:
        if to_p[row] + margin > to_n[closest] and len(positives) < ambiguous:
            positives.append(row)
    return Candidates(query, chosen, np.array(negatives, int), closest, np.array(positives, int), rank)


def _assert_same(ours: Candidates, theirs: Candidates) -> None:
    for name in ("query", "positive", "nearest_negative", "positive_rank"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.hard_negatives.tolist() == theirs.hard_negatives.tolist()
    assert ours.ambiguous_positives.tolist() == theirs.ambiguous_positives.tolist()


@pytest.mark.parametrize("seed", range(30))
def test_select_equals_the_written_out_choice(seed):
    """Distances on a grid of eighths: many are equal, and sums with the margin are exact."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(100)
    positives, negatives = rows[:rng.integers(1, 30)], rows[40:40 + rng.integers(1, 60)]
    to_p, to_n = rng.integers(0, 24, len(positives)) / 8, rng.integers(4, 32, len(negatives)) / 8
    rank, hard, ambiguous = rng.integers(1, 25), rng.integers(1, 12), rng.integers(0, 12)
    margin = rng.choice([0.0, 0.125, 0.5, 4.0])
    ours = select(7, positives, to_p, negatives, to_n, positive_rank=rank, hard_negatives=hard,
                  ambiguous_positives=ambiguous, margin=margin)
    _assert_same(ours, _written_out(7, dict(zip(positives.tolist(), to_p, strict=True)),
                                    dict(zip(negatives.tolist(), to_n, strict=True)), rank, hard, ambiguous, margin))


P, N = np.array([11, 12, 13]), np.array([21, 22, 23, 24])
TO_P, TO_N = np.array([0.5, 0.25, 1.0]), np.array([0.75, 0.5, 0.625, 2.0])


@pytest.mark.parametrize(("options", "positive", "hard", "ambiguous"), [
    # p' is 0.25 away: nothing is nearer than 0.375.
    ({"margin": 0.125}, 12, [], []),
    # A negative exactly at the margin does not violate it; nor does a positive.
    ({"margin": 0.25, "ambiguous_positives": 10}, 12, [], [11, 13]),
    ({"margin": 0.375, "ambiguous_positives": 10}, 12, [22], [12, 11, 13]),
    # The second positive is 0.5 away; the third, and any after it, 1.0.
    ({"margin": 0.125, "positive_rank": 2}, 11, [22], []),
    ({"margin": 0.125, "positive_rank": 3}, 13, [22, 23, 21], []),
    ({"margin": 0.125, "positive_rank": 20}, 13, [22, 23, 21], []),
    ({"margin": 0.125, "positive_rank": 20, "hard_negatives": 2}, 13, [22, 23], []),
    # Top-ranked violators are the nearest, not the farthest.
    ({"margin": 0.125, "ambiguous_positives": 1}, 12, [], [11]),
    ({"margin": 0.0, "ambiguous_positives": 10}, 12, [], [13]),
    ({"margin": 4.0, "ambiguous_positives": 2}, 12, [22, 23, 21, 24], [12, 11])])
def test_select_by_hand(options, positive, hard, ambiguous):
    chosen = select(1, P, TO_P, N, TO_N, **options)
    assert (chosen.positive, chosen.nearest_negative) == (positive, 22)
    assert chosen.hard_negatives.tolist() == hard
    assert chosen.ambiguous_positives.tolist() == ambiguous
    assert chosen.positive_rank == min(options.get("positive_rank", 1), 3)


def test_equal_distances_rank_by_row_in_whatever_order_they_come():
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        chosen = select(1, P[order], np.full(3, 0.5), N[order], np.full(3, 0.5), positive_rank=2, hard_negatives=2,
                      ambiguous_positives=2)
        assert (chosen.positive, chosen.nearest_negative) == (12, 21)
        assert chosen.hard_negatives.tolist() == [21, 22]
        assert chosen.ambiguous_positives.tolist() == [11, 12]


def test_a_query_needs_a_positive_and_a_negative():
    with pytest.raises(ValueError, match="query 1 has 0 positives and 4 negatives"):
        select(1, P[:0], TO_P[:0], N, TO_N)
    with pytest.raises(ValueError, match="query 1 has 3 positives and 0 negatives"):
        select(1, P, TO_P, N[:0], TO_N[:0])


# --- mining -------------------------------------------------------------------------------------------------------

ITEMS = np.random.default_rng(0).permutation(np.repeat(np.arange(8), 9))     # 72 rows, 9 of each of 8 products
ROWS = np.random.default_rng(1).permutation(72)
GALLERY, QUERIES = ROWS[:50], ROWS[30:]      # 20 rows are both


def _features(seed=0, dimensions=6) -> np.ndarray:
    """Unit vectors whose products differ somewhat."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(8, dimensions))[ITEMS] + 1.5 * rng.normal(size=(72, dimensions))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def _mining(**changes) -> Mining:
    return Mining(ITEMS, GALLERY, **({"sampled": 15, "positive_rank": 2, "hard_negatives": 4,
                                      "ambiguous_positives": 3} | changes))


def _mine(mining, queries, features, memory, seed) -> list[Candidates]:
    """Mined from the distances of these features."""
    squared = np.square(features[queries][:, None] - features[mining.gallery]).sum(axis=-1)
    return mining.mine(queries, squared, memory, seed)


def _apart(features, a: int, b: int, squared: bool) -> float:
    total = sum((float(x) - float(y))**2 for x, y in zip(features[a], features[b], strict=True))
    return total if squared else math.sqrt(total)


def _sample(query: int, seed, features, **changes) -> list[int]:
    """All negatives that were looked at: with a margin nobody meets and no limit, all are hard."""
    mined = _mine(_mining(margin=100.0, hard_negatives=1000, **changes), np.array([query]), features, Memory(), seed)
    return sorted(mined[0].hard_negatives.tolist())


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("sampled", [15, 1000])
def test_mining_equals_a_plain_loop_over_queries(squared, sampled):
    features = _features()
    mining = _mining(sampled=sampled, squared=squared)
    mined = _mine(mining, QUERIES, features, Memory(), (3, 1))
    assert len(mined) == len(QUERIES)
    for query, candidates in zip(QUERIES.tolist(), mined, strict=True):
        positives = [row for row in GALLERY.tolist() if ITEMS[row] == ITEMS[query] and row != query]
        negatives = [row for row in GALLERY.tolist() if ITEMS[row] != ITEMS[query]]
        if sampled < len(negatives):
            negatives = _sample(query, (3, 1), features, sampled=sampled)
        _assert_same(candidates, _written_out(query, {row: _apart(features, query, row, squared) for row in positives},
                                              {row: _apart(features, query, row, squared) for row in negatives},
                                              2, 4, 3, 0.1))
    assert any(len(candidates.hard_negatives) for candidates in mined)
    assert any(len(candidates.ambiguous_positives) for candidates in mined)


def test_plain_and_squared_distances_have_different_violators():
    """Positive at D² = 0.36, negative at 0.485: that is more than 0.36 + 0.1, but √0.485 < √0.36 + 0.1 = 0.7."""
    def at(distance):
        cosine = 1 - distance / 2
        return [cosine, math.sqrt(1 - cosine**2)]
    features = np.array([[1, 0], at(0.36), at(0.485)], np.float32)
    for squared, hard in ((True, []), (False, [2])):
        mining = Mining(np.array([0, 0, 1]), np.array([1, 2]), squared=squared)
        assert _mine(mining, np.array([0]), features, Memory(), (0,))[0].hard_negatives.tolist() == hard


def test_a_query_is_never_its_own_positive():
    features = _features()
    mining = _mining(positive_rank=1, ambiguous_positives=100, margin=4.0)
    for candidates in _mine(mining, QUERIES, features, Memory(), (0,)):
        assert candidates.query not in (candidates.positive, *candidates.ambiguous_positives.tolist())
        assert {ITEMS[candidates.positive], *ITEMS[candidates.ambiguous_positives]} == {ITEMS[candidates.query]}
        assert ITEMS[candidates.query] not in ITEMS[candidates.hard_negatives]
        assert ITEMS[candidates.nearest_negative] != ITEMS[candidates.query]
        assert set(candidates.hard_negatives) | {candidates.positive, candidates.nearest_negative} <= set(GALLERY)


def test_the_sample_is_drawn_from_all_other_products_without_repetition():
    features, query = _features(), int(QUERIES[0])
    others = {row for row in GALLERY.tolist() if ITEMS[row] != ITEMS[query]}
    drawn = [_sample(query, (seed,), features) for seed in range(200)]
    assert all(len(set(one)) == 15 for one in drawn)
    times = np.bincount(np.concatenate(drawn), minlength=72)
    assert set(np.flatnonzero(times)) == others
    expected = 200 * 15 / len(others)       # binomial: four standard deviations
    assert np.abs(times[sorted(others)] - expected).max() < 4 * math.sqrt(expected * (1 - 15 / len(others)))


def test_the_sample_depends_on_the_seed_and_the_query_alone():
    features, query = _features(), int(QUERIES[5])
    assert _sample(query, (1, 2), features) == _sample(query, (1, 2), _features(seed=9))
    assert _sample(query, (1, 2), features) != _sample(query, (1, 3), features)
    twin = next(int(q) for q in QUERIES if ITEMS[q] == ITEMS[query] and q != query)
    assert _sample(query, (1, 2), features) != _sample(twin, (1, 2), features)


def test_company_does_not_matter():
    features, mining = _features(), _mining()
    whole = _mine(mining, QUERIES, features, Memory(), (1,))
    for ours, theirs in zip(_mine(mining, QUERIES[::-3], features, Memory(), (1,)), whole[::-3], strict=True):
        _assert_same(ours, theirs)


def test_triplets_are_the_terms_of_both_equations():
    """Query 7 of two hard negatives and two ambiguous positives, query 8 of none, query 9 of one ambiguous positive."""
    found = [Candidates(7, 1, np.array([21, 22]), 21, np.array([1, 3]), 1),
             Candidates(8, 2, np.array([], int), 23, np.array([], int), 1),
             Candidates(9, 4, np.array([], int), 24, np.array([5]), 1)]
    triplets, ambiguous = triplets_of(found)
    assert list(zip(triplets.tolist(), ambiguous.tolist(), strict=True)) == [
        ([7, 1, 21], False), ([7, 1, 22], False), ([7, 1, 21], True), ([7, 3, 21], True), ([9, 5, 24], True)]
    triplets, ambiguous = triplets_of(found[1:2])
    assert (triplets.shape, ambiguous.shape) == ((0, 3), (0,))


def test_hard_negatives_are_looked_at_again_though_they_are_not_drawn():
    """Row 1 is the positive; row 7 the only negative that is near, among 100 of which two are drawn."""
    items, features = np.arange(102), np.tile(np.float32([0, 1]), (102, 1))
    items[1], features[[0, 1, 7]] = 0, [1, 0]
    mining = Mining(items, np.arange(1, 102), sampled=2)
    forgetful = [_mine(mining, np.array([0]), features, Memory(), (seed,))[0].hard_negatives for seed in range(20)]
    lucky = [seed for seed, hard in enumerate(forgetful) if len(hard)]
    assert len(lucky) < 20
    memory = Memory({0: np.array([7, 55, 1, 9999])})        # also one that is far, one of the same product, and nobody
    for seed in range(20):
        candidates = _mine(mining, np.array([0]), features, memory, (seed,))[0]
        assert candidates.hard_negatives.tolist() == [7]
        assert candidates.nearest_negative == 7
        assert memory.recall(0).tolist() == [7]
    assert memory.recall(1).tolist() == []


def test_memory_survives_new_features_and_lets_go_of_what_no_longer_violates():
    mining, memory, everyone = _mining(), Memory(), _mining(sampled=1000, margin=100.0, hard_negatives=1000)
    before = _mine(mining, QUERIES, _features(), memory, (0, 0))
    features = _features(seed=5)
    after = _mine(mining, QUERIES, features, memory, (0, 1))
    kept = dropped = 0
    for first, then, whole in zip(before, after, _mine(everyone, QUERIES, features, Memory(), (0,)), strict=True):
        assert memory.recall(first.query).tolist() == then.hard_negatives.tolist()
        ranking, drawn = whole.hard_negatives.tolist(), _sample(first.query, (0, 1), features)
        limit = _apart(features, first.query, then.positive, True) + 0.1
        for row in set(first.hard_negatives.tolist()) - set(drawn):
            violates = _apart(features, first.query, row, True) < limit
            among_the_nearest = sum(ranking.index(r) < ranking.index(row) for r in {*drawn, *first.hard_negatives}) < 4
            assert (row in then.hard_negatives) == (violates and among_the_nearest)
            kept, dropped = kept + (row in then.hard_negatives), dropped + (row not in then.hard_negatives)
    assert kept > 3
    assert dropped > 3


# --- refreshes ----------------------------------------------------------------------------------------------------


def test_5780_queries_are_refreshed_six_times_an_epoch_and_then_three_times():
    table = refreshes(5780, 11)
    assert table[:5] == [[0, 1000, 2000, 3000, 4000, 5000]] * 5
    assert table[5:10] == [[0, 2000, 4000]] * 5
    assert table[10] == [0, 4000]


@pytest.mark.parametrize(("queries", "epochs", "interval", "halve_every", "counts"), [
    (473, 10, 1000, 5, [1] * 10), (1000, 6, 1000, 5, [1] * 6), (1001, 6, 1000, 5, [2] * 5 + [1]),
    (10, 5, 1, 2, [10, 10, 5, 5, 3]), (10, 3, 3, 1, [4, 2, 1])])
def test_refreshes_as_a_table(queries, epochs, interval, halve_every, counts):
    assert [len(one) for one in refreshes(queries, epochs, interval, halve_every)] == counts


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (1, 1, 0), (1, 1, 1, 0)])
def test_refreshes_of_nothing_are_refused(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        refreshes(*arguments)
