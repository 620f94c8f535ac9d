"""What the notebooks publish in one line, against the same written out."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from trainings import plain_net

from shoplens.classification import evaluation
from shoplens.classification.evaluation import Scores
from shoplens.classification.publish import load_baseline, publish_gain, publish_scores, record_images, save_network
from shoplens.statistics import accuracy
from shoplens.study.notebook_run import Run

CAPTION = "Flat CNN, layer leaf, core images: test scores (%) with 95 % intervals"


@pytest.fixture
def opened(scratch_root, monkeypatch):
    """A function: name of a folder → a run that stages there, always with the same name and seed."""
    monkeypatch.delenv("SHOPLENS_KERNEL_LOCK", raising=False)
    monkeypatch.setenv("SHOPLENS_INPUTS", json.dumps({"02_bcnn": ["02_bcnn-s3"]}))

    def open_run(folder):
        monkeypatch.setenv("SHOPLENS_STAGING", str(scratch_root / folder))
        return Run("toy", "laptop", "03_sscnn-s3", 3)
    return open_run


@pytest.fixture
def scored(rng):
    """Scores of two variants, with top-5 to be had, and labels."""
    labels = rng.integers(0, 7, 60)
    signals = {"bCNN": 1, "ssCNN": 2}
    return {name: rng.normal(size=(60, 7)) + signal * np.eye(7)[labels] for name, signal in signals.items()}, labels


def _written(folder):
    """Every file below a folder, the run's own record included: name → bytes."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("recorded", [None, ["ssCNN"]])
def test_scores_and_gains_are_those_of_the_block_written_out(opened, scratch_root, scored, recorded):
    scores, labels = scored
    hits = {name: accuracy.top_k_correct(values, labels) for name, values in scores.items()}

    run = opened("explicit")
    expected = evaluation.evaluate(scores, labels, n_resamples=40, dataset="toy", profile="laptop", subset="core",
                                   seed=3, layer="leaf")
    run.table(expected, "03_sscnn-s3", caption=CAPTION, readable=evaluation.readable(expected))
    kept = expected if recorded is None else expected[expected["variant"] == "ssCNN"]
    for r in kept.itertuples():
        run.metric(r.metric, r.value, variant=r.variant, k=r.k, split="test", low=r.low, high=r.high)
    written_out = evaluation.compare(hits["ssCNN"], hits["bCNN"], labels, 40)
    run.metric("acc_gain_over_bcnn", written_out.acc.value, low=written_out.acc.low, high=written_out.acc.high)
    run.metric("macc_gain_over_bcnn", written_out.macc.value, low=written_out.macc.low, high=written_out.macc.high)
    run.finish()

    run = opened("by_line")
    results = publish_scores(run, scores, labels, caption=CAPTION, layer="leaf", subset="core", n_resamples=40,
                             recorded=recorded)
    gain = publish_gain(run, hits["ssCNN"], hits["bCNN"], labels, over="bcnn", n_resamples=40)
    run.finish()

    pd.testing.assert_frame_equal(results, expected)
    assert gain == written_out
    assert gain.acc.value > 0
    by_line = _written(scratch_root / "by_line")
    assert by_line == _written(scratch_root / "explicit")
    assert set(by_line) == {"tables/03_sscnn-s3.csv", "tables/03_sscnn-s3.md", "finished.json"}
    metrics = json.loads(by_line["finished.json"])["metrics"]
    assert len(metrics) == (8 if recorded is None else 4) + 2


def test_images_are_recorded_by_digest_size_and_split(opened, scratch_root):
    run = opened("staging")
    record_images(run, SimpleNamespace(split_hash=lambda: "0123"), SimpleNamespace(digest="4567", size=64))
    run.finish()
    assert json.loads((scratch_root / "staging" / "finished.json").read_text())["provenance"] == {
        "images": {"sha256": "4567", "size": 64}, "split_sha256": "0123"}


def test_a_network_is_kept_with_its_training_and_its_scores(opened, scratch_root, rng):
    model, history = plain_net(), pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25], "macc": [0.5, 0.75],
                                                "learning_rate": 0.1, "best": [False, True]})
    rows = {"val": np.arange(4), "test": np.array([4, 2])}
    kept = Scores("leaf", rows, {"test": rng.normal(size=(2, 5))}, {"neck": np.ones((2, 3))})
    run = opened("staging")
    doubts = save_network(run, model, history, kept)
    run.finish()
    assert doubts == ["2 epochs are too few to see a plateau"]
    assert json.loads((scratch_root / "staging" / "finished.json").read_text())["provenance"]["doubts"] == doubts
    folder = scratch_root / "staging" / "artefacts"
    assert {file.name for file in folder.iterdir()} == {"model.pt", "history.csv", "scores.npz"}
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert list(weights) == list(model.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert (folder / "history.csv").read_text().splitlines() == [
        "epoch,loss,macc,learning_rate,best", "1,0.5,0.5,0.1,False", "2,0.25,0.75,0.1,True"]
    back = Scores.load(folder / "scores.npz")
    np.testing.assert_array_equal(back.values["test"], kept.values["test"].astype(np.float32))
    assert list(back.attributes) == ["neck"]


# --- the run to compare with --------------------------------------------------------------------------------------


@pytest.fixture
def baseline(opened, rng):
    """A run that has the scores of 02_bcnn, leaf and rows 5, 3, 8, among its inputs."""
    run = opened("staging")
    (run.results / "artefacts" / "02_bcnn-s3").mkdir(parents=True)
    Scores("leaf", {"test": np.array([5, 3, 8])}, {"test": rng.normal(size=(3, 4))}).save(
        run.results / "artefacts" / "02_bcnn-s3" / "scores.npz")
    return run


def test_the_baseline_is_loaded(baseline):
    assert load_baseline(baseline, "02_bcnn", "leaf", np.array([5, 3, 8])).values["test"].shape == (3, 4)


@pytest.mark.parametrize(("layer", "rows"), [("root", [5, 3, 8]), ("leaf", [5, 3]), ("leaf", [3, 5, 8])])
def test_a_baseline_of_another_layer_or_of_other_images_is_refused(baseline, layer, rows):
    with pytest.raises(ValueError, match="02_bcnn classified layer 'leaf' of 3 test images.*name a BASELINE"):
        load_baseline(baseline, "02_bcnn", layer, np.array(rows))
