"""Batches of products: every image once an epoch, pairs in every batch, shares of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from shoplens.data.images import ImageStore
from shoplens.search.product_batches import ProductBatches

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), [4, 9, 8, 5, 1, 8, 3, 12, 8, 2]))
INDICES = np.flatnonzero(np.arange(60) % 6 > 0)
MAPS = np.arange(60, dtype=np.float32)[:, None].repeat(3, 1)
STORE = ImageStore(np.zeros((60, 4, 4, 3), np.uint8), Path("unused"), "digest")


def _batches(**changes) -> ProductBatches:
    return ProductBatches(MAPS, INDICES, LABELS, STORE, **({"products": 3, "each": 4} | changes))


def test_an_epoch_shows_every_training_image_once():
    orders = []
    for epoch in (0, 1, 0):
        batches = list(_batches().epoch(epoch))
        rows = torch.cat([batch["indices"] for batch in batches]).tolist()
        assert sorted(rows) == INDICES.tolist()
        assert all(batch["loss_scale"] == 1 and len(batch["indices"]) <= 12 for batch in batches)
        orders.append(rows)
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != torch.cat([batch["indices"] for batch in _batches(seed=1).epoch(0)]).tolist()
    assert _batches().batch_size == 12


def test_activations_and_labels_are_those_of_the_rows():
    for batch in _batches().epoch(3):
        rows = batch["indices"].numpy()
        assert batch["labels"].tolist() == LABELS[rows].tolist()
        assert batch["activations"].tolist() == MAPS[rows].tolist()


def test_groups_hold_one_product_and_no_single_image_where_it_has_more():
    for epoch in range(5):
        for groups in _batches().plan(epoch):
            assert 2 <= len(groups) <= 3
            for group in groups:
                own = LABELS[group]
                assert len(set(own)) == 1
                assert len(group) <= 4
                assert len(group) > 1 or (LABELS[INDICES] == own[0]).sum() == 1


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_what_one_alone_gets(world):
    alone = list(_batches(products=4).epoch(1))
    parts = [list(_batches(products=4).epoch(1, "cpu", rank, world)) for rank in range(world)]
    for whole, *mine in zip(alone, *parts, strict=True):
        rows = torch.cat([part["indices"] for part in mine])
        assert sorted(rows.tolist()) == sorted(whole["indices"].tolist())
        means = [part["indices"].double().mean() * part["loss_scale"] for part in mine]
        assert float(sum(means)) / world == pytest.approx(whole["indices"].double().mean().item())


def test_what_makes_no_pairs_is_refused():
    with pytest.raises(ValueError, match="PRODUCTS 1 and EACH 4"):
        _batches(products=1)
    with pytest.raises(ValueError, match="PRODUCTS 3 and EACH 1"):
        _batches(each=1)
    with pytest.raises(ValueError, match="cannot be shared by 9 processes: raise PRODUCTS"):
        list(_batches().epoch(0, "cpu", 0, 9))
