"""The runs of notebook 09 as `TrainedNetwork`s. Not in `recorded`, which 09 itself imports: another name for a network
must not train it again."""

from statistics import mode

from shoplens.search.trained_networks import NOTEBOOK, TrainedNetwork, selection_name
from shoplens.study.notebook_run import Run


def trained_networks(run: Run) -> list[TrainedNetwork]:
    """The runs of notebook 09 that are among the inputs of `run`, in the order of study.yml's inputs. The interval they
    are not named for is the one most of them have."""
    records = {run_id: run.record(run_id) for run_id in run.made_by(NOTEBOOK)}
    usual = mode(record["parameters"]["INTERVAL"] for record in records.values()) if records else 0
    found = []
    for run_id, record in records.items():
        known = record["parameters"]
        selection = selection_name(known["POSITIVE_RANK"], known["AMBIGUOUS"], squared=not known["PLAIN"],
                                   interval=known["INTERVAL"], usual_interval=usual)
        found.append(TrainedNetwork(run_id, known["START_FROM"], known["FEATURE"], selection, record["seed"],
                                    known["REPEAT"], run.artefact_of(run_id, "model.pt")))
    return found
