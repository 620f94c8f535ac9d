"""The recorded parameters of notebook 08, whose names are in capitals, as the recipe of the trunk its runs stand on."""

from shoplens.models.restore import TrunkRecipe
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
    return TrunkRecipe(known["BACKBONE"], known["PRETRAINED"], known["WIDTH"], known["IMAGE_SIZE"], weights,
                       known["LAST_RELU"])
