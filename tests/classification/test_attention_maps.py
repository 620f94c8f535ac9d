"""Measures of where a map looks, against loops, closed forms and maps whose answer is known."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from shoplens.classification import attention_maps
from shoplens.models.attention import centre_prior


def test_pointing_game_equals_a_loop(rng):
    maps = rng.integers(0, 4, (60, 3, 3)).astype(float)         # ties in most of them
    masks = rng.random((60, 3, 3)) < 0.5
    expected = []
    for attention, mask in zip(maps, masks, strict=True):
        best = max(attention.flatten())
        on = [bool(mask[y, x]) for y in range(3) for x in range(3) if attention[y, x] == best]
        expected.append(on.count(True) > on.count(False))
    assert 0 < sum(expected) < 60
    answer = attention_maps.pointing_game(maps, masks)
    assert answer.dtype == bool
    assert answer.tolist() == expected


def test_pointing_game_by_hand():
    mask = np.array([[[True, False], [False, False]]])
    single, tie, flat = np.array([[[3, 1], [1, 1]]]), np.array([[[3, 3], [1, 1]]]), np.zeros((1, 2, 2))
    assert attention_maps.pointing_game(single, mask).tolist() == [True]
    assert attention_maps.pointing_game(tie, mask).tolist() == [False]        # half of the summit is not most of it
    assert attention_maps.pointing_game(tie, ~mask).tolist() == [False]
    # A map of one value points at most of the area.
    assert attention_maps.pointing_game(flat, mask).tolist() == [False]
    assert attention_maps.pointing_game(flat, ~mask).tolist() == [True]


def test_share_inside_equals_a_loop(rng):
    maps, masks = rng.random((20, 4, 4)).astype(np.float32), rng.random((20, 4, 4)) < 0.3
    for attention, mask, share in zip(maps, masks, attention_maps.share_inside(maps, masks), strict=True):
        inside = sum(float(attention[y, x]) for y in range(4) for x in range(4) if mask[y, x])
        assert share == pytest.approx(inside / sum(map(float, attention.flatten())), rel=1e-5)


def test_share_inside_of_maps_with_a_known_answer(rng):
    masks = rng.random((8, 5, 5)) < 0.4
    masks[0], masks[1] = True, False
    np.testing.assert_allclose(attention_maps.share_inside(np.full((8, 5, 5), 0.3), masks), masks.mean(axis=(1, 2)))
    np.testing.assert_array_equal(attention_maps.share_inside(np.zeros((8, 5, 5)), masks), 0)
    maps = rng.random((8, 5, 5))
    np.testing.assert_allclose(attention_maps.share_inside(maps, masks) + attention_maps.share_inside(maps, ~masks), 1)
    np.testing.assert_allclose(attention_maps.share_inside(7 * maps, masks), attention_maps.share_inside(maps, masks))
    np.testing.assert_array_equal(attention_maps.share_inside(masks[2:].astype(float), masks[2:]), 1)


def test_enlarged_constants_are_constant_and_the_own_size_changes_nothing(rng):
    enlarged = attention_maps.enlarge(np.full((2, 3, 5), 0.7), 12)
    np.testing.assert_allclose(enlarged, np.full((2, 12, 12), 0.7), rtol=1e-6)
    maps = rng.random((2, 6, 6))
    np.testing.assert_allclose(attention_maps.enlarge(maps, 6), maps, rtol=1e-6)


@pytest.mark.parametrize("times", [3, 4])
def test_an_enlarged_peak_stays_in_its_cell(times):
    maps = np.eye(9).reshape(9, 3, 3)       # the peak at each of the nine cells
    for cell, large in enumerate(attention_maps.enlarge(maps, 3 * times)):
        y, x = cell // 3, cell % 3
        for row, column in np.argwhere(large == large.max()):
            assert (row // times, column // times) == (y, x)
        away = [large[r, c] for r in range(3 * times) for c in range(3 * times)
                if max(abs(r // times - y), abs(c // times - x)) > 1]
        assert not any(away)


def test_bilinear_by_hand():
    # Two cells to four pixels: centres at a quarter and three quarters of a cell.
    large = attention_maps.enlarge(np.array([[[0.0, 1.0], [0.0, 1.0]]]), 4)
    np.testing.assert_allclose(large[0], np.tile([0, 0.25, 0.75, 1], (4, 1)))


@pytest.mark.parametrize("size", [7, 8])
def test_centre_prior_is_symmetric_and_falls_from_the_middle(size):
    prior = centre_prior(size, size).numpy()
    for other in (prior.T, prior[::-1], prior[:, ::-1]):
        np.testing.assert_allclose(prior, other, rtol=1e-6)
    middle = [(size - 1) // 2, size // 2]
    assert {tuple(place) for place in np.argwhere(prior == prior.max())} == {(y, x) for y in middle for x in middle}
    assert (np.diff(prior[:, middle[0]][: size // 2]) > 0).all()
    for y in range(size):
        for x in range(size):
            far = ((y + 0.5) / size - 0.5) ** 2 + ((x + 0.5) / size - 0.5) ** 2
            assert prior[y, x] == pytest.approx(math.exp(-far / (2 * 0.25**2)), rel=1e-5)


@pytest.mark.parametrize("spread", [0.1, 0.25, 1.0])
def test_centre_prior_sums_to_the_integral_of_the_bell(spread):
    side = spread * math.sqrt(2 * math.pi) * math.erf(0.5 / (spread * math.sqrt(2)))
    assert float(centre_prior(200, 200, spread).mean()) == pytest.approx(side**2, rel=1e-4)


def test_half_of_the_centre_prior_lies_on_half_of_the_picture():
    left = np.zeros((1, 8, 8), bool)
    left[:, :, :4] = True
    assert attention_maps.share_inside(centre_prior(8, 8).numpy()[None], left) == pytest.approx(0.5)


def test_activation_energy_equals_a_loop():
    torch.manual_seed(0)
    maps = torch.randn(2, 5, 3, 4)
    energy = attention_maps.activation_energy(maps)
    assert energy.shape == (2, 3, 4)
    for b in range(2):
        for y in range(3):
            for x in range(4):
                assert energy[b, y, x].item() == pytest.approx(sum(maps[b, c, y, x].item() ** 2 for c in range(5)),
                                                               rel=1e-5)


def _files(folder, masks):
    files = [folder / f"{i}.png" for i in range(len(masks))]
    for file, mask in zip(files, masks, strict=True):
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(file)
    return files


def test_masks_are_read_as_they_were_written(rng, tmp_path):
    masks = rng.random((3, 6, 6)) < 0.5
    read = attention_maps.load_masks(_files(tmp_path, masks), 6)
    assert read.dtype == bool
    np.testing.assert_array_equal(read, masks)


def test_masks_of_any_shape_become_squares(rng, tmp_path):
    small = rng.random((4, 4)) < 0.5
    tall, wide = small.repeat(3, axis=0), small.repeat(2, axis=1)
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    read = attention_maps.load_masks(_files(tmp_path, [tall, wide, large, small]), 4)
    np.testing.assert_array_equal(read, np.stack([small] * 4))
    np.testing.assert_array_equal(attention_maps.load_masks(_files(tmp_path, [small]), 8)[0], large)


def test_most_of_a_cell_decides(tmp_path):
    few, most = np.array([[True, False], [False, False]]), np.array([[True, True], [False, True]])
    read = attention_maps.load_masks(_files(tmp_path, [np.block([[few, most], [most, few]])]), 2)
    np.testing.assert_array_equal(read[0], [[False, True], [True, False]])
