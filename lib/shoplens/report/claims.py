"""The papers' statements, checked on their own tables and on our runs (claims.yml says what compares with what).

A case is one comparison; it agrees, disagrees, or does so clearly, beyond the noise. On our side the noise is a paired
bootstrap over test images, in search over products, crossed with seeds, which also says what gain it could have seen.
The papers print none: for a share p of n independent images or queries the deviation is √(p(1 − p)/n), and
for a mean of other numbers in [0, 1] at most that (queries of one product are not independent, so the truth may be
larger). Two scores apart by more than 1.96 times the deviation of their difference are clearly apart. For MACC no n is
known, so its noise is not either.
"""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import yaml

from shoplens import paths
from shoplens.classification.comparison import ScoresBySeed, paper_table
from shoplens.errors import StudyError
from shoplens.statistics.bootstrap import Interval
from shoplens.statistics.estimates import Estimate
from shoplens.statistics.over_images import score_over_images
from shoplens.statistics.over_products import mean_over_products
from shoplens.statistics.verdicts import BETTER, WORSE, verdict

SIMILAR = "similar"             # a claim that says so is judged by its tolerance, any other by the sign
ALONE = " alone"                # ending of the names of P1's networks of one attribute
ELSEWHERE = "DeepFashionM"      # what P2 Table 5 calls models trained on other images than it tests
FEATURE_LETTERS = {"global": "G", "local": "L"}     # P2's features as its Table 4 has them → as its other tables do

PAPERS_TABLE = "the paper's table"      # `where` of statements checked on the papers' own numbers
ON_RUNS = ("reproduced", "direction only", "inside the noise", "cannot be seen here", "not reproduced",
           "not testable here")
ON_PAPER = ("true", "true, inside the noise", "true, noise not known", "not true of its table", "no numbers")

# left, right, choice → the case: left − right (− share · right for "keeps") with the bounds of its noise, NaN where
# that is not known; None where there is no such number.
Score = Callable[[str, str, dict], Interval | None]


def load_claims() -> dict[str, dict]:
    """claims.yml: id → claim."""
    return yaml.safe_load((paths.root() / "claims.yml").read_text(encoding="utf-8"))


NAMES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {      # how claims call the rows of a paper's table
    "p2_table3": lambda table: table["variant"] + " " + table["setting"],
    "p2_table4": lambda table: table["feature"].map(FEATURE_LETTERS) + " " + table["selection"],
    "p2_table5": lambda table: table["variant"].where(~table["trained_on"].str.startswith(ELSEWHERE),
                                                      table["variant"] + ", learned elsewhere"),
    "p2_table6": lambda table: table["variant"] + " " + table["dimensions"].replace({32768: "whole"}).astype(str),
    "p2_text": lambda table: table["name"],
}


def paper_scores(table: str) -> pd.DataFrame:
    """The numbers of a paper's table under the names that claims use: columns name, value, n and those of the file."""
    if table != "p1":
        return paper_table(table).assign(name=NAMES[table])
    single = paper_table("p1_table2").query("metric != 'ACC-branA' and attribute != 'all'")
    single = single.assign(variant=single["attribute"] + ALONE, metric=single["metric"].str.removesuffix("-branC"))
    both = pd.concat([paper_table("p1_table1"), single.assign(n=94601)])
    return both.assign(name=both["variant"], n=both["n"].where(both["metric"] == "ACC"))


def from_paper(claim: dict) -> tuple[list[str], Score]:
    """Names and scores of the paper's own table."""
    scores = paper_scores(claim.get("paper_table", claim["table"]))
    share = claim.get("share", 1.0)

    def score(left, right, choice):
        fits = (scores[list(choice)] == pd.Series(choice, dtype=object)).all(axis=1)
        chosen = scores[fits].drop_duplicates("name").set_index("name")[["value", "n"]]
        if not {left, right} <= set(chosen.index):
            return None
        (a, n), (b, m) = chosen.loc[left], chosen.loc[right]
        half = 1.96 * math.sqrt(a * (1 - a) / n + share**2 * b * (1 - b) / m) if n > 0 and m > 0 else math.nan
        return Interval(a - share * b, a - share * b - half, a - share * b + half)

    return list(dict.fromkeys(scores["name"])), score


def from_classification(answers: dict[str, ScoresBySeed], labels: np.ndarray,
                        n_resamples: int) -> tuple[list[str], Score]:
    """Names and scores of our runs of P1. answers: "full", "core" → variant → seed → scores."""
    def score(left, right, choice):
        sides = [answers.get(choice["subset"], {}).get(name, {}) for name in (left, right)]
        seeds = sorted(set(sides[0]) & set(sides[1]))
        if not seeds or choice["k"] >= sides[0][seeds[0]].values["test"].shape[1]:
            return None
        truth = labels[sides[0][seeds[0]].rows["test"]]
        own, other = (np.array([of_seed[seed].hits(labels, choice["k"]) for seed in seeds]) for of_seed in sides)
        return score_over_images(own, truth, choice["metric"].lower(), other, n_resamples=n_resamples)

    return list(dict.fromkeys(name for own in answers.values() for name in own)), score


def from_search(answers: dict[str, np.ndarray], protocol: str, table: str, share: float,
                n_resamples: int) -> tuple[list[str], Score]:
    """Names and scores of our runs of P2 under one protocol. answers: "protocol|table|name" → AP, seeds × queries; of
    two with different numbers of seeds the first that both have are compared. "protocol|items": product of each query.
    """
    prefix = f"{protocol}|{table.removeprefix('p2_table')}|"
    own = {key.removeprefix(prefix): values for key, values in answers.items() if key.startswith(prefix)}

    def score(left, right, choice):
        if not {left, right} <= set(own):
            return None
        both = min(len(own[left]), len(own[right]))
        return mean_over_products(own[left][:both], answers[f"{protocol}|items"], share * own[right][:both],
                                  n_resamples=n_resamples)

    return list(own), score


def cases(claim: dict, names: list[str], score: Score, choices: dict[str, list]) -> list[Interval]:
    """All cases of a claim for which there are numbers."""
    found = []
    for values in product(*choices.values()):
        choice = dict(zip(choices, values, strict=True))
        for left, right in claim["pairs"]:
            rights = right if isinstance(right, list) else [right]
            for name in [n for n in names if n.endswith(ALONE)] if left == f"*{ALONE}" else [left]:
                against = [case for other in rights if (case := score(name, other, choice)) is not None]
                if against:
                    found.append(min(against, key=lambda case: case.value))      # the best of them on the right
    return found


def agrees(claim: dict, case: Interval) -> tuple[bool, bool, bool]:
    """Does a case agree, does it clearly, does it clearly not? Nothing is clear where the noise is not known."""
    if claim["says"] == SIMILAR:
        most = claim["within"]
        return abs(case.value) <= most, max(abs(case.low), abs(case.high)) <= most, case.low > most or case.high < -most
    return case.value > 0, verdict(case) == BETTER, verdict(case) == WORSE


def count(claim: dict, found: list[Interval], possible: int) -> dict[str, int]:
    """cases, needed (see claims.yml; possible: cases the paper's table has), agree, clear, opposed (clearly not)."""
    agree, clear, opposed = np.array([agrees(claim, case) for case in found], int).reshape(-1, 3).sum(axis=0).tolist()
    part = claim["needed"] / possible if "needed" in claim else 1.0
    return {"cases": len(found), "needed": math.ceil(round(part * len(found), 6)), "agree": agree, "clear": clear,
            "opposed": opposed}


def verdict_on_paper(counts: dict[str, int], found: list[Interval]) -> str:
    """Is the statement true of the paper's numbers, and beyond the noise of its test?"""
    if not counts["cases"]:
        return "no numbers"
    if counts["agree"] < counts["needed"]:
        return "not true of its table"
    if counts["clear"] >= counts["needed"]:
        return "true"
    return "true, noise not known" if any(math.isnan(case.low) for case in found) else "true, inside the noise"


def verdict_on_runs(claim: dict, counts: dict[str, int], found: list[Interval]) -> str:
    """reproduced: as many cases as needed agree clearly. not reproduced: too many clearly disagree, or too few agree
    although a gain as large as the paper's would have been seen in most. direction only: enough agree, but not clearly.
    cannot be seen here: the paper's gain is smaller than what most cases could see. inside the noise: too few agree,
    and the paper gives no gain to hold against it."""
    if not counts["cases"]:
        return "not testable here"
    if counts["clear"] >= counts["needed"]:
        return "reproduced"
    if counts["opposed"] > counts["cases"] - counts["needed"]:
        return "not reproduced"
    if counts["agree"] >= counts["needed"]:
        return "direction only"
    papers = [] if claim["says"] == SIMILAR else [case.value for case in _on_paper(claim)]
    visible = [case.visible for case in found if isinstance(case, Estimate)]
    if not papers or not visible or np.mean(papers) <= 0:
        return "inside the noise"
    return "not reproduced" if np.median(visible) <= np.mean(papers) else "cannot be seen here"


def paper_choices(claim: dict) -> dict[str, list]:
    """What a claim is repeated over on the paper's table."""
    return claim.get("over", {}) | claim.get("paper_only", {})


def check_paper(claims: dict[str, dict]) -> pd.DataFrame:
    """One row per claim: claim, paper, section, quote, where, its counts on the paper's own table, difference (mean of
    its cases), verdict."""
    return _checked(claims, PAPERS_TABLE, _on_paper, lambda _, counts, found: verdict_on_paper(counts, found))


def check_runs(claims: dict[str, dict], where: str,
               scores_of: Callable[[dict], tuple[list[str], Score]]) -> pd.DataFrame:
    """The same on our runs. where: how the data set (and protocol) is called. scores_of: claim → names and scores."""
    return _checked(claims, where, lambda claim: cases(claim, *scores_of(claim), claim.get("over", {})),
                    verdict_on_runs)


def _on_paper(claim: dict) -> list[Interval]:
    return cases(claim, *from_paper(claim), paper_choices(claim))


def _checked(claims: dict[str, dict], where: str, cases_of: Callable[[dict], list[Interval]],
             judge: Callable[[dict, dict, list], str]) -> pd.DataFrame:
    rows = []
    for name, claim in claims.items():
        found = cases_of(claim)
        counts = count(claim, found, len(_on_paper(claim)))
        rows.append({"claim": name} | {key: claim[key] for key in ("paper", "section", "quote")} | {"where": where}
                    | counts | {"difference": float(np.mean([case.value for case in found])) if found else math.nan,
                                "verdict": judge(claim, counts, found)})
    return pd.DataFrame(rows)


def count_verdicts(checked: pd.DataFrame, by: str, verdicts: tuple[str, ...]) -> pd.DataFrame:
    """How many checks ended in each of `verdicts` (columns), per value of the column `by` (rows, as they come);
    StudyError for a verdict that is none of them."""
    if unknown := sorted(set(checked["verdict"]) - set(verdicts)):
        raise StudyError(f"claims.csv holds verdicts that there is no column for: {', '.join(unknown)}")
    counts = pd.crosstab(checked[by], checked["verdict"])
    return counts.reindex(checked[by].unique(), columns=verdicts, fill_value=0)
