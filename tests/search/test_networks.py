"""Search networks put together again: a trained trunk cut in two, stored activations, learned block and head."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pictures import picture
from PIL import Image
from trainings import assert_same, copy_of_weights

from shoplens.data.catalogue import Catalogue
from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier
from shoplens.models.netvlad import Descriptor, GlobalPooling, NetVLAD, NetVLADInit
from shoplens.models.restore import TrunkRecipe
from shoplens.search.activations import extract
from shoplens.search.networks import load_frozen_trunk, load_init, make_head, restore_descriptor, save_init
from shoplens.search.protocols import SearchProtocol, SearchSplit

COUNT, SIDE = 12, 32
FRESH = TrunkRecipe("small_vgg", False, 0.25, SIDE)
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
def recipe(tmp_path) -> TrunkRecipe:
    """The trunk of a classifier that was trained."""
    torch.save(_classifier().state_dict(), tmp_path / "model.pt")
    return replace(FRESH, weights=tmp_path / "model.pt")


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
    head = make_head(feature, _start(), assignment)
    torch.manual_seed(1)
    by_hand = NetVLAD(_start(), assignment, weights)
    torch.testing.assert_close(head(maps), by_hand(maps), rtol=0, atol=0)
    assert head(maps).shape == (4, 3 * 64)
    assert (head.local.kind if head.local else None) == weights


def test_gem_is_pooling_whatever_the_start():
    maps = torch.rand(4, 64, 3, 3)
    head = make_head("gem", _start(), "v1")
    torch.testing.assert_close(head(maps), GlobalPooling("gem")(maps))
    cubes = maps.pow(3).mean(dim=(2, 3)).pow(1 / 3)
    torch.testing.assert_close(head(maps), cubes / cubes.norm(dim=1, keepdim=True))


def test_a_head_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="attention is one of .*, got 'local'"):
        make_head("local", _start(), "v1")


HALF = 2.0**-10     # rounding of half precision


# --- the frozen trunk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last_relu", [True, False])
def test_frozen_part_and_block_together_are_the_whole_trunk(recipe, catalogue, protocol, pixels, last_relu):
    trunk = load_frozen_trunk(replace(recipe, last_relu=last_relu), catalogue, protocol, "cpu")
    assert trunk.rows.tolist() == NEEDED
    np.testing.assert_array_equal(trunk.store.array, pixels)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1       # small_vgg's mean and deviation ½
    layers = list(_classifier().trunk)      # four times convolution, batch norm, ReLU, pooling
    with torch.no_grad():
        frozen = torch.nn.Sequential(*layers[:12])(images)
        last = torch.nn.Sequential(*layers[:15 if last_relu else 14])(images)
        last_map = trunk.block(trunk.maps[NEEDED])
    assert trunk.maps.shape == (32, 4, 4)
    np.testing.assert_allclose(trunk.maps[NEEDED], frozen[NEEDED], rtol=HALF, atol=1e-5)
    assert not trunk.maps[[0, 6, 9, 11]].any()
    torch.testing.assert_close(last_map, last[NEEDED], atol=5 * HALF, rtol=HALF)
    assert (last_map < 0).any() != last_relu
    assert not any(layer.training for layer in (*trunk.frozen, *trunk.block))


def test_stored_activations_are_never_those_of_other_weights(recipe, catalogue, protocol):
    """Neither a fresh trunk of another seed nor an earlier run that was made again may read what is stored."""
    trunks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        trunks.append(load_frozen_trunk(FRESH, catalogue, protocol, "cpu"))
    for seed in (0, 1):
        torch.save(_classifier(seed).state_dict(), recipe.weights)
        trunks.append(load_frozen_trunk(recipe, catalogue, protocol, "cpu"))
    for trunk in trunks:
        with torch.no_grad():
            own = trunk.frozen(torch.from_numpy(trunk.store.array[NEEDED]).permute(0, 3, 1, 2).float() / 127.5 - 1)
        np.testing.assert_allclose(trunk.maps[NEEDED], own, rtol=HALF, atol=1e-5)
    stored = len(list((catalogue.folder.parent / "cache" / "activations").iterdir()))
    assert stored == 4
    load_frozen_trunk(recipe, catalogue, protocol, "cpu")
    assert len(list((catalogue.folder.parent / "cache" / "activations").iterdir())) == stored


# --- a learned network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("feature", "assignment"), [("global", "v1"), ("relu", "v2"), ("hidden", "v1"), ("norm", "v1"),
                                                     ("gem", "v1")])
def test_a_restored_network_is_the_one_that_was_saved(recipe, tmp_path, catalogue, protocol, feature, assignment):
    trunk, start = load_frozen_trunk(recipe, catalogue, protocol, "cpu"), _start()
    untouched = copy_of_weights(trunk.block)
    model = Descriptor(copy.deepcopy(trunk.block), make_head(feature, start, assignment))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 0.3 * torch.randn_like(p))
        model.train()(trunk.maps[NEEDED])        # moves the batch norm's statistics
    torch.save(model.eval().state_dict(), tmp_path / "learned.pt")
    restored = restore_descriptor(tmp_path / "learned.pt", feature, trunk, start, assignment, "cpu")
    assert not any(module.training for module in restored.modules())
    learned = extract(model, trunk.maps, trunk.rows)
    np.testing.assert_array_equal(extract(restored, trunk.maps, trunk.rows), learned)
    fresh = Descriptor(trunk.block, make_head(feature, start, assignment)).eval()
    assert np.abs(extract(fresh, trunk.maps, trunk.rows) - learned).max() > 0.01
    assert_same(trunk.block, untouched)
    with torch.no_grad():
        for p in restored.parameters():
            p.zero_()
    assert_same(trunk.block, untouched)
    assert torch.equal(start.centres, _start().centres)
