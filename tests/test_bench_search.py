"""The benchmark of search, at toy size: both sides answer the same question, and the arithmetic holds."""

import numpy as np
import torch
from torch import nn

from shoplens.bench_search import bench_index, bench_mining, bench_stored, on_paper, synthetic_features


def test_features_are_the_same_however_often_they_are_drawn():
    once = np.concatenate([told for _, told in synthetic_features(300, 16, chunk=100)])
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


def test_mining_and_stored_activations_report_both_sides():
    assert set(bench_mining(300, 20, 16, 5)) == {"ours", "plain loop"}
    frozen, model = nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten())
    told = bench_stored(frozen, model, torch.rand(70, 3, 8, 8), repeats=1)
    assert set(told) == {"stored activations", "whole network"}


def test_the_papers_gallery_in_gibibytes():
    # 3,195,334 × 32,768 × 4 bytes is 419 GB, 390 of the gibibytes that machines count.
    assert "390 GiB" in on_paper()
    assert "0.8 GiB" in on_paper()
