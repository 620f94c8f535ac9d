"""The papers' statements, checked on their own tables and on our runs (claims.yml says what compares with what).

A case is one comparison; it agrees, disagrees, or does so clearly, beyond the noise. On our side the noise is a paired
bootstrap, over test images or searched products, of the mean over seeds, widened to what each seed found. The papers
print none: for a share p of n independent images or queries the deviation is √(p(1 − p)/n), and for a mean of other
numbers in [0, 1] at most that (queries of one product are not independent, so the truth may be larger). Two scores
apart by more than 1.96 times the deviation of their difference are clearly apart. For MACC no n is known, so its noise
is not either.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import yaml

from shoplens import paths
from shoplens.classification.comparison import ScoresBySeed, mean_hits, paper_table
from shoplens.statistics import accuracy
from shoplens.statistics.bootstrap import bootstrap_accuracy, gain_over_seeds, widened

SIMILAR = "similar"             # a claim that says so is judged by its tolerance, any other by the sign
ALONE = " alone"                # ending of the names of P1's networks of one attribute
ELSEWHERE = "DeepFashionM"      # what P2 Table 5 calls models trained on other images than it tests
FEATURES = {"global": "G", "local": "L"}


@dataclass(frozen=True)
class Case:
    """left − right (− share · right for "keeps") with bounds of its noise, NaN where that is not known."""

    value: float
    low: float
    high: float


Score = Callable[[str, str, dict], Case | None]      # left, right, choice → case; None where there is no such number


def load_claims() -> dict[str, dict]:
    """claims.yml: id → claim."""
    return yaml.safe_load((paths.root() / "claims.yml").read_text(encoding="utf-8"))


def paper_scores(table: str) -> pd.DataFrame:
    """The numbers of a paper's table under the names that claims use: columns name, value, n and those of the file."""
    if table == "p1":
        single = paper_table("p1_table2").query("metric != 'ACC-branA' and attribute != 'all'")
        single = single.assign(variant=single["attribute"] + ALONE, metric=single["metric"].str.removesuffix("-branC"))
        told = pd.concat([paper_table("p1_table1"), single.assign(n=94601)])
        return told.assign(name=told["variant"], n=told["n"].where(told["metric"] == "ACC"))
    told = paper_table(table)
    if table == "p2_text":
        return told
    if table == "p2_table3":
        return told.assign(name=told["variant"] + " " + told["setting"])
    if table == "p2_table4":
        return told.assign(name=told["feature"].map(FEATURES) + " " + told["selection"])
    if table == "p2_table5":
        elsewhere = told["trained_on"].str.startswith(ELSEWHERE).map({True: ", learned elsewhere", False: ""})
        return told.assign(name=told["variant"] + elsewhere)
    size = told["dimensions"].astype(str).where(told["dimensions"] < 32768, "whole")
    return told.assign(name=told["variant"] + " " + size)


def from_paper(claim: dict) -> tuple[list[str], Score]:
    """Names and scores of the paper's own table."""
    told = paper_scores(claim.get("paper_table", claim["table"]))

    def score(left, right, choice):
        own = told[np.all([told[column] == value for column, value in choice.items()], axis=0)] if choice else told
        pair = [own[own["name"] == name] for name in (left, right)]
        if any(rows.empty for rows in pair):
            return None
        (a, n), (b, m) = ((rows["value"].iloc[0], rows["n"].iloc[0]) for rows in pair)
        share = claim.get("share", 1.0)
        half = 1.96 * math.sqrt(a * (1 - a) / n + share**2 * b * (1 - b) / m) if n > 0 and m > 0 else math.nan
        return Case(a - share * b, a - share * b - half, a - share * b + half)

    return list(dict.fromkeys(told["name"])), score


def from_classification(answers: dict[str, ScoresBySeed], labels: np.ndarray,
                        n_resamples: int) -> tuple[list[str], Score]:
    """Names and scores of our runs of P1. answers: "full", "core" → variant → seed → scores."""
    def score(left, right, choice):
        own = answers.get(choice["subset"], {})
        seeds = sorted(set(own.get(left, {})) & set(own.get(right, {})))
        if not seeds or choice["k"] >= own[left][seeds[0]].values["test"].shape[1]:
            return None
        hits = [mean_hits({s: own[name][s] for s in seeds}, labels, choice["k"]) for name in (left, right)]
        truth = labels[own[left][seeds[0]].rows["test"]]
        gain = bootstrap_accuracy(hits[0], truth, choice["metric"].lower(), against=hits[1], n_resamples=n_resamples)
        measure = {"acc": lambda right, _: accuracy.acc(right), "macc": accuracy.macc}[choice["metric"].lower()]
        by_seed = [np.subtract(*(measure(own[name][s].hits(labels, choice["k"]), truth) for name in (left, right)))
                   for s in seeds]
        gain = widened(gain, by_seed)
        return Case(gain.value, gain.low, gain.high)

    return list(dict.fromkeys(name for own in answers.values() for name in own)), score


def from_search(answers: dict[str, np.ndarray], protocol: str, table: str, share: float,
                n_resamples: int) -> tuple[list[str], Score]:
    """Names and scores of our runs of P2 under one protocol. answers: "protocol|table|name" → AP, seeds × queries; of
    two with different numbers of seeds the first that both have are compared. "protocol|items": product of each query.
    """
    of = f"{protocol}|{table.removeprefix('p2_table')}|"
    own = {key.removeprefix(of): values for key, values in answers.items() if key.startswith(of)}

    def score(left, right, choice):
        if left not in own or right not in own:
            return None
        both = min(len(own[left]), len(own[right]))
        gain = gain_over_seeds(own[left][:both], share * own[right][:both], answers[f"{protocol}|items"], n_resamples)
        return Case(gain.value, gain.low, gain.high)

    return list(own), score


def cases(claim: dict, names: list[str], score: Score, choices: dict[str, list]) -> list[Case]:
    """All cases of a claim for which there are numbers."""
    found = []
    for choice in (dict(zip(choices, values, strict=True)) for values in product(*choices.values())):
        for left, right in claim["pairs"]:
            lefts = [n for n in names if n.endswith(ALONE)] if left == f"*{ALONE}" else [left]
            for name in lefts:
                against = [score(name, r, choice) for r in (right if isinstance(right, list) else [right])]
                against = [case for case in against if case is not None]
                if against:
                    found.append(min(against, key=lambda case: case.value))      # the best of them on the right
    return found


def agrees(claim: dict, case: Case) -> tuple[bool, bool, bool]:
    """Does a case agree, does it clearly, does it clearly not? Nothing is clear where the noise is not known."""
    if claim["says"] == SIMILAR:
        most = claim["within"]
        return abs(case.value) <= most, max(abs(case.low), abs(case.high)) <= most, case.low > most or case.high < -most
    return case.value > 0, case.low > 0, case.high < 0


def count(claim: dict, found: list[Case], possible: int) -> dict[str, int]:
    """cases, needed (see claims.yml; possible: cases the paper's table has), agree, clear, opposed (clearly not)."""
    told = np.array([agrees(claim, case) for case in found]).reshape(-1, 3).sum(axis=0)
    of = claim["needed"] / possible if "needed" in claim else 1.0
    return {"cases": len(found), "needed": math.ceil(round(of * len(found), 6)), "agree": int(told[0]),
            "clear": int(told[1]), "opposed": int(told[2])}


def verdict_on_paper(counts: dict[str, int], found: list[Case]) -> str:
    """Is the statement true of the paper's numbers, and beyond the noise of its test?"""
    if not counts["cases"]:
        return "no numbers"
    if counts["agree"] < counts["needed"]:
        return "not true of its table"
    if counts["clear"] >= counts["needed"]:
        return "true"
    return "true, noise not known" if any(math.isnan(case.low) for case in found) else "true, inside the noise"


def verdict_on_runs(counts: dict[str, int]) -> str:
    """reproduced: as many cases as needed agree clearly. not reproduced: too many clearly disagree. direction only:
    enough agree, but not clearly. Else inside the noise."""
    if not counts["cases"]:
        return "not testable here"
    if counts["clear"] >= counts["needed"]:
        return "reproduced"
    if counts["opposed"] > counts["cases"] - counts["needed"]:
        return "not reproduced"
    return "direction only" if counts["agree"] >= counts["needed"] else "inside the noise"


def paper_choices(claim: dict) -> dict[str, list]:
    """What a claim is repeated over on the paper's table."""
    return claim.get("over", {}) | claim.get("paper_only", {})


def check_paper(claims: dict[str, dict]) -> pd.DataFrame:
    """A row a claim: claim, paper, section, quote, its counts on the paper's own table, value (mean difference),
    verdict."""
    rows = []
    for name, claim in claims.items():
        found = cases(claim, *from_paper(claim), paper_choices(claim))
        counts = count(claim, found, len(found))
        rows.append(_row(name, claim, "the paper's table", found, counts, verdict_on_paper(counts, found)))
    return pd.DataFrame(rows)


def check_runs(claims: dict[str, dict], where: str,
               scores_of: Callable[[dict], tuple[list[str], Score]]) -> pd.DataFrame:
    """The same on our runs. where: how the data set (and protocol) is called. scores_of: claim → names and scores."""
    rows = []
    for name, claim in claims.items():
        possible = len(cases(claim, *from_paper(claim), paper_choices(claim)))
        found = cases(claim, *scores_of(claim), claim.get("over", {}))
        counts = count(claim, found, possible)
        rows.append(_row(name, claim, where, found, counts, verdict_on_runs(counts)))
    return pd.DataFrame(rows)


def _row(name, claim, where, found, counts, verdict) -> dict:
    return {"claim": name, "paper": claim["paper"], "section": claim["section"], "quote": claim["quote"],
            "where": where, **counts, "difference": float(np.mean([c.value for c in found])) if found else math.nan,
            "verdict": verdict}
