"""The benchmark of search, at toy size: both sides answer the same question, and the arithmetic holds."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import search
from benchmarks.search import Recomputed, bench_epoch, bench_index, bench_mining, on_paper, synthetic_features
from shoplens.data.images import ImageStore, normalise
from shoplens.models.netvlad import Descriptor, NetVLAD, NetVLADInit


def test_features_are_the_same_however_often_they_are_drawn():
    once = np.concatenate([features for _, features in synthetic_features(300, 16, chunk=100)])
    again = dict(zip(range(3), synthetic_features(300, 16, chunk=100), strict=True))
    np.testing.assert_array_equal(once[200:], again[2][1])
    np.testing.assert_array_equal(again[2][0], np.arange(200, 300))
    np.testing.assert_allclose(np.linalg.norm(once, axis=1), 1, rtol=1e-5)


def test_both_searches_answer_and_the_approximate_one_finds_most():
    table = bench_index(4000, 32, queries=20, factory="IVF16,SQ8", probes=16)
    assert set(table) == {"exact, streamed", "approximate"}
    assert table["exact, streamed"]["recall"] == 1
    assert table["approximate"]["recall"] > 0.9
    assert all(side["milliseconds"] > 0 and side["peak_gib"] > 0 for side in table.values())


def test_mining_reports_both_sides():
    assert set(bench_mining(300, 20, 16, 5)) == {"ours", "plain loop"}


def test_all_ways_train_the_same_network(monkeypatch):
    rng = np.random.default_rng(0)
    store = ImageStore(rng.integers(0, 256, (70, 16, 16, 3), dtype=np.uint8), Path("unused"), "digest")
    frozen, trained = nn.Conv2d(3, 4, 3).eval(), []
    start = NetVLADInit(torch.randn(3, 5), 2.0, torch.ones(5) / 5**0.5)
    model = Descriptor(nn.Conv2d(4, 5, 3), NetVLAD(start))
    kept = copy.deepcopy

    def remembered(original):
        trained.append(kept(original))
        return trained[-1]

    monkeypatch.setattr(search.copy, "deepcopy", remembered)
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    rates = bench_epoch(frozen, model, store, np.arange(70) % 7, np.arange(20), np.arange(70), mean, std, interval=8)
    assert set(rates) == {"describing", "notebook 09", "as written first", "whole network each time"}
    assert all(rate > 0 for rate in rates.values())
    ours, plain, through = (one.state_dict() for one in trained)
    for name, value in through.items():
        torch.testing.assert_close(plain[name], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-4)       # from activations in half precision
    assert not torch.equal(ours["block.weight"], model.state_dict()["block.weight"])
    one = frozen(normalise(store.images(np.array([3, 69])), mean, std)).detach().numpy()
    np.testing.assert_allclose(Recomputed(frozen, store, mean, std)[np.array([3, 69])], one, rtol=1e-5, atol=1e-6)


def test_the_papers_gallery_on_paper():
    # 3,195,334 × 32,768 × 4 bytes is 419 GB, 390 of the gibibytes that machines count; a product and a sum for each
    # number are 209 GFLOP; 3,195,334 images at 1,000 a second take 53 minutes.
    text = on_paper(gflops=209.4, rate=1000)
    for expected in ("390 GiB", "195 in float16", "209 GFLOP a query, 1.00 s", "0.8 GiB", "0.9 h"):
        assert expected in text
    assert " h " not in on_paper(gflops=100)
