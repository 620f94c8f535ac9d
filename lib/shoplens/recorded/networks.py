"""The recorded parameters of notebooks 05, 06 and 09, whose names are in capitals, as recipes and descriptions of their
networks. Not in `trunks`, which 09 imports: another name for a network must not train it again."""

from statistics import mode

from shoplens.classification.class_predictions import MultitaskRecipe
from shoplens.data.catalogue import Catalogue
from shoplens.search.trained_networks import NOTEBOOK, TrainedNetwork, selection_name
from shoplens.study.notebook_run import Run


def multitask_recipe(run: Run, run_id: str, catalogue: Catalogue) -> MultitaskRecipe:
    """The network of a run of notebook 05 (every layer of the hierarchy) or 06 (leaf and attributes).

    Raises FileNotFoundError where that run has left no record.
    """
    known = run.record(run_id)["parameters"]
    layers, attributes = catalogue.hierarchy.layers, ()
    if "ATTRIBUTES" in known:
        layers, attributes = (catalogue.hierarchy.leaf,), tuple(known["ATTRIBUTES"] or catalogue.attributes)
    return MultitaskRecipe(known["BACKBONE"], known["PRETRAINED"], known["WIDTH"], known["IMAGE_SIZE"],
                           run.artefact_of(run_id, "model.pt"), store_size=known["STORE_SIZE"],
                           attention=known["ATTENTION"], layers=tuple(layers), attributes=attributes,
                           branch=known.get("BRANCH", "two_layer"))


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
