"""The networks of notebook 09: their names, what they are compared with, and Table 4."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from earlier_runs import open_run, publish
from torch import nn

from shoplens.classification.comparison import paper_table
from shoplens.models.netvlad import Descriptor, NetVLAD, NetVLADInit
from shoplens.recorded.networks import trained_networks
from shoplens.search.networks import FrozenTrunk
from shoplens.search.protocols import SearchProtocol, SearchSplit
from shoplens.search.trained_networks import (
    SELECTIONS,
    Bench,
    TrainedNetwork,
    as_in_table4,
    counterpart,
    feature_kind,
    feature_name,
    selection_name,
)

# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("positive_rank", "ambiguous", "name"), [
    (1, 0, "closest"), (20, 0, "20th"), (20, 10, "20th+Pos10"), (1, 10, "closest+Pos10"), (5, 0, "5th"),
    (20, 3, "20th+Pos3")])
def test_selections_are_called_as_in_table_4(positive_rank, ambiguous, name):
    usual = {"squared": True, "interval": 50, "usual_interval": 50}
    assert selection_name(positive_rank, ambiguous, **usual) == name
    assert selection_name(positive_rank, ambiguous, **usual | {"squared": False}) == f"{name}, plain"
    assert selection_name(positive_rank, ambiguous, **usual | {"usual_interval": 40}) == f"{name}, mined every 50"


@pytest.mark.parametrize(("selection", "against"), [
    ("20th, mined every 7", "20th"), ("closest, plain", "closest"), ("20th+Pos10, plain", "20th+Pos10"),
    ("12th", "20th"), ("5th+Pos10", "20th+Pos10"), ("20th+Pos3", "20th+Pos10")])
def test_another_reading_is_compared_with_what_it_departs_from(selection, against):
    assert counterpart(selection, ["pre-trained", *SELECTIONS]) == against


@pytest.mark.parametrize(("kind", "name"), [
    ("global", "G"), ("relu", "L"), ("norm", "L-norm"), ("sigmoid", "L-sigmoid"), ("gem", "gem")])
def test_a_feature_has_one_name(kind, name):
    assert feature_name(kind) == name
    assert feature_kind(name) == kind


def test_trained_networks_are_what_their_records_say(scratch_root, monkeypatch):
    """In the order of the inputs, each seed of its own; runs of other notebooks are left out, and so are those that are
    no input. One that mines as the fewest do says so."""
    run = open_run(monkeypatch, {"08_start": ["08_start"], "09_b": ["09_b"], "09_a": ["09_a", "09_a-s3"],
                                 "09_c": ["09_c"]})
    known = {"START_FROM": "08_start", "POSITIVE_RANK": 20, "AMBIGUOUS": 10, "REPEAT": 0, "PLAIN": False,
             "INTERVAL": 50}

    def learned(run_id: str, seed: int, **parameters) -> None:
        publish(run, run_id, {"seed": seed, "notebook": "notebooks/09_rank_based_learning.ipynb",
                              "parameters": known | parameters}, {})

    publish(run, "08_start", {"seed": 0, "notebook": "notebooks/08_netvlad.ipynb", "parameters": {}})
    learned("09_a", 0, FEATURE="global", REPEAT=1)
    learned("09_a-s3", 3, FEATURE="relu", AMBIGUOUS=0)
    learned("09_b", 0, FEATURE="norm", POSITIVE_RANK=1, AMBIGUOUS=0, INTERVAL=7)
    learned("09_c", 0, FEATURE="gem", START_FROM="08_other")
    learned("09_absent", 0, FEATURE="global")
    found = trained_networks(run)
    expected = [("09_b", "08_start", "norm", "closest, mined every 7", 0, 0),
                ("09_a", "08_start", "global", "20th+Pos10", 0, 1),
                ("09_a-s3", "08_start", "relu", "20th", 3, 0),
                ("09_c", "08_other", "gem", "20th+Pos10", 0, 0)]
    assert found == [TrainedNetwork(*one, run.results / "artefacts" / one[0] / "model.pt") for one in expected]
    assert [one.feature for one in found] == ["L-norm", "G", "L", "gem"]


# --- the networks of a protocol -----------------------------------------------------------------------------------


def _network(run: str, kind: str, selection: str, seed=0, repeat=0) -> TrainedNetwork:
    return TrainedNetwork(run, "08_start", kind, selection, seed, repeat, Path(run))


def test_the_best_of_a_feature_learned_from_the_last_selection_there_is():
    networks = (_network("a", "global", "closest"), _network("b", "global", "20th"),
                _network("b-s1", "global", "20th", seed=1), _network("c", "global", "20th, plain"),
                _network("d", "relu", "closest"), _network("e", "global", "20th+Pos10", repeat=1),
                _network("f", "norm", "12th"))
    bench = Bench(None, None, None, "v1", networks, "cpu")
    assert {seed: one.run for seed, one in bench.best("G").items()} == {0: "b", 1: "b-s1"}
    assert {seed: one.run for seed, one in bench.best("G", repeat=1).items()} == {0: "e"}
    assert {seed: one.run for seed, one in bench.best("L").items()} == {0: "d"}
    assert bench.best("L-norm") == bench.best("gem") == {}


def test_a_bench_restores_each_network_once_and_keeps_features_of_test_alone(tmp_path):
    torch.manual_seed(0)
    maps = np.random.default_rng(0).normal(size=(9, 4, 2, 2)).astype(np.float32)
    init = NetVLADInit(torch.randn(3, 5), 2.0, torch.ones(5) / 5**0.5)
    block = nn.Conv2d(4, 5, 1)
    learned = Descriptor(nn.Conv2d(4, 5, 1), NetVLAD(init, "v1", "relu")).eval()
    torch.save(learned.state_dict(), tmp_path / "model.pt")
    splits = {"val": SearchSplit(np.array([0]), np.array([2, 3])), "test": SearchSplit(np.array([8, 1]), np.array([4]))}
    protocol = SearchProtocol("items", np.array([5, 6, 5, 6, 5, 6, 5, 6, 5]), splits)
    trunk = FrozenTrunk(None, None, None, block, None, maps, np.arange(9))
    network = TrainedNetwork("09_toy", "08_toy", "relu", "20th", 0, 0, tmp_path / "model.pt")
    bench = Bench(protocol, trunk, init, "v1", (network,), "cpu")
    assert bench.products().tolist() == [5, 6]
    assert bench.model(network) is bench.model(network)
    assert bench.features(network, "test") is bench.features(network, "test")
    assert bench.features(network, "val") is not bench.features(network, "val")
    before = Descriptor(block, NetVLAD(init, "v1", "relu")).eval()
    for split, own in splits.items():
        rows = np.r_[own.queries, own.gallery]
        for features, model in ((bench.features(network, split), learned), (bench.features_before("L", split), before)):
            with torch.no_grad():
                np.testing.assert_allclose(features[rows], model(torch.from_numpy(maps[rows])), atol=1e-6)
    with torch.no_grad():
        other = before(torch.from_numpy(2 * maps[own.queries] + 1))
    np.testing.assert_allclose(bench.features_before("L", "test", 2 * maps + 1)[own.queries], other, atol=1e-6)


# --- Table 4 ------------------------------------------------------------------------------------------------------

# P2 Table 4 as it is printed.
PRINTED = {("global", "train"): "0.316 0.595 0.781 0.846", ("global", "val"): "0.372 0.545 0.603 0.631",
           ("local", "train"): "0.315 0.614 0.807 0.838", ("local", "val"): "0.371 0.561 0.618 0.623"}


def test_the_papers_table_4_comes_out_as_it_is_printed():
    table = as_in_table4(paper_table("p2_table4").assign(protocol="AlibabaM", seed=0))
    assert list(table) == ["protocol", "feature", "split", "pre-trained", "closest", "20th", "20th+Pos10"]
    assert len(table) == 4
    for row in table.values.tolist():
        assert row[0] == "AlibabaM"
        assert row[3:] == PRINTED[row[1], row[2]].split()


def test_table_4_has_means_and_deviations_over_seeds_and_empty_cells():
    rows = [("items", "G", "val", "20th", 0, 0.30), ("items", "G", "val", "20th", 1, 0.36),
            ("items", "G", "val", "20th", 2, 0.42), ("items", "G", "val", "closest", 0, 0.2504),
            ("unseen", "G", "val", "closest", 0, 0.5), ("unseen", "G", "val", "5th", 0, 0.7),
            ("unseen", "G", "test", "pre-trained", 0, 0.1)]
    table = pd.DataFrame(rows, columns=["protocol", "feature", "split", "selection", "seed", "value"])
    shown = as_in_table4(table)
    # Selections the paper does not have come last.
    assert list(shown) == ["protocol", "feature", "split", "pre-trained", "closest", "20th", "5th"]
    cells = {tuple(row[:3]): row[3:] for row in shown.values.tolist()}
    assert cells == {("items", "G", "val"): ["", "0.250", "0.360 ± 0.060", ""],
                     ("unseen", "G", "val"): ["", "0.500", "", "0.700"],
                     ("unseen", "G", "test"): ["0.100", "", "", ""]}
