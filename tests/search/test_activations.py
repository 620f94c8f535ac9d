"""Activations of the frozen trunk, stored once, what fits into memory, and a search network trained on them."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture
from torch import nn
from trainings import assert_same

from shoplens.data.images import Batches, ImageStore
from shoplens.models.backbones import load_backbone
from shoplens.models.netvlad import Descriptor, NetVLAD, NetVLADInit, cut_trunk, descriptors, initialise
from shoplens.search.activations import (
    Activations,
    FeaturesOnDemand,
    TooMuch,
    check_fits,
    extract,
    features_of,
    free_gib,
    gibibytes,
    squared_distances,
    store_activations,
)
from shoplens.search.losses import ranking_loss
from shoplens.search.mining import Mining
from shoplens.search.nearest import in_chunks, search_exact
from shoplens.search.protocols import SearchSplit
from shoplens.search.query_batches import QueryBatches
from shoplens.statistics.average_precision import average_precision
from shoplens.training import Schedule, fit, pick_device

PRODUCTS, EACH = 12, 6
HALF = 2.0**-10     # rounding of half precision
ITEMS = np.repeat(np.arange(PRODUCTS), EACH)
ROWS = np.arange(len(ITEMS))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Each product's own picture, moved a little, half covered by another that nobody else has."""
    rng, made = np.random.default_rng(0), []
    for row, item in enumerate(ITEMS):
        own = np.roll(picture(32, 32, seed=item), rng.integers(-4, 5, 2), (0, 1))
        made.append(0.5 * own + 0.5 * picture(32, 32, seed=1000 + row) + rng.normal(0, 10, own.shape))
    return np.stack(made).clip(0, 255).astype(np.uint8)


def _data(pixels, rows=ROWS, folder="digest_32px_bicubic", **changes) -> Batches:
    known = {"batch_size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    return Batches(ImageStore(pixels, Path(folder), "digest"), rows, {}, **(known | changes))


def _trunk() -> nn.Sequential:
    torch.manual_seed(0)
    return load_backbone("small_vgg", False, width=0.25).trunk


# --- stored activations -------------------------------------------------------------------------------------------


def test_activations_are_computed_once_and_are_those_of_the_frozen_part(scratch_root, pixels):
    frozen, _ = cut_trunk(_trunk())
    frozen.to(pick_device())
    passes, rows = [], ROWS[5:45]
    frozen.register_forward_hook(lambda *_: passes.append(1))
    before = torch.get_rng_state()
    maps = store_activations(frozen, _data(pixels, rows), "net")
    assert torch.equal(before, torch.get_rng_state())      # computed or read: what is drawn next is the same
    assert len(passes) == 3
    assert (maps[ROWS].dtype, maps.shape, len(maps[ROWS])) == (torch.float32, (32, 4, 4), 72)
    assert not frozen.training
    again = store_activations(frozen, _data(pixels, rows, batch_size=7), "net")
    assert len(passes) == 3
    assert isinstance(again.values, np.memmap)
    assert again.values.dtype == np.float16
    assert torch.equal(again[ROWS], maps[ROWS])
    assert not maps[ROWS[:5]].any()
    assert not maps[ROWS[45:]].any()
    images = (torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
    with torch.no_grad():
        by_hand = copy.deepcopy(frozen).cpu().double()(images)
    np.testing.assert_allclose(maps[rows], by_hand.numpy(), rtol=HALF,
                               atol=1e-3 if pick_device().type != "cpu" else 1e-5)


def test_whatever_decides_the_activations_has_a_file_of_its_own(scratch_root, pixels):
    frozen, _ = cut_trunk(_trunk())
    passes = []
    frozen.register_forward_hook(lambda *_: passes.append(1))
    for data, label in ((_data(pixels), "a"), (_data(pixels), "b"), (_data(pixels, ROWS[1:]), "a"),
                        (_data(pixels, mean=(0.4,) * 3), "a"), (_data(pixels, std=(0.3,) * 3), "a"),
                        (_data(pixels, folder="digest_32px_bilinear"), "a")):
        before = len(passes)
        store_activations(frozen, data, label)
        assert len(passes) > before, (data.store.folder, label)
    assert len(list((scratch_root / "cache" / "activations").iterdir())) == 6


def test_nothing_is_left_of_activations_that_could_not_be_finished(scratch_root, pixels):
    frozen, _ = cut_trunk(_trunk())
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    hook = frozen.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        store_activations(frozen, _data(pixels), "net")
    assert not list((scratch_root / "cache" / "activations").iterdir())
    hook.remove()
    assert store_activations(frozen, _data(pixels), "net")[ROWS[-1:]].any()


def test_features_from_stored_activations_are_those_of_the_whole_network(scratch_root, pixels):
    trunk = _trunk().eval()
    frozen, block = cut_trunk(trunk)
    torch.manual_seed(1)
    head = NetVLAD(NetVLADInit(torch.randn(3, 64), 2.0, torch.ones(64) / 8), "v1", "relu")
    data = _data(pixels)
    maps = store_activations(frozen, data, "net")
    with torch.no_grad():
        whole = torch.cat([head(trunk[:-1](batch["images"])) for batch in data.epoch(None)]).numpy()
    model = Descriptor(block, head).eval()
    np.testing.assert_allclose(extract(model, maps, ROWS), whole, rtol=0, atol=HALF)
    some = np.array([71, 3, 3, 40])
    np.testing.assert_allclose(extract(model, maps, some, batch_size=3), whole[some], rtol=0, atol=HALF)
    # From the very same activations they differ, by other batches, in the last of 24 bits at most.
    with torch.no_grad():
        alike = model(frozen(torch.cat([batch["images"] for batch in data.epoch(None)])).half().float()).numpy()
    np.testing.assert_allclose(extract(model, maps, ROWS), alike, rtol=0, atol=5e-6)


def test_features_of_a_split_are_addressed_by_row():
    maps = np.random.default_rng(0).normal(size=(len(ROWS), 2, 3, 3)).astype(np.float32)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 5)).eval()
    split = SearchSplit(np.array([40, 7, 13]), np.array([30, 7, 2, 41]))
    features = features_of(model, maps, split.rows)
    assert len(features.features) == 6      # nothing else is described
    for rows in (split.queries, split.gallery, np.array([13, 41, 13])):
        for row, feature in zip(rows, features[rows], strict=True):
            with torch.no_grad():
                np.testing.assert_allclose(feature, model(torch.from_numpy(maps[[row]]))[0], atol=1e-6)


class Linear(nn.Module):
    """Features of unit length from maps 2×3×3."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(18, 5)

    def forward(self, maps):
        return nn.functional.normalize(self.layer(maps.flatten(1)), dim=1)


@pytest.fixture
def toy_maps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(150, 2, 3, 3)).astype(np.float32)


def test_distances_without_the_gallerys_features_are_those_with_them(toy_maps):
    model, queries, gallery = Linear().eval(), np.array([3, 149, 60]), np.random.default_rng(1).permutation(150)[:140]
    far, some = squared_distances(model, toy_maps, queries, gallery, slice(None, None, 9))
    features = extract(model, toy_maps, np.arange(150)).astype(float)
    by_pair = [[sum((a - b)**2 for a, b in zip(features[q], features[g], strict=True)) for g in gallery]
               for q in queries]
    np.testing.assert_allclose(far, by_pair, atol=1e-6)
    np.testing.assert_allclose(some, features[gallery[::9]], atol=1e-7)
    assert squared_distances(model, toy_maps, queries, gallery)[1].shape == (0, 5)


def test_features_on_demand_are_those_kept(toy_maps):
    model, rows = Linear().eval(), np.array([7, 7, 149, 0])
    kept = features_of(model, toy_maps, np.arange(150))
    np.testing.assert_allclose(FeaturesOnDemand(model, toy_maps)[rows], kept[rows], atol=1e-7)


def _activations(toy_maps) -> Activations:
    return Activations(np.ascontiguousarray(toy_maps.transpose(0, 2, 3, 1), np.float16), np.arange(len(toy_maps)))


def test_resident_activations_are_those_of_the_file_and_stay_there_where_they_do_not_fit(toy_maps):
    maps, rows = _activations(toy_maps), np.array([140, 3, 77, 20])
    there = maps.resident(rows, pick_device(), 1.0)
    assert there.values.shape == (4, 3, 3, 2)
    assert there.values.device.type == pick_device().type
    for asked in (rows, rows[[2, 0, 0]], rows[:0]):
        assert torch.equal(there[asked].cpu(), maps[asked])
        np.testing.assert_array_equal(maps[asked], toy_maps[asked].astype(np.float16))
    assert maps[rows].is_contiguous(memory_format=torch.channels_last)
    assert there[rows].is_contiguous(memory_format=torch.channels_last)
    assert maps.gib(rows) == 4 * 18 * 2 / 2**30
    assert maps.resident(rows, pick_device(), maps.gib(rows) * 0.99) is maps
    assert free_gib(torch.device("cpu")) > 0.01


def test_activations_beyond_half_precision_are_refused(scratch_root, pixels):
    frozen = nn.Conv2d(3, 2, 1)
    nn.init.constant_(frozen.bias, 1e5)
    with pytest.raises(OverflowError, match="larger than half precision holds"):
        store_activations(frozen, _data(pixels), "huge")
    assert not list((scratch_root / "cache" / "activations").iterdir())


# --- what fits ----------------------------------------------------------------------------------------------------



def test_the_bill_is_named_where_something_does_not_fit():
    assert gibibytes(2**20, 256) == 1
    assert gibibytes(3_195_334, 32768, width=2) == pytest.approx(195.03, abs=0.01)     # 209.4 · 10⁹ bytes
    check_fits({"features": 1.5, "maps": 0.5}, 2.0, "unused")
    with pytest.raises(TooMuch, match=r"needs 2\.1 GiB \(features 1\.5 GiB, maps 0\.6 GiB\) and 2\.0 GiB may be used: "
                                      r"take fewer") as refused:
        check_fits({"features": 1.5, "maps": 0.6}, 2.0, "take fewer")
    assert isinstance(refused.value, MemoryError)


# --- a training ---------------------------------------------------------------------------------------------------


@pytest.fixture
def toy(scratch_root, pixels):
    """A function: folder, seed → network, batches, step and validation; products seen from half of their pictures."""
    frozen, block = cut_trunk(_trunk())
    maps = store_activations(frozen, _data(pixels), "toy")
    with torch.no_grad():
        start = initialise(descriptors(block.eval()(maps[ROWS])).flatten(0, 1).numpy(), 4)
    asking, answering = ROWS[ROWS % EACH < 3], ROWS[ROWS % EACH >= 3]

    def make(folder: Path, seed=0):
        torch.manual_seed(seed)
        model = Descriptor(copy.deepcopy(block), NetVLAD(start, "v1", "relu"))
        if seed:
            with torch.no_grad():
                model.head.centres.add_(torch.randn_like(model.head.centres))
        mining = Mining(ITEMS, answering, sampled=15, hard_negatives=5, ambiguous_positives=5)
        data = QueryBatches(model, maps, asking, mining, 8, _data(pixels).store, interval=20)

        def step(model, batch):
            return ranking_loss(model(batch["activations"]), batch["triplets"], batch["ambiguous"],
                                len(batch["indices"]))

        def validate(model):
            features = extract(model, maps, ROWS)
            _, found = search_exact(features[asking], in_chunks(features[answering], answering))
            hits = ITEMS[found] == ITEMS[asking][:, None]
            return {"map": float(average_precision(hits, np.full(len(asking), 3)).mean())}

        return model, step, data, validate

    return make


def test_training_lowers_the_loss_and_brings_products_together(toy, tmp_path):
    model, step, data, validate = toy(tmp_path)
    before = validate(model.to(pick_device()).eval())["map"]
    history = fit(model, step, data, validate, Schedule(epochs=8, learning_rate=0.1, select="map"), tmp_path)
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]
    assert history["map"].max() > before + 0.25
    assert validate(model)["map"] == pytest.approx(history["map"].max(), abs=1e-6)      # the best epoch's weights
    assert history["loss"].tolist() == pytest.approx((history["negative_loss"] + history["positive_loss"]).tolist())
    assert history["triplets"].between(0, 10).all()


def test_a_training_stopped_and_resumed_ends_with_equal_weights(toy, tmp_path):
    schedule = Schedule(epochs=4, learning_rate=0.05, decay_after=(2,), select="map")
    whole, *known = toy(tmp_path / "whole")
    history = fit(whole, *known, schedule, tmp_path / "whole")

    model, step, data, validate = toy(tmp_path / "stopped")
    calls = []

    def stopping(model):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(model)

    with pytest.raises(KeyboardInterrupt):
        fit(model, step, data, stopping, schedule, tmp_path / "stopped")
    # Only the files are left: another network, other batches.
    model, step, data, validate = toy(tmp_path / "stopped", seed=9)
    resumed = fit(model, step, data, validate, schedule, tmp_path / "stopped")
    assert resumed["loss"].tolist() == history["loss"].tolist()
    assert resumed["map"].tolist() == history["map"].tolist()
    assert_same(model, whole.state_dict())
