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
from shoplens.search.activations import TooMuch, check_fits, extract, features_of, gibibytes, store_activations
from shoplens.search.losses import ranking_loss
from shoplens.search.mining import Mining
from shoplens.search.nearest import in_chunks, search_exact
from shoplens.search.protocols import SearchSplit
from shoplens.search.query_batches import QueryBatches
from shoplens.statistics.average_precision import average_precision
from shoplens.training import Schedule, fit, pick_device

PRODUCTS, EACH = 12, 6
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
    assert (maps.dtype, maps.shape) == (np.float32, (72, 32, 4, 4))
    assert not frozen.training
    again = store_activations(frozen, _data(pixels, rows, batch_size=7), "net")
    assert len(passes) == 3
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(again, maps)
    assert not maps[:5].any()
    assert not maps[45:].any()
    images = (torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2).double() / 255 - 0.5) / 0.25
    with torch.no_grad():
        by_hand = copy.deepcopy(frozen).cpu().double()(images)
    np.testing.assert_allclose(maps[rows], by_hand.numpy(), atol=1e-3 if pick_device().type != "cpu" else 1e-5)


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
    assert store_activations(frozen, _data(pixels), "net")[-1].any()


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
    # Convolutions of maps in another memory order, or of other batches, may differ in the last of 24 bits.
    np.testing.assert_allclose(extract(model, maps, ROWS), whole, rtol=0, atol=2e-7)
    some = np.array([71, 3, 3, 40])
    np.testing.assert_allclose(extract(model, maps, some, batch_size=3), whole[some], rtol=0, atol=2e-7)
    with torch.no_grad():
        alike = [model(frozen(batch["images"]).contiguous()) for batch in data.epoch(None)]
    parts = [extract(model, maps, rows) for rows in data.plan(None)]
    assert all(np.array_equal(ours, theirs.numpy()) for ours, theirs in zip(parts, alike, strict=True))


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
        start = initialise(descriptors(block.eval()(torch.tensor(maps))).flatten(0, 1).numpy(), 4)
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
            return ranking_loss(model(batch["activations"]), batch["candidates"])

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
