"""P1's variants side by side: every table against loops, and what P1's own tables say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scores import random_tree, tree

from shoplens.classification import comparison
from shoplens.classification.evaluation import Scores
from shoplens.data.catalogue import Catalogue
from shoplens.statistics import accuracy
from shoplens.statistics.bootstrap import Interval
from shoplens.statistics.verdicts import verdict

LEAVES, IMAGES = 7, 90
TEST = np.arange(30, IMAGES)        # rows of the catalogue that are tested


def _scores(rng, labels, signal=1.0, rows=TEST, **attributes):
    values = rng.normal(size=(len(rows), LEAVES))
    values[np.arange(len(rows)), labels[rows]] += signal
    return Scores("leaf", {"test": rows}, {"test": values}, attributes)


@pytest.fixture
def labels(rng):
    return np.r_[np.arange(LEAVES), rng.integers(0, LEAVES, IMAGES - 2 * LEAVES), np.arange(LEAVES)]


@pytest.fixture
def answers(rng, labels):
    """bCNN and two variants; only seeds 0 and 1 are common to bCNN and ssCNN, only 2 to bCNN and ours."""
    seeds = {"bCNN": (0, 1, 2), "ssCNN": (3, 1, 0), "ours": (2,)}
    return {variant: {seed: _scores(rng, labels, signal) for seed in of_variant}
            for (variant, of_variant), signal in zip(seeds.items(), (1.0, 1.6, 3.0), strict=True)}


def _hits(scores, labels, k=1):
    """One bool an image, by sorting."""
    return [labels[row] in sorted(range(LEAVES), key=lambda c: -values[c])[:k]
            for row, values in zip(scores.rows["test"], scores.values["test"], strict=True)]


def _shares(hit, truth):
    """ACC and MACC by loops."""
    of_class = [[h for h, y in zip(hit, truth, strict=True) if y == c] for c in sorted(set(truth))]
    return {"ACC": sum(hit) / len(hit), "MACC": sum(sum(h) / len(h) for h in of_class) / len(of_class)}


# --- what was run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("run_id", "seed"), [("02_bcnn", 0), ("02_bcnn-s2", 2), ("03_sscnn_core-s11", 11), ("-s2", 0),
                                              ("a-small", 0), ("a-s", 0), ("a-s1-s3", 3)])
def test_seed_of_a_run(run_id, seed):
    assert comparison.seed_of(run_id) == seed


def _published(folder, ids, rng, labels, **changes):
    """Scores of each run under `folder`, and a run that has them as inputs."""
    for run_id in ids:
        (folder / "artefacts" / run_id).mkdir(parents=True)
        _scores(rng, labels, **changes.get(run_id, {})).save(folder / "artefacts" / run_id / "scores.npz")
    return SimpleNamespace(inputs=lambda name: [i for i in ids if i.split("-s")[0] == name],
                           artefact_of=lambda run_id, name: folder / "artefacts" / run_id / name)


def test_scores_are_loaded_by_variant_and_seed(tmp_path, rng, labels):
    run = _published(tmp_path, ["02_bcnn", "02_bcnn-s1", "06_ssmtl_ca-s4"], rng, labels)
    loaded = comparison.load_scores(run, comparison.VARIANTS)
    assert {variant: list(of_seed) for variant, of_seed in loaded.items()} == {"bCNN": [0, 1], "ssMTL-CA": [4]}
    kept = Scores.load(tmp_path / "artefacts" / "02_bcnn-s1" / "scores.npz")
    np.testing.assert_array_equal(loaded["bCNN"][1].values["test"], kept.values["test"])
    assert comparison.load_scores(run, {"bMTL-RL": "05_bmtl_rl"}) == {}


@pytest.mark.parametrize("other", [TEST[::-1], TEST[1:], TEST - 1])
def test_variants_scored_on_other_images_are_refused(tmp_path, rng, labels, other):
    run = _published(tmp_path, ["02_bcnn", "03_sscnn"], rng, labels, **{"03_sscnn": {"rows": other}})
    with pytest.raises(ValueError, match=r"\['bCNN', 'ssCNN'\] were not scored on the same test images"):
        comparison.load_scores(run, comparison.VARIANTS)


# --- Table 1 ------------------------------------------------------------------------------------------------------


def test_score_table_equals_loops(answers, labels):
    table = comparison.score_table(answers, labels, dataset="toy", subset="core")
    assert list(table) == ["dataset", "subset", "variant", "metric", "k", "seed", "value", "n"]
    assert len(table) == (3 + 3 + 1) * 2 * 2
    assert set(table["n"]) == {len(TEST)}
    found = table.set_index(["variant", "seed", "k", "metric"])["value"]
    for variant, of_seed in answers.items():
        for seed, scores in of_seed.items():
            for k in (1, 5):
                for metric, value in _shares(_hits(scores, labels, k), labels[TEST]).items():
                    assert found[variant, seed, k, metric] == pytest.approx(value)


def test_top_5_needs_six_leaves(labels):
    few = {"bCNN": {0: Scores("leaf", {"test": TEST}, {"test": np.eye(5)[labels[TEST] % 5]})}}
    assert set(comparison.score_table(few, labels % 5)["k"]) == {1}


def test_as_in_paper_by_hand():
    def rows(subset, variant, *values):
        return [{"dataset": "toy", "subset": subset, "variant": variant, "metric": metric, "k": k, "seed": seed,
                 "value": value / (2 if metric == "MACC" else 1), "n": 9}
                for seed, value in enumerate(values) for metric in ("MACC", "ACC") for k in (5, 1)]

    table = pd.DataFrame(rows("core", "z", 0.5) + rows("full", "z", 0.4, 0.5, 0.9) + rows("full", "a", 0.25))
    shown = comparison.as_in_paper(table)
    assert list(shown) == ["score", "z", "a"]
    assert shown["score"].tolist() == [f"{metric} top-{k}, {subset}" for metric in ("ACC", "MACC") for k in (1, 5)
                                       for subset in ("full", "core")]
    # 40, 50 and 90: mean 60, deviations −20, −10 and 30, so 1,400 by n − 1 = 2 is a variance of 700.
    assert shown["z"].tolist() == ["60.0 ± 26.5", "50.0"] * 2 + ["30.0 ± 13.2", "25.0"] * 2
    assert shown["a"].tolist() == ["25.0", ""] * 2 + ["12.5", ""] * 2


def test_as_in_paper_prints_the_papers_table():
    paper = comparison.paper_table("p1_table1")
    shown = comparison.as_in_paper(paper.assign(seed=0)).set_index("score")
    assert list(shown) == [variant for variant in comparison.VARIANTS if variant != comparison.OURS]
    assert shown.shape == (8, 8)
    assert shown.loc["ACC top-1, full", "bCNN"] == "78.8"
    assert shown.loc["MACC top-1, core", "ssMTL-CA"] == "68.3"
    assert shown.loc["MACC top-5, core", "ssMTL-CA"] == "93.8"
    for r in paper.itertuples():
        cell = shown.loc[f"{r.metric} top-{r.k}, {r.subset}", r.variant]
        assert float(cell) == pytest.approx(100 * r.value, abs=0.0501)


# --- gains --------------------------------------------------------------------------------------------------------


def test_gain_table_equals_loops_over_common_seeds(answers, labels):
    table = comparison.gain_table(answers, labels, n_resamples=200, subset="full")
    assert table[["subset", "variant", "against", "metric", "seeds"]].to_numpy().tolist() == [
        ["full", "ssCNN", "bCNN", "ACC", 2], ["full", "ssCNN", "bCNN", "MACC", 2],
        ["full", "ours", "bCNN", "ACC", 1], ["full", "ours", "bCNN", "MACC", 1]]
    for r in table.itertuples():
        seeds = {"ssCNN": (0, 1), "ours": (2,)}[r.variant]
        own, base = ([_shares(_hits(answers[name][s], labels), labels[TEST])[r.metric] for s in seeds]
                     for name in (r.variant, "bCNN"))
        gains = [ours - theirs for ours, theirs in zip(own, base, strict=True)]
        mean = sum(gains) / len(gains)
        assert r.value == pytest.approx(mean)
        assert r.relative == pytest.approx(mean / (sum(base) / len(base)))
        spread = (sum((gain - mean) ** 2 for gain in gains) / (len(gains) - 1)) ** 0.5 if len(gains) > 1 else 0
        assert r.spread == pytest.approx(spread)
        p_values = [accuracy.mcnemar(_hits(answers[r.variant][s], labels), _hits(answers["bCNN"][s], labels))
                    for s in seeds]
        assert r.p_values.split() == [f"{p:.2g}" for p in p_values]
        assert r.low < r.value < r.high


def test_the_same_network_twice_is_one_network(answers, labels):
    """A second seed with the same answers adds neither spread nor certainty."""
    once = {name: {0: answers[name][seed]} for name, seed in (("bCNN", 0), ("ours", 2))}
    twice = {name: {0: of_seed[0], 1: of_seed[0]} for name, of_seed in once.items()}
    columns = ["variant", "metric", "value", "relative", "spread", "verdict"]
    one, two = (comparison.gain_table(a, labels, n_resamples=4000) for a in (once, twice))
    pd.testing.assert_frame_equal(one[columns], two[columns])
    np.testing.assert_allclose(one[["low", "high", "visible"]], two[["low", "high", "visible"]], atol=0.02)
    assert two["seeds"].tolist() == [2, 2]


def test_gains_turn_their_sign_with_the_sides(answers, labels):
    pair = {name: {2: answers[name][2]} for name in ("bCNN", "ours")}
    forth = comparison.gain_table(pair, labels, n_resamples=200)
    back = comparison.gain_table(pair, labels, against="ours", n_resamples=200)
    np.testing.assert_allclose(forth[["value", "low", "high"]], -back[["value", "high", "low"]])
    assert forth["verdict"].tolist() == ["better", "better"]
    assert back["verdict"].tolist() == ["worse", "worse"]
    same = comparison.gain_table({"bCNN": pair["bCNN"], "twin": pair["bCNN"]}, labels, n_resamples=20)
    assert (same[["value", "relative", "low", "high", "spread"]] == 0).all(axis=None)
    assert same["p_values"].tolist() == ["1", "1"]
    assert same["verdict"].tolist() == ["inside the noise"] * 2


def test_one_seed_against_the_others_is_noise(labels):
    """Two seeds better everywhere, one worse on a single image: another training may well be no better."""
    right, wrong = np.eye(LEAVES)[labels[TEST]], -np.eye(LEAVES)[labels[TEST]]
    nearly = np.where(np.arange(len(TEST))[:, None] == 5, wrong, right)

    def network(values):
        return Scores("leaf", {"test": TEST}, {"test": values})

    answers = {"bCNN": {0: network(wrong), 1: network(wrong), 2: network(right)},
               "ours": {0: network(right), 1: network(right), 2: network(nearly)}}
    table = comparison.gain_table(answers, labels, n_resamples=100)
    assert (table["low"] < 0).all()
    assert (table["value"] > 0.5).all()
    assert set(table["verdict"]) == {"inside the noise"}


@pytest.mark.parametrize(("low", "high", "word"), [
    (0.01, 0.03, "better"), (0.0, 0.03, "noise"), (-0.01, 0.03, "noise"), (-0.03, -0.01, "worse"),
    (-0.03, 0.0, "noise"), (0.0, 0.0, "noise")])
def test_verdict(low, high, word):
    assert verdict(Interval((low + high) / 2, low, high)).split()[-1] == word


def test_readable_gains_by_hand():
    table = pd.DataFrame([
        {"subset": "core", "variant": "ours", "against": "bCNN", "metric": "ACC", "value": 0.0234, "relative": 0.0468,
         "low": 0.011, "high": 0.0361, "seeds": 3, "spread": 0.0042, "p_holm": 0.012, "visible": 0.0182,
         "verdict": "better"},
        {"subset": "core", "variant": "old", "against": "bCNN", "metric": "ACC", "value": -0.02, "relative": -0.04,
         "low": -0.03, "high": 0.01, "seeds": 1, "spread": 0.0, "p_holm": 1.0, "visible": 0.03,
         "verdict": "inside the noise"}])
    first, second = comparison.readable_gains(table).to_dict("records")
    assert first == {"subset": "core", "variant": "ours", "against": "bCNN", "metric": "ACC",
                     "gain [points]": "+2.3 [+1.1, +3.6]", "smallest visible": "1.8", "relative": "+4.7 %",
                     "sd over seeds": "0.4", "p, Holm": "0.012", "verdict": "better"}
    assert (second["gain [points]"], second["relative"], second["sd over seeds"]) == ("-2.0 [-3.0, +1.0]", "-4.0 %",
                                                                                      "–")


# --- inside the tree (distances: test_analysis_tree) ---------------------------------------------------------------


def test_macc_by_root_equals_loops(rng, answers, labels):
    hierarchy = random_tree(rng, 3, 5, LEAVES)
    table = comparison.macc_by_root(answers, labels, hierarchy)
    assert table["root"].tolist() == list(hierarchy.classes["layer0"]) * 3
    roots = [hierarchy.classes["layer0"][hierarchy.parent["layer1"][above]] for above in hierarchy.parent["layer2"]]
    for r in table.itertuples():
        inside = [leaf for leaf in range(LEAVES) if roots[leaf] == r.root]
        hits = [_hits(scores, labels) for scores in answers[r.variant].values()]
        of_leaf = [[sum(hit[i] for hit in hits) / len(hits) for i in range(len(TEST)) if labels[TEST[i]] == leaf]
                   for leaf in inside]
        assert r.value == pytest.approx(sum(sum(h) / len(h) for h in of_leaf) / len(of_leaf))
        assert r.n == sum(map(len, of_leaf))


def test_under_one_root_it_is_macc_and_empty_roots_are_left_out(answers, labels):
    one = comparison.macc_by_root({"ours": answers["ours"]}, labels, tree([0] * LEAVES))
    expected = _shares(_hits(answers["ours"][2], labels), labels[TEST])["MACC"]
    assert one[["variant", "n"]].to_numpy().tolist() == [["ours", len(TEST)]]
    assert one["value"].item() == pytest.approx(expected)
    # An eighth leaf under a root of its own, of which no image is tested.
    two = comparison.macc_by_root({"ours": answers["ours"]}, labels, tree([0] * LEAVES + [1]))
    assert two["root"].tolist() == ["layer0-000"]
    assert two["value"].item() == pytest.approx(expected)


# --- Table 2 ------------------------------------------------------------------------------------------------------


def test_attribute_table_equals_loops(rng, tmp_path, labels):
    states = {"colour": ("blue", "red", "teal"), "neck": ("round", "v")}
    products = pd.DataFrame({"image_id": [f"{i:03d}" for i in range(IMAGES)], "path": "x.png", "split": "test",
                             "leaf": [f"leaf-{c}" for c in labels]})
    drawn = {attribute: rng.integers(-1, len(names), IMAGES) for attribute, names in states.items()}
    for attribute, names in states.items():
        products[attribute] = [None if state < 0 else names[state] for state in drawn[attribute]]
    catalogue = Catalogue.build("toy", tmp_path, products, layers=["leaf"], attributes=list(states), licence="none")
    assert catalogue.attributes == states

    own = {a: rng.normal(size=(len(TEST), len(names))) for a, names in states.items()}
    networks = {"colour": {seed: _scores(rng, labels, colour=(1 - 2 * seed) * own["colour"]) for seed in (0, 1)},
                "neck": {0: _scores(rng, labels)},      # its network was not asked for its states
                "all": {0: _scores(rng, labels, **own)}}
    table = comparison.attribute_table(networks, catalogue, subset="core")
    assert list(table) == ["subset", "attribute", "metric", "k", "seed", "value", "n"]
    assert set(table["k"]) == {1}
    found = table.set_index(["attribute", "seed", "metric"])
    leaf = {(a, s, m) for a, of_seed in networks.items() for s in of_seed for m in ("ACC-branC", "MACC-branC")}
    assert set(found.index) == leaf | {("colour", 0, "ACC-branA"), ("colour", 1, "ACC-branA")}
    for attribute, seed, metric in leaf:
        expected = _shares(_hits(networks[attribute][seed], labels), labels[TEST])
        assert found.loc[(attribute, seed, metric), "value"] == pytest.approx(expected[metric.split("-")[0]])
        assert found.loc[(attribute, seed, metric), "n"] == len(TEST)
    for seed, scores in networks["colour"].items():
        right = [max(range(3), key=row.__getitem__) == drawn["colour"][i]
                 for i, row in zip(TEST, scores.attributes["colour"].tolist(), strict=True) if drawn["colour"][i] >= 0]
        assert 0 < len(right) < len(TEST)
        branch = found.loc[("colour", seed, "ACC-branA")]
        assert (branch["value"], branch["n"]) == pytest.approx((sum(right) / len(right), len(right)))


# --- what the paper printed ---------------------------------------------------------------------------------------


def test_attention_helps_in_15_of_the_papers_16_pairs():
    table = comparison.paper_table("p1_table1").query("k == 1").set_index(["variant", "metric", "subset"])["value"]
    pairs = {("bCNN", "ssCNN"), ("bCNN-MCR", "ssCNN-MCR"), ("bMTL-RL", "ssMTL-RL"), ("bMTL-CA", "ssMTL-CA")}
    worse = [(attended, metric, subset) for plain, attended in pairs for metric in ("ACC", "MACC")
             for subset in ("full", "core") if table[attended, metric, subset] <= table[plain, metric, subset]]
    assert worse == [("ssMTL-CA", "MACC", "core")]


def test_one_attribute_beats_all_of_them_in_the_papers_table_2():
    table = comparison.paper_table("p1_table2").set_index(["metric", "attribute"])["value"]
    assert table["MACC-branC", "pants_length"] > table["MACC-branC", "all"]
    assert table["ACC-branC"].idxmax() == "all"
    assert "all" not in table["ACC-branA"]


def test_gains_need_the_baseline_and_a_common_seed():
    scores = Scores("leaf", {"test": np.arange(2)}, {"test": np.eye(2)})
    with pytest.raises(ValueError, match="gains over bCNN"):
        comparison.gain_table({"ssCNN": {0: scores}}, np.arange(2))
    assert comparison.gain_table({"bCNN": {0: scores}, "ssCNN": {1: scores}}, np.arange(2)).empty
