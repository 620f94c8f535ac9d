"""How far errors are from the truth: tree distance against climbing paths by hand, errors against loops."""

import numpy as np
import pytest
from scores import problem, random_tree, tree

from shoplens.classification import comparison
from shoplens.classification.evaluation import Scores


def _path(hierarchy, leaf):
    """Classes from the leaf up to its root."""
    path = [leaf]
    for layer in hierarchy.layers[:0:-1]:
        path.append(hierarchy.parent[layer][path[-1]])
    return path


def _climb(hierarchy, a, b):
    """Steps up from both leaves until they stand on the same class."""
    for steps, (here, there) in enumerate(zip(_path(hierarchy, a), _path(hierarchy, b), strict=True)):
        if here == there:
            return steps
    return len(hierarchy.layers)


@pytest.mark.parametrize("sizes", [(9,), (3, 9), (2, 4, 9), (2, 2, 5, 12), (1, 3, 8)])
def test_distance_equals_climbing(rng, sizes):
    for _ in range(5):
        hierarchy = random_tree(rng, *sizes) if len(sizes) > 1 else _flat(sizes[0])
        a, b = (pair.flatten() for pair in np.meshgrid(np.arange(sizes[-1]), np.arange(sizes[-1])))
        distance = comparison.tree_distance(hierarchy, a, b)
        assert distance.tolist() == [_climb(hierarchy, x, y) for x, y in zip(a, b, strict=True)]
        np.testing.assert_array_equal(distance == 0, a == b)
        np.testing.assert_array_equal(distance, comparison.tree_distance(hierarchy, b, a))
        roots = hierarchy.ancestor(hierarchy.layers[0])
        np.testing.assert_array_equal(distance == len(sizes), roots[a] != roots[b])


def _flat(leaves):
    """A hierarchy of one layer."""
    whole = tree([0] * leaves)
    return type(whole)(("layer1",), {"layer1": whole.classes["layer1"]}, {})


def test_distance_is_an_ultrametric(rng):
    """Two leaves are never further apart than the further of them is from a third."""
    hierarchy = random_tree(rng, 2, 5, 11)
    a, b, c = rng.integers(0, 11, (3, 400))
    ab, bc, ac = (comparison.tree_distance(hierarchy, *pair) for pair in ((a, b), (b, c), (a, c)))
    assert (ac <= np.maximum(ab, bc)).all()


def test_a_layer_that_repeats_the_one_above_adds_one_to_every_error():
    """Leaves 0 and 1 under one root, 2 under another; then the same with a layer between that says nothing new."""
    truth, predicted = np.array([0, 0, 0, 2]), np.array([0, 1, 2, 2])
    assert comparison.tree_distance(tree([0, 0, 1]), truth, predicted).tolist() == [0, 1, 2, 0]
    assert comparison.tree_distance(tree([0, 1], [0, 0, 1]), truth, predicted).tolist() == [0, 1, 3, 0]
    assert comparison.tree_distance(tree([0, 0, 1], [0, 1, 2]), truth, predicted).tolist() == [0, 2, 3, 0]


def test_nothing_asked_nothing_told():
    assert comparison.tree_distance(tree([0, 0, 1]), np.array([], int), np.array([], int)).shape == (0,)


def test_mistakes_equal_loops(rng):
    hierarchy = random_tree(rng, 3, 5, 9)
    answers, labels = {}, rng.integers(0, 9, 100)
    for variant, seeds in (("bCNN", (0, 1)), ("ours", (1,))):
        answers[variant] = {}
        for seed in seeds:
            rows = np.arange(40, 100)
            values = rng.normal(size=(60, 9))
            values[np.arange(60), labels[rows]] += 1
            answers[variant][seed] = Scores("layer2", {"test": rows}, {"test": values})
    table = comparison.mistakes(answers, labels, hierarchy, subset="full")
    assert list(table) == ["subset", "variant", "seed", "errors", "inside_root", "distance"]
    assert table[["variant", "seed"]].to_numpy().tolist() == [["bCNN", 0], ["bCNN", 1], ["ours", 1]]
    for r in table.itertuples():
        scores, far = answers[r.variant][r.seed], []
        for row, values in zip(scores.rows["test"], scores.values["test"].tolist(), strict=True):
            best = max(range(9), key=values.__getitem__)
            if best != labels[row]:
                far.append(_climb(hierarchy, labels[row], best))
        assert r.errors == len(far)
        assert r.inside_root == pytest.approx(sum(d < 3 for d in far) / len(far))
        assert r.distance == pytest.approx(sum(far) / len(far))
        assert 1 <= r.distance <= 3


def test_who_makes_no_mistake_has_no_distance_and_who_guesses_errs_as_chance_does(rng):
    hierarchy = random_tree(rng, 2, 4, 8)
    _, truth = problem(rng, hierarchy, 4000)
    labels, rows = truth[-1], np.arange(4000)
    right = Scores("layer2", {"test": rows}, {"test": np.eye(8)[labels]})
    guess = Scores("layer2", {"test": rows}, {"test": rng.normal(size=(4000, 8))})
    none = comparison.mistakes({"right": {0: right}}, labels, hierarchy)
    assert none["errors"].item() == 0
    assert none[["inside_root", "distance"]].isna().all(axis=None)
    table = comparison.mistakes({"guess": {0: guess}}, labels, hierarchy)
    pairs = [_climb(hierarchy, a, b) for a in range(8) for b in range(8) if a != b]
    assert table["inside_root"].item() == pytest.approx(sum(d < 3 for d in pairs) / 56, abs=0.03)
    assert table["distance"].item() == pytest.approx(sum(pairs) / 56, abs=0.03)
