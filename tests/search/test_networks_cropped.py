"""Pictures cut to their product's box, and the activations of what is inside."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pictures import picture
from PIL import Image
from torch import nn

from shoplens.data.catalogue import BOX, Catalogue
from shoplens.data.images import warp
from shoplens.search.networks import FrozenTrunk, crop_maps, cropped_activations

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

# --- boxes --------------------------------------------------------------------------------------------------------

BOXES = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.75, 1], [0.1, 0.2, 0.9, 0.3], [0.6, 0.05, 0.7, 0.95]])


def test_a_box_is_stretched_over_the_whole_picture():
    """Each pixel of these pictures says where it is, as fractions: across in the first channel, down in the second."""
    size = 64
    at = (torch.arange(size) + 0.5) / size
    where = torch.stack([at.expand(size, size), at[:, None].expand(size, size), torch.zeros(size, size)])
    warped = warp(where.expand(len(BOXES), -1, -1, -1), crop_maps(BOXES))
    for one, (left, top, right, bottom) in zip(warped, BOXES.tolist(), strict=True):
        for channel, low, high in ((0, left, right), (1, top, bottom)):
            expected = (low + at * (high - low)).clamp(at[0], at[-1])       # half a pixel at the rim repeats the border
            expected = expected.expand(size, size) if channel == 0 else expected[:, None].expand(size, size)
            torch.testing.assert_close(one[channel], expected.float(), atol=1e-5, rtol=0)


def test_the_full_box_changes_nothing():
    images = torch.rand(3, 3, 17, 17)
    warped = warp(images, crop_maps(np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))))
    torch.testing.assert_close(warped, images, atol=1e-5, rtol=0)


def test_what_the_box_holds_is_what_is_seen():
    """Four colours inside the box, a fifth around it, which must be gone."""
    image = torch.full((1, 3, 40, 40), 9.0)
    for colour, (top, left) in enumerate([(4, 10), (4, 20), (14, 10), (14, 20)]):
        image[:, :, top:top + 10, left:left + 10] = colour
    warped = warp(image, crop_maps(np.array([[10 / 40, 4 / 40, 30 / 40, 24 / 40]])))[0, 0]
    for colour, (top, left) in enumerate([(0, 0), (0, 20), (20, 0), (20, 20)]):
        np.testing.assert_allclose(warped[top + 2:top + 18, left + 2:left + 18], colour, atol=1e-4)
    assert warped[1:-1, 1:-1].max() < 3.001

# --- activations of what is inside --------------------------------------------------------------------------------

SIZE, COUNT = 8, 70         # more than a batch; pictures have twice the side


@pytest.fixture
def pixels() -> np.ndarray:
    return np.stack([picture(2 * SIZE, 2 * SIZE, seed=i) for i in range(COUNT)])


@pytest.fixture
def corners() -> np.ndarray:
    """Left and top of each product's box, which takes half of either side; in whole pixels."""
    return np.random.default_rng(0).integers(0, SIZE + 1, (COUNT, 2))


@pytest.fixture
def catalogue(scratch_root, pixels, corners) -> Catalogue:
    """A box for every image but the third."""
    ids = [f"i{i:02}" for i in range(COUNT)]
    (scratch_root / "pictures").mkdir()
    for name, one in zip(ids, pixels, strict=True):
        Image.fromarray(one).save(scratch_root / "pictures" / f"{name}.png")
    boxes = np.concatenate([corners, corners + SIZE], axis=1) / (2 * SIZE)
    boxes[2] = np.nan
    table = pd.DataFrame(boxes, columns=BOX).assign(image_id=ids, path=[f"{i}.png" for i in ids],
                                                    leaf=[f"leaf{i % 5}" for i in range(COUNT)])
    return Catalogue.build("toy", scratch_root / "pictures", table, layers=["leaf"], attributes=[], licence="none")


@pytest.fixture
def trunk() -> FrozenTrunk:
    """A frozen part that hands on what it sees, as a convolution."""
    same = nn.Conv2d(3, 3, 1, bias=False)
    with torch.no_grad():
        same.weight.copy_(torch.eye(3)[:, :, None, None])
    recipe, backbone = SimpleNamespace(image_size=SIZE), SimpleNamespace(mean=MEAN, std=STD)
    return FrozenTrunk(recipe, backbone, same, None, None, None, None)


def _enlarged_and_averaged(image: np.ndarray, left: int, top: int) -> np.ndarray:
    """By hand: linear interpolation between pixels at ¼ and ¾, the mean of the two; beyond the picture its border."""
    weights, last = {-1: 0.125, 0: 0.75, 1: 0.125}, 2 * SIZE - 1
    averaged = np.zeros((SIZE, SIZE, 3))
    for y in range(SIZE):
        for x in range(SIZE):
            for down, a in weights.items():
                for across, b in weights.items():
                    row, column = (min(max(at, 0), last) for at in (top + y + down, left + x + across))
                    averaged[y, x] += a * b * image[row, column]
    return averaged


def _seen(image: np.ndarray) -> np.ndarray:
    return ((image / 255 - MEAN) / STD).transpose(2, 0, 1)


def test_activations_are_those_of_pictures_cut_by_hand(catalogue, trunk, pixels, corners):
    rows = np.r_[np.arange(69, 2, -1), [0, 1]]
    activations = cropped_activations(catalogue, rows, trunk)
    assert activations[rows].shape == (69, 3, SIZE, SIZE)
    for row in (69, 68, 40, 5, 4, 3, 0, 1):     # of the first batch and of the last
        left, top = corners[row]
        by_hand = _seen(_enlarged_and_averaged(pixels[row], left, top))
        np.testing.assert_allclose(activations[np.array([row])][0], by_hand, atol=2e-4)
    plain = np.stack([_seen(pixels[row][top:top + SIZE, left:left + SIZE])
                      for row, (left, top) in zip(rows, corners[rows], strict=True)])
    others = np.stack([_seen(pixels[row][::2, ::2]) for row in rows])
    assert np.abs(activations[rows] - plain).mean() < 0.15 * np.abs(activations[rows] - others).mean()


def test_an_image_without_a_box_is_seen_whole(catalogue, trunk, pixels):
    """A table of one's own may leave the cells of a box empty."""
    activations = cropped_activations(catalogue, np.array([5, 2]), trunk)[np.array([2])][0]
    whole = pixels[2].reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(activations, _seen(whole), atol=2e-4)


def test_a_catalogue_without_boxes_has_nothing_to_cut(catalogue, trunk):
    bare = Catalogue.build("bare", catalogue.folder, catalogue.images.drop(columns=BOX), layers=["leaf"],
                           attributes=[], licence="none")
    with pytest.raises(KeyError, match="box_left"):
        cropped_activations(bare, np.arange(3), trunk)
