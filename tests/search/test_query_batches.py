"""Epochs of mined queries, their memory and how processes share them."""

import copy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shoplens.data.images import ImageStore
from shoplens.models.netvlad import Descriptor, NetVLAD, NetVLADInit
from shoplens.search.activations import FeaturesOnDemand
from shoplens.search.losses import ranking_loss
from shoplens.search.mining import Memory, Mining
from shoplens.search.protocols import SearchProtocol, SearchSplit
from shoplens.search.query_batches import QueryBatches, memory_bill
from shoplens.search.scoring import score
from shoplens.training import Schedule, fit

ITEMS = np.repeat(np.arange(12), 6)
ROWS = np.arange(72)
QUERIES, GALLERY = ROWS[::2], ROWS[ROWS % 3 != 0]       # 24 rows are both


class Block(nn.Sequential):
    """A layer with dropout, so that features of a network in training mode would show."""

    def __init__(self):
        super().__init__(nn.Conv2d(4, 6, 1), nn.Dropout(0.5))


def _maps() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(12, 4, 3, 3))[ITEMS] + 1.5 * rng.normal(size=(72, 4, 3, 3))).astype(np.float32)


def _model(seed=0) -> Descriptor:
    torch.manual_seed(seed)
    return Descriptor(Block(), NetVLAD(NetVLADInit(torch.randn(3, 6), 2.0, torch.ones(6) / 6**0.5), "v1", "relu"))


def _mining(**changes) -> Mining:
    return Mining(ITEMS, GALLERY, **({"sampled": 12, "hard_negatives": 4, "ambiguous_positives": 2} | changes))


def _batches(model=None, **changes) -> QueryBatches:
    known = {"model": model or _model(), "maps": _maps(), "indices": QUERIES, "mining": _mining(), "batch_size": 5,
             "store": ImageStore(np.zeros((72, 8, 8, 3), np.uint8), Path("unused"), "digest"),
             "interval": 10, "watch": tuple(ROWS.tolist())}
    return QueryBatches(**(known | changes))


def _rows_of(batch: dict) -> list[tuple]:
    """Row numbers behind each query's triplets, recognised by the activations themselves: of each query, in the order
    asked, its triplets of Eq. 3 and of Eq. 4."""
    row_of = {maps.tobytes(): row for row, maps in enumerate(_maps())}
    rows = [row_of[maps.contiguous().numpy().tobytes()] for maps in batch["activations"]]
    assert len(set(rows)) == len(rows)
    assert batch["labels"].tolist() == ITEMS[rows].tolist()
    triplets = [[tuple(rows[i] for i in triplet) for triplet, eq4 in zip(batch["triplets"], batch["ambiguous"],
                                                                       strict=True) if eq4 == kind] for kind in (0, 1)]
    return [(query, *([t for t in kind if t[0] == query] for kind in triplets)) for query in batch["indices"].tolist()]


def _plain(mined) -> list[tuple]:
    return [(c.query, [(c.query, c.positive, n) for n in c.hard_negatives.tolist()],
             [(c.query, p, c.nearest_negative) for p in c.ambiguous_positives.tolist()]) for c in mined]


def _squared(features, queries) -> np.ndarray:
    return ((features[queries][:, None] - features[GALLERY])**2).sum(-1)


def _all_rows(batches: QueryBatches, epoch: int, *share) -> list[tuple]:
    return [one for batch in batches.epoch(epoch, "cpu", *share) for one in _rows_of(batch)]


def _features(model) -> np.ndarray:
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return model(torch.from_numpy(_maps())).numpy()


def test_an_epoch_asks_every_query_once():
    orders = []
    for epoch in (0, 1, 0):
        batches = list(_batches().epoch(epoch))
        assert max(len(batch["indices"]) for batch in batches) == 5
        assert all(batch["loss_scale"] == 1 for batch in batches)
        orders.append(torch.cat([batch["indices"] for batch in batches]).tolist())
        assert sorted(orders[-1]) == QUERIES.tolist()
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != [q for b in _batches(seed=1).epoch(0) for q in b["indices"].tolist()]


def test_fewer_queries_an_epoch_are_drawn_anew_but_for_the_watched():
    watched, every = int(QUERIES[3]), _batches()
    few = _batches(queries_per_epoch=13, watch=(watched,))
    epochs = [[q for b in few.epoch(epoch) for q in b["indices"].tolist()] for epoch in range(3)]
    for epoch, asked in enumerate(epochs):
        order = [q for b in every.epoch(epoch) for q in b["indices"].tolist()]
        first = [q for q in order if q != watched][:12]
        assert asked == [q for q in order if q in first or q == watched]
    assert len({frozenset(asked) for asked in epochs}) == 3
    assert [(epoch, c.query) for epoch, _, c in few.mined_log] == [(0, watched), (1, watched), (2, watched)]


def test_means_of_an_epoch_are_over_the_queries_it_asked(tmp_path):
    """A bound on queries an epoch changes no mean: by hand over the batches of the same epoch, weights untouched."""
    hand = list(_batches(queries_per_epoch=13, seed=0).epoch(0))
    expected = sum(len(b["triplets"]) for b in hand) / 13
    data = _batches(queries_per_epoch=13)
    schedule = Schedule(1, 1e-12, (), precision="no", select="map")
    history = fit(data.model, lambda m, b: ranking_loss(m(b["activations"]), b["triplets"], b["ambiguous"],
                                                        len(b["indices"])), data,
                  lambda m: {"map": 0.5}, schedule, tmp_path / "checkpoint")
    means = history.iloc[0]
    assert means["triplets"] == pytest.approx(expected, rel=1e-6)
    assert means["images_per_second"] == pytest.approx(13 / means["seconds"], rel=1e-6)


def test_positions_stand_for_the_rows_that_were_mined():
    """Mined by hand at once: no refresh inside the epoch, all with the features of the network in eval mode."""
    batches = _batches(interval=1000, seed=4)
    drawn = list(batches.epoch(0))
    order = np.concatenate([batch["indices"].numpy() for batch in drawn])
    mined = _mining().mine(order, _squared(_features(batches.model), order), Memory(), (4, 0, 0))
    assert [one for batch in drawn for one in _rows_of(batch)] == _plain(mined)
    for batch in drawn:
        mine = [c for c in mined if c.query in batch["indices"]]
        used = {row for c in mine for row in (c.query, c.positive, *c.hard_negatives, c.nearest_negative,
                                              *c.ambiguous_positives)}
        assert len(batch["activations"]) == len(used)
    assert _plain(c for _, _, c in batches.mined_log) == _plain(mined)


def test_queries_after_a_refresh_are_mined_with_the_weights_of_that_moment():
    batches = _batches()
    batches.model.train()
    stale, weights = _features(batches.model), {}
    for batch in batches.epoch(0):
        assert batches.model.training
        start = batches.mined_log[-1][1]
        weights.setdefault(start, _features(batches.model))
        with torch.no_grad():
            for p in batches.model.parameters():
                p.add_(torch.randn_like(p))
        assert len(batch["indices"])
    starts = [0, 10, 20, 30]
    assert list(weights) == starts
    order, memory = [c.query for _, _, c in batches.mined_log], Memory()
    by_hand, with_the_first = [], []
    for start in starts:
        part = np.array(order[start:start + 10])
        by_hand += _mining().mine(part, _squared(weights[start], part), memory, (0, 0, start))
        with_the_first += _mining().mine(part, _squared(stale, part), Memory(), (0, 0, start))
    assert _plain(c for _, _, c in batches.mined_log) == _plain(by_hand)
    assert _plain(by_hand)[:10] == _plain(with_the_first)[:10]
    assert _plain(by_hand)[10:] != _plain(with_the_first)[10:]


def test_the_interval_doubles_after_the_epochs_named():
    batches = _batches(halve_every=2, watch=(0,))
    for epoch in range(5):
        assert len(list(batches.epoch(epoch))) > 0
    every = _batches(halve_every=2)
    starts = []
    for epoch in range(5):
        list(every.epoch(epoch))
        starts.append(sorted({start for e, start, _ in every.mined_log if e == epoch}))
    assert starts == [[0, 10, 20, 30]] * 2 + [[0, 20]] * 2 + [[0]]
    assert [epoch for epoch, _, c in batches.mined_log if c.query == 0] == list(range(5))
    assert {c.query for _, _, c in batches.mined_log} == {0}


# --- memory and interruption --------------------------------------------------------------------------------------


def test_memory_outlives_an_epoch():
    batches, memory = _batches(interval=1000), Memory()
    features, forgetful = _features(batches.model), 0
    for epoch in range(3):
        asked = _all_rows(batches, epoch)
        order = np.array([one[0] for one in asked])
        assert asked == _plain(_mining().mine(order, _squared(features, order), memory, (0, epoch, 0)))
        forgetful += asked != _plain(_mining().mine(order, _squared(features, order), Memory(), (0, epoch, 0)))
    assert forgetful == 2
    assert sorted(batches.state_dict()["memory"]) == [2, 3]     # of the last epoch, and for the next


@pytest.mark.parametrize("stopped", ["between epochs", "amid an epoch", "before the checkpoint"])
def test_a_resumed_training_mines_what_an_undisturbed_one_does(tmp_path, stopped):
    undisturbed = _batches()
    whole = [_all_rows(undisturbed, epoch) for epoch in range(3)]
    first = _batches()
    assert _all_rows(first, 0) == whole[0]
    torch.save(first.state_dict(), tmp_path / "checkpoint")
    if stopped == "amid an epoch":
        for _, batch in zip(range(3), first.epoch(1), strict=False):
            assert len(batch["indices"])
    if stopped == "before the checkpoint":
        assert _all_rows(first, 1) == whole[1]
    again, after = _batches(), _batches()
    again.load_state_dict(torch.load(tmp_path / "checkpoint", weights_only=True))
    assert [_all_rows(again, epoch) for epoch in (1, 2)] == whole[1:]
    after.load_state_dict(again.state_dict())       # all epochs done, killed while the notebook drew its figures
    for resumed in (again, after):
        assert [e for e, *_ in resumed.mined_log] == [e for e, *_ in undisturbed.mined_log]
        assert _plain(c for _, _, c in resumed.mined_log) == _plain(c for _, _, c in undisturbed.mined_log)
    assert after.mined_log[0][2].positive_rank == undisturbed.mined_log[0][2].positive_rank
    # All but the refresh right after the stop, whose predecessor's features are gone.
    assert set(after.drift) == set(undisturbed.drift) - {undisturbed.drift[3]}


def test_an_epoch_begun_again_mines_the_same():
    batches = _batches()
    assert _all_rows(batches, 0) == _all_rows(batches, 0)
    assert _all_rows(batches, 1) == _all_rows(batches, 1)


# --- several processes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_one_alone_gets(world):
    alone = _batches()
    ranks = [_batches() for _ in range(world)]
    for epoch in range(2):
        whole = list(alone.epoch(epoch))
        parts = [list(one.epoch(epoch, "cpu", rank, world)) for rank, one in enumerate(ranks)]
        for batch, *mine in zip(whole, *parts, strict=True):
            expected = _rows_of(batch)
            for rank, part in enumerate(mine):
                assert _rows_of(part) == expected[rank::world]
                assert part["loss_scale"] == pytest.approx(len(expected[rank::world]) * world / len(expected))
            # What shares are for: the average of weighted means is the mean over the whole batch.
            means = [part["indices"].double().mean() * part["loss_scale"] for part in mine]
            assert float(sum(means)) / world == pytest.approx(batch["indices"].double().mean().item())


def test_a_batch_that_cannot_be_shared_is_refused_by_every_process():
    for rank in range(3):
        with pytest.raises(ValueError, match="a batch of 2 cannot be shared by 3 processes"):
            list(_batches(batch_size=2).epoch(0, "cpu", rank, 3))


# --- memory of the machine ----------------------------------------------------------------------------------------


class Wide(nn.Module):
    """8,000 numbers of unit length from 36."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(36, 8000)

    def forward(self, maps):
        return nn.functional.normalize(self.layer(maps.flatten(1)), dim=1)


@pytest.mark.parametrize("job", ["mining", "scoring"])
def test_the_bill_is_what_is_held(job):
    """At the peak, as numpy counts what it holds (torch's own batches, 64 at a time, are not on the bill)."""
    rng, count = np.random.default_rng(0), 3000
    maps, items = rng.normal(size=(count, 4, 3, 3)).astype(np.float32), rng.integers(0, 300, count)
    split = SearchSplit(np.arange(400), np.arange(500, count))
    model = Wide().eval()
    bill = memory_bill(8000, mined=300, trained=count, scored=400, searched=2500)
    if job == "mining":
        needed = (bill["features of queries"] * 300 / 400 + bill["distances of mined queries"]
                  + bill["features watched for drift"] / 2)     # of now; there are none of before
        batches = _batches(model, maps=maps, indices=ROWS, mining=Mining(items, np.arange(count)), interval=300)
        tracemalloc.start()
        batches._mine(np.arange(300), 0, 0, Memory())
    else:
        needed = bill["features of queries"] + bill["features of parts of a gallery"]
        tracemalloc.start()
        score(FeaturesOnDemand(model, maps), SearchProtocol("items", items, {"test": split}), "test")
    peak = tracemalloc.get_traced_memory()[1] / 2**30
    tracemalloc.stop()
    assert 0.8 * needed < peak < 1.25 * needed
    assert needed <= sum(bill.values())
