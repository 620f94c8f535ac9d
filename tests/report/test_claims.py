"""The papers' statements: well formed, true or not of the papers' tables by hand, and judged by the stated rules."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest

from shoplens import paths
from shoplens.classification.evaluation import Scores
from shoplens.report import claims
from shoplens.statistics.bootstrap import Interval
from shoplens.statistics.estimates import Estimate
from shoplens.statistics.over_images import score_over_images
from shoplens.statistics.over_products import mean_over_products

CLAIMS = claims.load_claims()
KEYS = {"paper", "section", "quote", "says", "table", "pairs"}
OPTIONAL = {"over", "paper_only", "needed", "within", "share", "paper_table"}


def _csv(name: str) -> pd.DataFrame:
    return pd.read_csv(paths.root() / "results" / "paper" / f"{name}.csv")


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_says_all_it_needs(name):
    claim = CLAIMS[name]
    assert set(claim) >= KEYS
    assert set(claim) <= KEYS | OPTIONAL
    assert claim["says"] in ("better", "similar", "keeps")
    assert ("within" in claim) == (claim["says"] == "similar")
    assert ("share" in claim) == (claim["says"] == "keeps")
    assert claim["table"] in ("p1", "p2_table3", "p2_table4", "p2_table5", "p2_table6")


@pytest.mark.parametrize("name", [n for n in CLAIMS if n != "two-layers-beat-parallel-attributes"])
def test_what_a_claim_names_stands_in_the_papers_table(name):
    claim = CLAIMS[name]
    names, score = claims.from_paper(claim)
    assert len(claims.cases(claim, names, score, claims.paper_choices(claim))) > 0
    scores = claims.paper_scores(claim.get("paper_table", claim["table"]))
    for column, values in claims.paper_choices(claim).items():
        assert set(values) <= set(scores[column]), column


# --- the papers' own tables, recomputed from the files ------------------------------------------------------------


@pytest.fixture(scope="module")
def on_paper() -> pd.DataFrame:
    return claims.check_paper(CLAIMS).set_index("claim")


def test_attention_helps_in_15_of_16(on_paper):
    table = _csv("p1_table1").set_index(["variant", "metric", "subset", "k"])["value"]
    pairs = [("ssCNN", "bCNN"), ("ssCNN-MCR", "bCNN-MCR"), ("ssMTL-RL", "bMTL-RL"), ("ssMTL-CA", "bMTL-CA")]
    lost = [(left, metric, subset) for left, right in pairs for metric, subset in product(("ACC", "MACC"),
            ("full", "core")) if not table[left, metric, subset, 1] > table[right, metric, subset, 1]]
    assert lost == [("ssMTL-CA", "MACC", "core")]
    assert tuple(on_paper.loc["attention-helps", ["cases", "needed", "agree"]]) == (16, 15, 15)


def test_everything_together_is_best_in_one_of_four(on_paper):
    table = _csv("p1_table1").query("k == 1")
    best = [own.loc[own["value"].idxmax(), "variant"] for _, own in table.groupby(["metric", "subset"])]
    assert best.count("ssMTL-CA") == 1
    assert tuple(on_paper.loc["everything-together-is-best", ["cases", "agree"]]) == (4, 1)
    assert on_paper.loc["everything-together-is-best", "verdict"] == "not true of its table"


def test_mcr_costs_top5_everywhere(on_paper):
    table = _csv("p1_table1").query("k == 5").set_index(["variant", "metric", "subset"])["value"]
    costs = [table[v, m, s] - table[f"{v}-MCR", m, s] for v in ("bCNN", "ssCNN") for m in ("ACC", "MACC")
             for s in ("full", "core")]
    assert min(costs) > 0
    assert tuple(on_paper.loc["mcr-costs-top5", ["cases", "agree"]]) == (8, 8)


def test_one_attribute_is_as_good_as_all(on_paper):
    table = _csv("p1_table2").query("metric != 'ACC-branA'").pivot(index="attribute", columns="metric", values="value")
    apart = (table.drop("all") - table.loc["all"]).abs().to_numpy()
    assert tuple(on_paper.loc["one-attribute-does-it", ["cases", "agree"]]) == (apart.size, (apart <= 0.01).sum())


def test_20th_beats_closest(on_paper):
    table = _csv("p2_table4").query("split == 'val'").pivot(index="feature", columns="selection", values="value")
    gain = table["20th"] - table["closest"]
    noise = 1.96 * np.sqrt((table[["20th", "closest"]] * (1 - table[["20th", "closest"]])).sum(axis=1) / 472)
    row = on_paper.loc["twentieth-beats-closest"]
    assert (row["agree"], row["clear"]) == ((gain > 0).sum(), (gain > noise).sum())
    assert on_paper.loc["twentieth-beats-closest", "difference"] == pytest.approx(gain.mean())


def test_whitening_keeps_what_is_claimed(on_paper):
    table = _csv("p2_table6").query("metric == 'MAP@20'").pivot(index="variant", columns="dimensions", values="value")
    kept = table[256] / table[32768]
    assert on_paper.loc["whitening-to-256-keeps-most", "agree"] == (kept > 0.85).sum() == 2


def test_two_features_against_twins(on_paper):
    table = _csv("p2_table5").query("dataset == 'AlibabaM' and metric == 'MAP@20'").set_index("variant")["value"]
    assert on_paper.loc["different-features-beat-twins", "difference"] == pytest.approx(table["L+G"] - table["G+G"])
    assert on_paper.loc["different-features-beat-twins", "verdict"] == "true, inside the noise"


def test_a_statement_without_numbers_is_not_judged(on_paper):
    assert on_paper.loc["two-layers-beat-parallel-attributes", "verdict"] == "no numbers"
    assert len(on_paper) == len(CLAIMS)


# --- the rules ----------------------------------------------------------------------------------------------------

BETTER = {"says": "better"}


@pytest.mark.parametrize(("claim", "case", "expected"), [
    (BETTER, Interval(0.1, 0.05, 0.2), (True, True, False)),
    (BETTER, Interval(0.1, -0.05, 0.2), (True, False, False)),
    (BETTER, Interval(-0.1, -0.2, 0.1), (False, False, False)),
    (BETTER, Interval(-0.1, -0.2, -0.05), (False, False, True)),
    (BETTER, Interval(0.1, math.nan, math.nan), (True, False, False)),
    ({"says": "similar", "within": 0.01}, Interval(-0.005, -0.009, 0.008), (True, True, False)),
    ({"says": "similar", "within": 0.01}, Interval(-0.005, -0.02, 0.008), (True, False, False)),
    ({"says": "similar", "within": 0.01}, Interval(0.03, 0.02, 0.04), (False, False, True)),
    ({"says": "similar", "within": 0.01}, Interval(0.03, 0.005, 0.04), (False, False, False)),
    ({"says": "similar", "within": 0.01}, Interval(0.005, math.nan, math.nan), (True, False, False)),
])
def test_a_case_agrees_clearly_or_not(claim, case, expected):
    assert claims.agrees(claim, case) == expected


def _counts(cases, needed, agree, clear, opposed):
    return {"cases": cases, "needed": needed, "agree": agree, "clear": clear, "opposed": opposed}


def seen(*visible) -> list[Estimate]:
    """Cases that could see gains of these sizes."""
    return [Estimate(0.0, -0.1, 0.1, each / 2.8015852, 100, 3) for each in visible]


GAINS = CLAIMS["learning-helps"]      # the paper's mean gain is larger than 0.1
SAME = {"says": "similar"}


@pytest.mark.parametrize(("claim", "counts", "found", "expected"), [
    (GAINS, _counts(0, 0, 0, 0, 0), [], "not testable here"),
    (GAINS, _counts(16, 15, 16, 15, 0), [], "reproduced"),
    (GAINS, _counts(16, 15, 15, 3, 1), [], "direction only"),
    (GAINS, _counts(16, 15, 14, 3, 1), seen(0.01, 0.02, 0.9), "not reproduced"),
    (GAINS, _counts(16, 15, 14, 3, 1), seen(0.01, 0.8, 0.9), "cannot be seen here"),
    (GAINS, _counts(16, 15, 14, 3, 1), [], "inside the noise"),
    (GAINS, _counts(16, 15, 14, 3, 2), seen(0.9), "not reproduced"),
    (SAME, _counts(1, 1, 0, 0, 0), seen(0.9), "inside the noise"),
])
def test_verdicts_on_runs(claim, counts, found, expected):
    assert claims.verdict_on_runs(claim, counts, found) == expected


def test_fewer_cases_need_as_large_a_part():
    found = [Interval(0.1, 0.05, 0.2)] * 4
    assert claims.count(BETTER | {"needed": 15}, found, 16)["needed"] == 4      # 15/16 of 4, rounded up
    assert claims.count(BETTER | {"needed": 17}, found * 2, 32)["needed"] == 5
    assert claims.count(BETTER, found, 99)["needed"] == 4
    assert claims.count(BETTER, [], 0) == _counts(0, 0, 0, 0, 0)


def test_the_best_of_a_list_and_every_single_attribute():
    value = {"a": 0.5, "b": 0.7, "c": 0.6, "colour alone": 0.4, "shape alone": 0.9}

    def score(left, right, choice):
        known = {left, right} <= set(value)
        return Interval(value[left] - value[right], 0, 0) if known else None

    against_list = {"pairs": [["a", ["b", "c", "absent"]]]}
    assert [c.value for c in claims.cases(against_list, list(value), score, {})] == [pytest.approx(-0.2)]
    each = claims.cases({"pairs": [["* alone", "a"]]}, list(value), score, {"k": [1, 5]})
    assert [c.value for c in each] == pytest.approx([-0.1, 0.4] * 2)
    assert claims.cases({"pairs": [["a", "absent"]]}, list(value), score, {}) == []


# --- our runs -----------------------------------------------------------------------------------------------------


def some_scores(labels: np.ndarray, seed: int) -> Scores:
    """Random scores of three classes; all rows are test images."""
    values = np.random.default_rng(seed).normal(size=(len(labels), 3)).astype(np.float32)
    return Scores("leaf", {"test": np.arange(len(labels))}, {"test": values})


def test_classification_compares_shared_seeds_on_the_same_images():
    labels = np.repeat([0, 1, 2], 20)
    answers = {"full": {"bCNN": {s: some_scores(labels, seed=s) for s in (0, 1)},
                        "ssCNN": {s: some_scores(labels, seed=10 + s) for s in (0, 1, 2)}}}
    names, score = claims.from_classification(answers, labels, n_resamples=200)
    assert names == ["bCNN", "ssCNN"]
    case = score("ssCNN", "bCNN", {"subset": "full", "metric": "ACC", "k": 1})
    own = [[np.mean(answers["full"][v][s].values["test"].argmax(1) == labels) for s in (0, 1)]
           for v in ("ssCNN", "bCNN")]
    assert case.value == pytest.approx(np.mean(own[0]) - np.mean(own[1]))
    hits = [np.array([answers["full"][v][s].values["test"].argmax(1) == labels for s in (0, 1)])
            for v in ("ssCNN", "bCNN")]
    assert case == score_over_images(hits[0], labels, "acc", hits[1], n_resamples=200)
    assert case.seeds == 2
    assert score("ssMTL-CA", "bCNN", {"subset": "full", "metric": "ACC", "k": 1}) is None
    assert score("ssCNN", "bCNN", {"subset": "core", "metric": "ACC", "k": 1}) is None


def test_search_takes_its_own_protocol_and_table():
    rng = np.random.default_rng(0)
    left, right = rng.random((3, 50)), rng.random((2, 50))
    answers = {"known|4|G 20th": left, "known|4|G closest": right, "unseen|4|G 20th": rng.random((1, 50)),
               "known|6|G whole": right, "known|6|G 256": left, "known|items": np.arange(50) // 5}
    names, score = claims.from_search(answers, "known", "p2_table4", 1.0, n_resamples=100)
    assert names == ["G 20th", "G closest"]
    products = np.arange(50) // 5
    case = score("G 20th", "G closest", {})     # over the seeds that both have
    assert case == mean_over_products(left[:2], products, right, n_resamples=100)
    assert case.value == pytest.approx(np.mean(left[:2]) - np.mean(right))
    by_seed = [np.mean(left[s] - right[s]) for s in (0, 1)]
    assert case.low < min(by_seed) < max(by_seed) < case.high
    assert score("L 20th", "G closest", {}) is None
    _, keeps = claims.from_search(answers, "known", "p2_table6", 0.85, n_resamples=100)
    assert keeps("G 256", "G whole", {}).value == pytest.approx(
        np.mean(left[:2]) - 0.85 * np.mean(right))


def test_runs_without_any_number_are_not_testable():
    table = claims.check_runs(CLAIMS, "nowhere", lambda claim: ([], lambda *_: None))
    assert set(table["verdict"]) == {"not testable here"}
    assert list(table["claim"]) == list(CLAIMS)
