"""Scores on disk and the tables made of them, against loops, scikit-learn and degenerate cases."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from shoplens.classification.evaluation import Gain, Scores, compare, evaluate, readable
from shoplens.statistics import accuracy
from shoplens.statistics.bootstrap import Interval, bootstrap_accuracy
from shoplens.statistics.verdicts import verdict


def _scored(rng, count=120, classes=7):
    """Imbalanced labels and scores that know frequent classes better, without ties."""
    labels = rng.choice(classes, count, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    scores = rng.normal(size=(count, classes))
    scores[np.arange(count), labels] += 0.3 * labels
    return scores, labels


def _hit(row, label, k):
    return label in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]


def test_scores_survive_the_disk(rng, tmp_path):
    kept = Scores("leaf", {"val": np.array([4, 2]), "test": np.array([7, 1, 3])},
                  {"val": rng.normal(size=(2, 5)), "test": rng.normal(size=(3, 5))},
                  {"neck line": rng.normal(size=(3, 2)), "a/b": rng.normal(size=(3, 4))})
    kept.save(tmp_path / "scores.npz")
    back = Scores.load(tmp_path / "scores.npz")
    assert (back.layer, type(back.layer)) == ("leaf", str)
    for split, rows in kept.rows.items():
        assert np.issubdtype(back.rows[split].dtype, np.integer)
        np.testing.assert_array_equal(back.rows[split], rows)
    for group in ("values", "attributes"):
        before, after = getattr(kept, group), getattr(back, group)
        assert set(before) == set(after)
        for name, array in before.items():
            assert after[name].dtype == np.float32
            np.testing.assert_allclose(after[name], array, rtol=1e-6)


def test_a_split_left_out_stays_out_and_no_attributes_stay_none(tmp_path):
    Scores("leaf", {"test": np.array([0])}, {"test": np.ones((1, 2))}).save(tmp_path / "scores.npz")
    back = Scores.load(tmp_path / "scores.npz")
    assert (set(back.rows), set(back.values), back.attributes) == ({"test"}, {"test"}, {})


@pytest.mark.parametrize("k", [1, 3])
def test_hits_equal_a_loop(rng, k):
    labels = rng.integers(0, 5, 50)         # of the whole catalogue
    scores = Scores("leaf", {"val": rng.permutation(50)[:20], "test": rng.permutation(50)[:30]},
                    {"val": rng.normal(size=(20, 5)), "test": rng.integers(0, 3, (30, 5)).astype(float)})
    for split in ("val", "test"):
        expected = [_hit(row, labels[i], k) for i, row in zip(scores.rows[split], scores.values[split], strict=True)]
        np.testing.assert_array_equal(scores.hits(labels, k, split), expected)
    np.testing.assert_array_equal(scores.hits(labels, k), scores.hits(labels, k, "test"))


def test_table_equals_loops_and_scikit_learn(rng):
    values, labels = _scored(rng)
    other = rng.normal(size=values.shape)
    table = evaluate({"a": values, "b": other}, labels, n_resamples=200, dataset="toy", seed=3)
    assert list(table) == ["dataset", "seed", "variant", "metric", "k", "value", "n", "low", "high"]
    assert set(table["dataset"]) == {"toy"}
    assert set(table["seed"]) == {3}
    assert set(table["n"]) == {120}
    found = table.set_index(["variant", "metric", "k"])["value"]
    assert len(found) == 2 * 2 * 2
    for variant, scores in (("a", values), ("b", other)):
        for k in (1, 5):
            hit = [_hit(row, label, k) for row, label in zip(scores, labels, strict=True)]
            of_class = [[h for h, y in zip(hit, labels, strict=True) if y == c] for c in sorted(set(labels))]
            assert found[variant, "ACC", k] == pytest.approx(sum(hit) / 120)
            assert found[variant, "MACC", k] == pytest.approx(sum(sum(h) / len(h) for h in of_class) / len(of_class))
        sklearn = balanced_accuracy_score(labels, scores.argmax(axis=1))
        assert found[variant, "MACC", 1] == pytest.approx(sklearn)
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()


@pytest.mark.parametrize(("classes", "depths"), [(2, {1}), (5, {1}), (6, {1, 5})])
def test_top_5_of_five_classes_is_left_out(rng, classes, depths):
    scores, labels = _scored(rng, classes=classes)
    assert set(evaluate({"a": scores}, labels, n_resamples=5)["k"]) == depths


def test_who_is_always_right_or_wrong_has_no_interval():
    labels = np.array([0, 0, 1, 2])
    table = evaluate({"right": np.eye(3)[labels], "wrong": -np.eye(3)[labels]}, labels, n_resamples=20)
    for name, expected in (("right", 1), ("wrong", 0)):
        assert (table.loc[table["variant"] == name, ["value", "low", "high"]] == expected).all(axis=None)


def test_readable_is_one_row_per_variant_in_the_tables_order():
    labels = np.array([0, 0, 0, 1])
    table = evaluate({"z": np.eye(2)[labels], "a": np.eye(2)[[0, 0, 0, 0]]}, labels, n_resamples=50)
    shown = readable(table)
    assert list(shown) == ["variant", "ACC top-1", "MACC top-1"]
    assert shown["variant"].tolist() == ["z", "a"]
    assert shown["ACC top-1"][0] == "100.0 [100.0, 100.0]"
    assert shown["ACC top-1"][1].startswith("75.0 [")
    assert shown["MACC top-1"][1] == "50.0 [50.0, 50.0]"        # classes of one kind of answer do not move


@pytest.mark.parametrize(("low", "high", "word"), [
    (0.01, 0.02, "better"), (-0.02, -0.01, "worse"), (-0.01, 0.01, "inside the noise"), (0.0, 0.01, "inside the noise"),
    (-0.01, 0.0, "inside the noise"), (0.0, 0.0, "inside the noise")])
def test_a_word_for_an_interval(low, high, word):
    assert verdict(Interval((low + high) / 2, low, high)) == word


def test_compare_is_the_paired_difference_and_antisymmetric(rng):
    scores, labels = _scored(rng)
    hits, against = (accuracy.top_k_correct(s, labels) for s in (scores, scores + rng.normal(size=scores.shape)))
    gain, loss = compare(hits, against, labels, n_resamples=300), compare(against, hits, labels, n_resamples=300)
    assert gain.acc.value == pytest.approx(accuracy.acc(hits) - accuracy.acc(against))
    assert gain.macc.value == pytest.approx(accuracy.macc(hits, labels) - accuracy.macc(against, labels))
    assert gain.acc.value != pytest.approx(gain.macc.value)
    for statistic, interval in (("acc", gain.acc), ("macc", gain.macc)):
        assert interval == bootstrap_accuracy(hits, labels, statistic, against=against, n_resamples=300)
    assert gain.p_value == loss.p_value == accuracy.mcnemar(hits, against)
    for ours, theirs in ((gain.acc, loss.acc), (gain.macc, loss.macc)):
        assert (ours.value, ours.low, ours.high) == pytest.approx((-theirs.value, -theirs.high, -theirs.low))


def test_who_is_compared_with_himself_gains_nothing(rng):
    scores, labels = _scored(rng)
    hits = accuracy.top_k_correct(scores, labels)
    gain = compare(hits, hits, labels, n_resamples=20)
    assert gain == Gain(Interval(0, 0, 0), Interval(0, 0, 0), 1.0)
    assert str(gain) == "ACC 0.000 [0.000, 0.000], MACC 0.000 [0.000, 0.000], McNemar p = 1"
