"""What structure bought: the variants of P1 side by side, over seeds (P1 §4.3)."""

from pathlib import Path

import numpy as np
import pandas as pd

from shoplens import paths
from shoplens.classification.evaluation import DEPTHS, Scores
from shoplens.data.catalogue import Catalogue, Hierarchy
from shoplens.statistics import accuracy
from shoplens.statistics.estimates import judged
from shoplens.statistics.over_images import score_over_images

OURS = "ours"
# P1's eight variants in the order of its Table 1, then ours: run on the full images; "_core" is added for the core.
VARIANTS = {"bCNN": "02_bcnn", "ssCNN": "03_sscnn", "bCNN-MCR": "04_bcnn_mcr", "ssCNN-MCR": "04_sscnn_mcr",
            "bMTL-RL": "05_bmtl_rl", "bMTL-CA": "06_bmtl_ca", "ssMTL-RL": "05_ssmtl_rl", "ssMTL-CA": "06_ssmtl_ca",
            OURS: "06b_long_tail"}

ScoresBySeed = dict[str, dict[int, Scores]]     # variant → seed → scores


def seed_of(run_id: str) -> int:
    """Seed of a run from its id: 02_bcnn → 0, 02_bcnn-s2 → 2."""
    name, _, seed = run_id.rpartition("-s")
    return int(seed) if name and seed.isdigit() else 0


def load_scores(run, names: dict[str, str]) -> ScoresBySeed:
    """Scores of those runs that are among the inputs of `run`. names: variant → run, whatever its seed.

    Raises ValueError where two variants were not scored on the same test images: they cannot be paired.
    """
    found = {variant: {seed_of(i): Scores.load(run.artefact_of(i, "scores.npz")) for i in run.inputs(name)}
             for variant, name in names.items()}
    found = {variant: scores for variant, scores in found.items() if scores}
    rows = [scores.rows["test"] for of_seed in found.values() for scores in of_seed.values()]
    if any(not np.array_equal(rows[0], other) for other in rows[1:]):
        raise ValueError(f"{list(found)} were not scored on the same test images; run them again from one catalogue")
    return found


def score_table(scores: ScoresBySeed, labels: np.ndarray, **columns) -> pd.DataFrame:
    """Tidy Table 1, one row per variant, seed, metric and k. Columns: the given ones, the same in every row, then
    variant, metric, k, seed, value, n.

    labels: leaf class of every row of the catalogue.
    """
    table = []
    for variant, of_seed in scores.items():
        for seed, own in of_seed.items():
            truth = labels[own.rows["test"]]
            for k in (k for k in DEPTHS if k < own.values["test"].shape[1]):
                hit = own.hits(labels, k)
                for metric, value in (("ACC", accuracy.acc(hit)), ("MACC", accuracy.macc(hit, truth))):
                    table.append(columns | {"variant": variant, "metric": metric, "k": k, "seed": seed,
                                            "value": value, "n": len(hit)})
    return pd.DataFrame(table)


def as_in_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Table 1 as P1 prints it, in percent: one row per metric, k and subset, one column per variant; mean ± standard
    deviation where there are several seeds."""
    def cell(values):
        spread = f" ± {100 * values.std():.1f}" if len(values) > 1 else ""
        return f"{100 * values.mean():.1f}{spread}"

    order = list(dict.fromkeys(table["variant"]))
    wide = table.groupby(["metric", "k", "subset", "variant"])["value"].agg(cell).unstack("variant")[order]
    wide = wide.reset_index()
    rank = wide["subset"].map({"full": 0, "core": 1})
    wide = wide.assign(rank=rank).sort_values(["metric", "k", "rank"])
    wide.insert(0, "score", wide["metric"] + " top-" + wide["k"].astype(str) + ", " + wide["subset"])
    wide.columns.name = None
    return wide.drop(columns=["metric", "k", "subset", "rank"]).fillna("").reset_index(drop=True)


def gain_table(scores: ScoresBySeed, labels: np.ndarray, against: str = "bCNN", n_resamples: int = 1000,
               **columns) -> pd.DataFrame:
    """Top-1 gains over `against`, one row per variant and metric: value (a difference of two scores in [0, 1]),
    relative (to the other's score), low, high (bootstrap over images crossed with seeds), seeds, spread (standard
    deviation of the gain over seeds, 0 for one), p_values (McNemar's, one per seed), p_value (of the bootstrap),
    visible (the smallest gain seen at 80 % power), n (images), and p_holm and verdict as `estimates.judged` gives them
    for these rows alone: judge a table that is put together of several once more. columns: further ones, the same in
    every row.

    Both variants are compared seed by seed, so only seeds that both have count, and a variant that shares none has no
    row. Raises ValueError where `against` has not been run.
    """
    if against not in scores:
        raise ValueError(f"gains over {against} need its scores; there are those of {list(scores)}")
    table = []
    for variant, of_seed in scores.items():
        seeds = sorted(set(of_seed) & set(scores[against]))
        if variant == against or not seeds:
            continue
        own, other = (np.array([scores[name][s].hits(labels) for s in seeds]) for name in (variant, against))
        truth = labels[of_seed[seeds[0]].rows["test"]]
        p_values = [accuracy.mcnemar(mine, theirs) for mine, theirs in zip(own, other, strict=True)]
        for metric, average in (("ACC", lambda hit, _: accuracy.acc(hit)), ("MACC", accuracy.macc)):
            by_seed = [average(mine, truth) - average(theirs, truth) for mine, theirs in zip(own, other, strict=True)]
            base = np.mean([average(theirs, truth) for theirs in other])
            gain = score_over_images(own, truth, metric.lower(), other, n_resamples=n_resamples)
            table.append(columns | {
                "variant": variant, "against": against, "metric": metric, "value": gain.value,
                "relative": gain.value / base if base else np.nan, "low": gain.low, "high": gain.high,
                "seeds": len(seeds), "spread": float(np.std(by_seed, ddof=1)) if len(seeds) > 1 else 0.0,
                "p_values": " ".join(f"{p:.2g}" for p in p_values), "p_value": gain.p_value, "visible": gain.visible,
                "n": gain.units})
    return judged(table)


def readable_gains(table: pd.DataFrame) -> pd.DataFrame:
    """`gain_table` for the eye: points with their interval, the smallest visible gain, the relative gain in percent."""
    return pd.DataFrame([{
        "subset": r.subset, "variant": r.variant, "against": r.against, "metric": r.metric,
        "gain [points]": f"{100 * r.value:+.1f} [{100 * r.low:+.1f}, {100 * r.high:+.1f}]",
        "smallest visible": f"{100 * r.visible:.1f}", "relative": f"{100 * r.relative:+.1f} %",
        "sd over seeds": f"{100 * r.spread:.1f}" if r.seeds > 1 else "–", "p, Holm": f"{r.p_holm:.2g}",
        "verdict": r.verdict} for r in table.itertuples()])


def macc_by_root(scores: ScoresBySeed, labels: np.ndarray, hierarchy: Hierarchy,
                 n_resamples: int = 1000) -> pd.DataFrame:
    """P1 Fig. 5: for each root the mean over its leaves of their accuracy, top-1, averaged over seeds.

    Columns: root, variant, value, low, high (over images crossed with seeds), n (test images).
    """
    root, above = hierarchy.layers[0], hierarchy.ancestor(hierarchy.layers[0])
    table = []
    for variant, of_seed in scores.items():
        truth = labels[next(iter(of_seed.values())).rows["test"]]
        hits = np.array([own.hits(labels) for own in of_seed.values()])
        for r, name in enumerate(hierarchy.classes[root]):
            inside = above[truth] == r
            if inside.any():
                macc = score_over_images(hits[:, inside], truth[inside], "macc", n_resamples=n_resamples)
                table.append({"root": name, "variant": variant, "value": macc.value, "low": macc.low,
                              "high": macc.high, "n": macc.units})
    return pd.DataFrame(table)


def tree_distance(hierarchy: Hierarchy, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Layers one must climb from two leaves until they meet: 0 the same leaf, 1 the same parent, …, h nothing in
    common. truth, predicted: N leaf indices."""
    meet = [hierarchy.ancestor(layer)[truth] == hierarchy.ancestor(layer)[predicted] for layer in hierarchy.layers]
    return len(hierarchy.layers) - np.sum(meet, axis=0)


def mistakes(scores: ScoresBySeed, labels: np.ndarray, hierarchy: Hierarchy, **columns) -> pd.DataFrame:
    """How bad the errors are, one row per variant and seed: errors (their number), inside_root (share of them inside
    the right root), distance (mean tree distance of an error, at least 1); the last two NaN where nothing was wrong.
    columns: further ones, the same in every row."""
    table = []
    for variant, of_seed in scores.items():
        for seed, own in of_seed.items():
            truth, predicted = labels[own.rows["test"]], own.values["test"].argmax(axis=1)
            wrong = predicted != truth
            far = tree_distance(hierarchy, truth[wrong], predicted[wrong])
            table.append(columns | {"variant": variant, "seed": seed, "errors": len(far),
                                    "inside_root": float((far < len(hierarchy.layers)).mean()) if len(far) else np.nan,
                                    "distance": float(far.mean()) if len(far) else np.nan})
    return pd.DataFrame(table)


def attribute_table(networks: ScoresBySeed, catalogue: Catalogue, **columns) -> pd.DataFrame:
    """P1 Table 2, one row per network, seed and metric: ACC-branA (accuracy of the attribute branch on labelled test
    images; only for networks of one attribute), ACC-branC and MACC-branC (the leaf).

    networks: attribute, or "all", in the place of a variant. columns: further ones, the same in every row.
    """
    labels = catalogue.labels(catalogue.hierarchy.leaf)
    table = []
    for attribute, of_seed in networks.items():
        for seed, scores in of_seed.items():
            hit, truth = scores.hits(labels), labels[scores.rows["test"]]
            rows = {"ACC-branC": (accuracy.acc(hit), len(hit)), "MACC-branC": (accuracy.macc(hit, truth), len(hit))}
            if attribute in scores.attributes:
                states = catalogue.states(attribute)[scores.rows["test"]]
                known = states > 0
                right = accuracy.top_k_correct(scores.attributes[attribute][known], states[known] - 1)
                rows = {"ACC-branA": (accuracy.acc(right), int(known.sum()))} | rows
            table += [columns | {"attribute": attribute, "metric": metric, "k": 1, "seed": seed, "value": value, "n": n}
                      for metric, (value, n) in rows.items()]
    return pd.DataFrame(table)


def paper_table(name: str) -> pd.DataFrame:
    """The paper's own numbers: results/paper/<name>.csv."""
    return pd.read_csv(Path(paths.root()) / "results" / "paper" / f"{name}.csv")
