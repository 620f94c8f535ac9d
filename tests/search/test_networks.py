"""Search networks put together again: the trunk of an earlier run, stored activations, learned block and head."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from earlier_runs import open_run, publish
from pictures import picture
from PIL import Image
from safetensors.torch import save_file
from trainings import assert_same, copy_of_weights

from shoplens.data.catalogue import Catalogue
from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier
from shoplens.models.netvlad import Descriptor, GlobalPooling, NetVLAD, NetVLADInit
from shoplens.search.activations import extract
from shoplens.search.networks import load_frozen_trunk, load_init, load_trunk, make_head, restore, save_init
from shoplens.search.protocols import SearchProtocol, SearchSplit

COUNT, SIDE = 12, 32
PARAMETERS = {"BACKBONE": "small_vgg", "PRETRAINED": False, "TRUNK_FROM": "02_bcnn", "WIDTH": 0.25, "IMAGE_SIZE": SIDE,
              "LAST_RELU": True}
NEEDED = [1, 2, 3, 4, 5, 7, 8, 10]


def _classifier(seed=0) -> FlatClassifier:
    """A flat network as notebook 02 leaves it: the statistics of its batch norms are no longer those of the start."""
    torch.manual_seed(seed)
    model = FlatClassifier(load_backbone("small_vgg", False, width=0.25), 3)
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(8, 3, SIDE, SIDE) + 0.5)
    return model.eval()


def _start(clusters=3) -> NetVLADInit:
    torch.manual_seed(5)
    direction = torch.rand(64)
    return NetVLADInit(torch.randn(clusters, 64) / 8, 2.5, direction / direction.norm())


@pytest.fixture
def pixels() -> np.ndarray:
    return np.stack([picture(SIDE, SIDE, seed=i) for i in range(COUNT)])


@pytest.fixture
def catalogue(scratch_root, pixels) -> Catalogue:
    """Only where the pictures lie matters here."""
    products = {"image_id": [f"i{i:02}" for i in range(COUNT)], "path": [f"i{i:02}.png" for i in range(COUNT)]}
    folder = scratch_root / "pictures"
    folder.mkdir()
    for name, one in zip(products["path"], pixels, strict=True):
        Image.fromarray(one).save(folder / name)
    return Catalogue("toy", folder, pd.DataFrame(products), None, {}, "none")


@pytest.fixture
def protocol() -> SearchProtocol:
    """Rows 0, 6, 9 and 11 are in no split; some stand in two."""
    splits = {"train": ([1, 3], [5, 7, 2]), "val": ([4], [2, 8]), "test": ([10, 3], [5])}
    return SearchProtocol("items", np.arange(COUNT) % 4,
                    {name: SearchSplit(np.array(q), np.array(g)) for name, (q, g) in splits.items()})


@pytest.fixture
def run(scratch_root, monkeypatch):
    """A run that has 02_bcnn among its inputs."""
    run = open_run(monkeypatch, {"02_bcnn": ["02_bcnn"]})
    publish(run, "02_bcnn", {"fingerprint": "f0", "inputs": {}}, _classifier().state_dict())
    return run


# --- starts and heads ---------------------------------------------------------------------------------------------


def test_a_start_that_is_read_again_is_the_same(tmp_path):
    start = _start()
    start = NetVLADInit(start.centres, 1 / 3, start.direction)
    save_init(start, tmp_path / "start.npz")
    again = load_init(tmp_path / "start.npz")
    assert torch.equal(again.centres, start.centres)
    assert torch.equal(again.direction, start.direction)
    assert (again.centres.dtype, again.alpha, type(again.alpha)) == (torch.float32, 1 / 3, float)
    with np.load(tmp_path / "start.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["alpha", "centres", "direction"]


@pytest.mark.parametrize("assignment", ["v1", "v2"])
@pytest.mark.parametrize(("feature", "weights"), [("global", None), ("relu", "relu"), ("sigmoid", "sigmoid"),
                                                  ("hidden", "hidden"), ("norm", "norm")])
def test_heads_are_netvlad_with_the_weights_named(feature, weights, assignment):
    maps = torch.rand(4, 64, 3, 3)
    torch.manual_seed(1)
    told = make_head(feature, _start(), assignment)
    torch.manual_seed(1)
    by_hand = NetVLAD(_start(), assignment, weights)
    torch.testing.assert_close(told(maps), by_hand(maps), rtol=0, atol=0)
    assert told(maps).shape == (4, 3 * 64)
    assert (told.local.kind if told.local else None) == weights


def test_gem_is_pooling_whatever_the_start():
    maps = torch.rand(4, 64, 3, 3)
    told = make_head("gem", _start(), "v1")
    torch.testing.assert_close(told(maps), GlobalPooling("gem")(maps))
    cubes = maps.pow(3).mean(dim=(2, 3)).pow(1 / 3)
    torch.testing.assert_close(told(maps), cubes / cubes.norm(dim=1, keepdim=True))


def test_a_head_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="attention is one of .*, got 'local'"):
        make_head("local", _start(), "v1")


# --- the trunk ----------------------------------------------------------------------------------------------------


def test_the_trunk_is_that_of_the_earlier_run(run):
    torch.manual_seed(99)
    assert_same(load_trunk(run, PARAMETERS).trunk, _classifier().trunk.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_trunk(run, PARAMETERS | {"WIDTH": 0.5})


def test_a_run_that_is_no_input_is_not_read(run):
    publish(run, "03_sscnn", {"fingerprint": "f1", "inputs": {}}, _classifier(1).state_dict())
    with pytest.raises(KeyError, match="03_sscnn is not among the inputs"):
        load_trunk(run, PARAMETERS | {"TRUNK_FROM": "03_sscnn"})


def test_without_an_earlier_run_the_trunk_is_a_fresh_one(scratch_root, monkeypatch):
    run = open_run(monkeypatch, {})
    torch.manual_seed(3)
    told = load_trunk(run, PARAMETERS | {"TRUNK_FROM": ""})
    torch.manual_seed(3)
    assert_same(told.trunk, load_backbone("small_vgg", False, width=0.25).trunk.state_dict())


def test_pretrained_weights_come_first(scratch_root, monkeypatch):
    """No earlier run is asked then: none is among the inputs."""
    import torchvision

    torch.manual_seed(4)
    published = torchvision.models.squeezenet1_1().state_dict()
    save_file(published, scratch_root / "squeezenet1_1_imagenet.safetensors")
    monkeypatch.setenv("STUDY_WEIGHTS", str(scratch_root))
    told = load_trunk(open_run(monkeypatch, {}), PARAMETERS | {"BACKBONE": "squeezenet1_1", "PRETRAINED": True})
    assert_same(told.trunk, {name.removeprefix("features."): value for name, value in published.items()})
    assert told.weights["file"] == "squeezenet1_1_imagenet.safetensors"


SEEDS = {"02_bcnn": 0, "02_bcnn-s1": 1, "02_bcnn-s2": 2, "02_bcnn_core": 3}


@pytest.mark.parametrize(("stood_on", "expected"), [
    (["01_catalogue", "02_bcnn", "02_bcnn-s1", "02_bcnn-s2"], 0), (["01_catalogue", "02_bcnn-s1", "02_bcnn-s2"], 1),
    (["02_bcnn_core", "02_bcnn-s1"], 1)])
def test_a_network_of_any_seed_stands_on_the_trunk_of_its_start(scratch_root, monkeypatch, stood_on, expected):
    """The runner gives the networks of a second seed the classifier of that seed, but centres and stored activations
    are of the trunk that the start saw."""
    own = [i for i in stood_on if i.startswith("02_bcnn") and not i.endswith("core")]
    of_start = open_run(monkeypatch, {"02_bcnn": own})
    for run_id, seed in SEEDS.items():
        publish(of_start, run_id, {"fingerprint": f"f{seed}", "inputs": {}}, _classifier(seed).state_dict())
    assert_same(load_trunk(of_start, PARAMETERS).trunk, _classifier(expected).trunk.state_dict())
    publish(of_start, "08_netvlad", {"inputs": dict.fromkeys(stood_on, "a date")})
    for run_id in own:
        of_seed = open_run(monkeypatch, {"02_bcnn": [run_id], "08_netvlad": ["08_netvlad"]})
        told = load_trunk(of_seed, PARAMETERS | {"RUN": "08_netvlad"})
        assert_same(told.trunk, _classifier(expected).trunk.state_dict())


# --- the ground ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_relu", [True, False])
def test_frozen_part_and_block_together_are_the_whole_trunk(run, catalogue, protocol, pixels, last_relu):
    ground = load_frozen_trunk(run, catalogue, protocol, PARAMETERS | {"LAST_RELU": last_relu}, "cpu")
    assert ground.rows.tolist() == NEEDED
    np.testing.assert_array_equal(ground.store.array, pixels)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1       # small_vgg's mean and deviation ½
    layers = list(_classifier().trunk)      # four times convolution, batch norm, ReLU, pooling
    with torch.no_grad():
        frozen = torch.nn.Sequential(*layers[:12])(images)
        last = torch.nn.Sequential(*layers[:15 if last_relu else 14])(images)
        told = ground.block(torch.from_numpy(ground.maps[NEEDED]))
    assert ground.maps.shape == (COUNT, 32, 4, 4)
    np.testing.assert_allclose(ground.maps[NEEDED], frozen[NEEDED], atol=1e-5)
    assert not ground.maps[[0, 6, 9, 11]].any()
    torch.testing.assert_close(told, last[NEEDED], atol=1e-5, rtol=1e-5)
    assert (told < 0).any() != last_relu
    assert not any(layer.training for layer in (*ground.frozen, *ground.block))


def test_stored_activations_are_never_those_of_other_weights(run, catalogue, protocol):
    """Neither a fresh trunk of another seed nor an earlier run that was made again may read what is stored."""
    grounds = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        grounds.append(load_frozen_trunk(run, catalogue, protocol, PARAMETERS | {"TRUNK_FROM": ""}, "cpu"))
    for seed in (0, 1):
        publish(run, "02_bcnn", {"fingerprint": "same code, another machine", "inputs": {}},
                _classifier(seed).state_dict())
        grounds.append(load_frozen_trunk(run, catalogue, protocol, PARAMETERS, "cpu"))
    for ground in grounds:
        with torch.no_grad():
            own = ground.frozen(torch.from_numpy(ground.store.array[NEEDED]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        np.testing.assert_allclose(ground.maps[NEEDED], own, atol=1e-5)
    stored = len(list((catalogue.folder.parent / "cache" / "activations").iterdir()))
    assert stored == 4
    load_frozen_trunk(run, catalogue, protocol, PARAMETERS, "cpu")
    assert len(list((catalogue.folder.parent / "cache" / "activations").iterdir())) == stored


# --- a learned network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("feature", "assignment"), [("global", "v1"), ("relu", "v2"), ("hidden", "v1"), ("norm", "v1"),
                                                     ("gem", "v1")])
def test_a_restored_network_is_the_one_that_was_saved(run, catalogue, protocol, feature, assignment):
    ground, start = load_frozen_trunk(run, catalogue, protocol, PARAMETERS, "cpu"), _start()
    untouched = copy_of_weights(ground.block)
    model = Descriptor(copy.deepcopy(ground.block), make_head(feature, start, assignment))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 0.3 * torch.randn_like(p))
        model.train()(torch.from_numpy(ground.maps[NEEDED]))        # moves the batch norm's statistics
    publish(run, "09_toy-s1", {"parameters": {"FEATURE": feature}}, model.eval().state_dict())
    told = restore(run, "09_toy-s1", ground, start, assignment, "cpu")
    assert not any(module.training for module in told.modules())
    learned = extract(model, ground.maps, ground.rows)
    np.testing.assert_array_equal(extract(told, ground.maps, ground.rows), learned)
    fresh = Descriptor(ground.block, make_head(feature, start, assignment)).eval()
    assert np.abs(extract(fresh, ground.maps, ground.rows) - learned).max() > 0.01
    assert_same(ground.block, untouched)
    with torch.no_grad():
        for p in told.parameters():
            p.zero_()
    assert_same(ground.block, untouched)
    assert torch.equal(start.centres, _start().centres)
