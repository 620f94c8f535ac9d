"""What earlier runs were made with, as plain arguments of the library: the edge where the recorded parameters of the
notebooks, whose names are in capitals, become recipes of their networks."""

from shoplens.data.catalogue import Catalogue
from shoplens.models.restore import MultitaskRecipe, TrunkRecipe
from shoplens.study.notebook_run import Run


def trunk_recipe(run: Run, start: str) -> TrunkRecipe:
    """The trunk that a run of notebook 08 stands on: published weights, or the trunk of the classifier which that run
    read. A network of another seed has the classifier of its own seed as an input, but stands on what its start saw.

    start: id of the run of notebook 08; `run` has it as an input.
    """
    known = run.record(start)["parameters"]
    weights = None
    if known["TRUNK_FROM"] and not known["PRETRAINED"]:
        weights = run.input(known["TRUNK_FROM"], "model.pt", read_by=start)
    return TrunkRecipe(known["BACKBONE"], known["PRETRAINED"], known["WIDTH"], known["IMAGE_SIZE"], weights=weights,
                       last_relu=known["LAST_RELU"])


def multitask_recipe(run: Run, run_id: str, catalogue: Catalogue) -> MultitaskRecipe:
    """The network of a run of notebook 05 (every layer of the hierarchy) or 06 (leaf and attributes).

    Raises FileNotFoundError where that run has left no record.
    """
    known = run.record(run_id)["parameters"]
    layers, attributes = catalogue.hierarchy.layers, ()
    if "ATTRIBUTES" in known:
        layers, attributes = (catalogue.hierarchy.leaf,), tuple(known["ATTRIBUTES"] or catalogue.attributes)
    return MultitaskRecipe(known["BACKBONE"], known["PRETRAINED"], known["WIDTH"], known["IMAGE_SIZE"],
                           known["ATTENTION"], run.artefact_of(run_id, "model.pt"), tuple(layers), attributes,
                           known.get("BRANCH", "two_layer"))
