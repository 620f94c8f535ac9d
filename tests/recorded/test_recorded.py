"""Earlier runs as plain arguments: which files a run may read of them, and the recipes of their networks."""

import pandas as pd
import pytest
import torch
from earlier_runs import open_run, publish

from shoplens.classification.class_predictions import MultitaskRecipe
from shoplens.data.catalogue import Catalogue
from shoplens.recorded.networks import multitask_recipe
from shoplens.recorded.trunks import trunk_recipe

KNOWN = {"BACKBONE": "small_vgg", "PRETRAINED": False, "WIDTH": 0.25, "IMAGE_SIZE": 32, "STORE_SIZE": 40,
         "ATTENTION": True}
OF_START = KNOWN | {"TRUNK_FROM": "02_bcnn", "LAST_RELU": False}


@pytest.fixture
def catalogue(tmp_path) -> Catalogue:
    """Only its hierarchy and its attributes matter here."""
    products = pd.DataFrame({"image_id": ["a", "b"], "path": ["a.png", "b.png"], "kind": ["shoes", "clothes"],
                             "thing": ["boot", "tee"], "shade": ["light", "dark"], "size": ["s", "l"]})
    return Catalogue.build("toy", tmp_path, products, layers=["kind", "thing"], attributes=["shade", "size"],
                           licence="none")


# --- what may be read ---------------------------------------------------------------------------------------------


def test_an_input_of_several_seeds_is_its_first_and_each_has_an_id(scratch_root, monkeypatch):
    run = open_run(monkeypatch, {"02_bcnn": ["02_bcnn-s1", "02_bcnn"]})
    for run_id in ("02_bcnn", "02_bcnn-s1", "03_sscnn"):
        publish(run, run_id, {}, {"weight": torch.zeros(1)})
    folder = run.results / "artefacts"
    assert run.input("02_bcnn", "model.pt") == folder / "02_bcnn-s1" / "model.pt"
    assert run.artefact_of("02_bcnn", "model.pt") == folder / "02_bcnn" / "model.pt"
    for read in (run.input, run.artefact_of):
        with pytest.raises(KeyError, match="03_sscnn is not among the inputs"):
            read("03_sscnn", "model.pt")
        with pytest.raises(FileNotFoundError, match="make reproduce RUN=02_bcnn.* DATASET=toy PROFILE=laptop"):
            read("02_bcnn", "scores.npz")


def test_the_table_of_an_input(scratch_root, monkeypatch):
    run = open_run(monkeypatch, {"02_bcnn": ["02_bcnn-s1"]})
    (run.results / "tables").mkdir(parents=True)
    (run.results / "tables" / "02_bcnn-s1.csv").write_text("variant,value\nbCNN,0.25\n")
    assert run.table_of("02_bcnn-s1").to_dict("list") == {"variant": ["bCNN"], "value": [0.25]}
    with pytest.raises(KeyError, match="02_bcnn is not among the inputs"):
        run.table_of("02_bcnn")


def test_tables_of_the_inputs_and_of_no_other_run(scratch_root, monkeypatch):
    run = open_run(monkeypatch, {"02_bcnn": ["02_bcnn", "02_bcnn-s1"], "03_sscnn": []})
    publish(run, "02_bcnn", {"outputs": ["tables/02_bcnn.csv", "tables/02_bcnn.md", "figures/02_bcnn_curves.png"]})
    publish(run, "02_bcnn-s1", {"outputs": ["tables/02_bcnn-s1.csv", "artefacts/02_bcnn-s1/history.csv"]})
    publish(run, "05_bmtl_rl", {"outputs": ["tables/05_bmtl_rl.csv"]})
    assert run.earlier_tables() == {name: run.results / "tables" / f"{name}.csv" for name in ("02_bcnn", "02_bcnn-s1")}


# --- recipes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stood_on", "expected"), [
    (["01_catalogue", "02_bcnn", "02_bcnn-s1", "02_bcnn-s2"], "02_bcnn"),
    (["01_catalogue", "02_bcnn-s1", "02_bcnn-s2"], "02_bcnn-s1"), (["02_bcnn_core", "02_bcnn-s1"], "02_bcnn-s1")])
def test_a_network_of_any_seed_stands_on_the_trunk_of_its_start(scratch_root, monkeypatch, stood_on, expected):
    """The runner gives the networks of a second seed the classifier of that seed, but centres and stored activations
    are of the trunk that the start saw."""
    own = [run_id for run_id in stood_on if run_id.startswith("02_bcnn") and not run_id.endswith("core")]
    of_start = open_run(monkeypatch, {"02_bcnn": own})
    for run_id in stood_on:
        publish(of_start, run_id, {"inputs": {}}, {"weight": torch.zeros(1)})
    file = of_start.results / "artefacts" / expected / "model.pt"
    assert of_start.input("02_bcnn", "model.pt") == file
    publish(of_start, "08_netvlad", {"inputs": dict.fromkeys(stood_on, "a date"), "parameters": OF_START})
    for run_id in own:
        of_seed = open_run(monkeypatch, {"02_bcnn": [run_id], "08_netvlad": ["08_netvlad"]})
        recipe = trunk_recipe(of_seed, "08_netvlad")
        assert recipe.weights == file
        assert (recipe.backbone, recipe.width, recipe.image_size, recipe.last_relu) == ("small_vgg", 0.25, 32, False)


@pytest.mark.parametrize("changes", [{"TRUNK_FROM": ""}, {"PRETRAINED": True}])
def test_without_an_earlier_trunk_none_is_asked_for(scratch_root, monkeypatch, changes):
    run = open_run(monkeypatch, {"08_netvlad": ["08_netvlad"]})
    publish(run, "08_netvlad", {"inputs": {}, "parameters": OF_START | changes})
    assert trunk_recipe(run, "08_netvlad").weights is None


def test_a_trunk_that_the_start_did_not_read_is_refused(scratch_root, monkeypatch):
    run = open_run(monkeypatch, {"02_bcnn": ["02_bcnn"], "08_netvlad": ["08_netvlad"]})
    publish(run, "02_bcnn", {}, {"weight": torch.zeros(1)})
    publish(run, "08_netvlad", {"inputs": {"02_bcnn_core": "a date"}, "parameters": OF_START})
    with pytest.raises(KeyError, match="02_bcnn was not among the inputs of run 08_netvlad"):
        trunk_recipe(run, "08_netvlad")


@pytest.mark.parametrize(("more", "layers", "attributes", "branch"), [
    ({}, ("kind", "thing"), (), "two_layer"),
    ({"ATTRIBUTES": [], "BRANCH": "two_layer"}, ("thing",), ("shade", "size"), "two_layer"),
    ({"ATTRIBUTES": ["size"], "BRANCH": "parallel"}, ("thing",), ("size",), "parallel")])
def test_a_multitask_network_has_the_tasks_it_was_trained_for(catalogue, scratch_root, monkeypatch, more, layers,
                                                              attributes, branch):
    """Notebook 05 learns every layer; 06 the leaf and the attributes named, all where none is."""
    run = open_run(monkeypatch, {"06_toy": ["06_toy-s2"]})
    with pytest.raises(FileNotFoundError, match="make reproduce RUN=06_toy-s2"):
        multitask_recipe(run, "06_toy-s2", catalogue)
    publish(run, "06_toy-s2", {"parameters": KNOWN | more}, {})
    weights = run.results / "artefacts" / "06_toy-s2" / "model.pt"
    assert multitask_recipe(run, "06_toy-s2", catalogue) == MultitaskRecipe(
        "small_vgg", False, 0.25, 32, weights, 40, True, layers, attributes, branch)
