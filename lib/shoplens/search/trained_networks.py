"""The runs of notebook 09 by feature and by what they learned from (P2 §5.4)."""

from dataclasses import dataclass
from statistics import mode

import yaml

from shoplens import paths
from shoplens.search.networks import GEM, GLOBAL

NOTEBOOK = "09_rank_based_learning"


SELECTIONS = ("closest", "20th", "20th+Pos10")      # P2 Table 4


FEATURES = {GLOBAL: "G", GEM: "gem"}                # every other feature is local, L


@dataclass(frozen=True)
class TrainedNetwork:
    """A run of notebook 09. feature: "G", "L" (with weights by ReLU), "L-norm" …, "gem". selection: one of
    SELECTIONS, or what else it was. start: run of notebook 08 it began from."""

    run: str
    start: str
    feature: str
    selection: str
    seed: int
    repeat: int


def selection_name(parameters: dict, interval: int) -> str:
    """"closest", "20th", "20th+Pos10", or such a name for other ranks and counts; ", plain" where the distance is not
    squared, ", mined every 1000" where INTERVAL is not the `interval` of the other networks."""
    rank_, ambiguous = parameters["POSITIVE_RANK"], parameters["AMBIGUOUS"]
    name = "closest" if rank_ == 1 else f"{rank_}th"
    name = f"{name}+Pos{ambiguous}" if ambiguous else name
    name = f"{name}, plain" if parameters["PLAIN"] else name
    return name if parameters["INTERVAL"] == interval else f"{name}, mined every {parameters['INTERVAL']}"


def counterpart(selection: str, others: list[str]) -> str:
    """The one of `others` that another reading is compared with: its own name before the comma, else the last that has
    as many ambiguous positives, else the last."""
    name = selection.split(", ")[0]
    alike = [other for other in others if other.partition("+")[2] == name.partition("+")[2]]
    return name if name in others else (alike or others)[-1]


def learned_networks(run) -> list[TrainedNetwork]:
    """The runs of notebook 09 that are among the inputs of `run`, by what they learned from, in study.yml's order. The
    interval they are not named for is the one most of them have."""
    study = yaml.safe_load((paths.root() / "study.yml").read_text(encoding="utf-8"))["runs"]
    names = [name for name, told in study.items() if told["notebook"] == NOTEBOOK]
    records = {run_id: run.record(run_id) for name in names for run_id in run.inputs(name)}
    interval = mode(record["parameters"]["INTERVAL"] for record in records.values()) if records else 0
    found = []
    for run_id, record in records.items():
        told = record["parameters"]
        feature = FEATURES.get(told["FEATURE"], "L" if told["FEATURE"] == "relu" else f"L-{told['FEATURE']}")
        found.append(TrainedNetwork(run_id, told["START_FROM"], feature, selection_name(told, interval), record["seed"],
                             told["REPEAT"]))
    return found
