"""Augmentation and batches against loops, hand-cut windows and closed forms."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pictures import picture, picture_files

from shoplens.data.images import Augmentation, Batches, ImageStore, normalise, open_store, relight, resize, warp

# --- augmentation -------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures() -> torch.Tensor:
    """float32 6×3×16×16 in [0, 1]."""
    return torch.from_numpy(np.stack([picture(16, 16, seed=i) for i in range(6)])).permute(0, 3, 1, 2) / 255


def test_identity_parameters_give_the_picture_back(pictures):
    theta, light = Augmentation(crop=1, aspect=1, mirror=0, turn=0).draw(6, (0, 0, 0))
    torch.testing.assert_close(theta, torch.eye(2, 3).expand(6, 2, 3))
    assert torch.equal(light, torch.ones(6, 2))
    torch.testing.assert_close(warp(pictures, theta), pictures, atol=1e-5, rtol=0)


def test_mirror_is_a_left_right_flip(pictures):
    theta, _ = Augmentation(crop=1, aspect=1, mirror=1, turn=0).draw(6, (0, 0, 0))
    torch.testing.assert_close(warp(pictures, theta), pictures.flip(-1), atol=1e-5, rtol=0)


def test_crop_is_the_hand_cut_window_enlarged(pictures):
    # Half the side, centred right of the middle and below: columns 8 to 15, rows 6 to 13.
    theta = torch.tensor([[0.5, 0, 0.5], [0, 0.5, 0.25]]).expand(6, 2, 3)
    by_hand = F.interpolate(pictures[:, :, 6:14, 8:16], size=16, mode="bilinear", align_corners=False)
    # The outermost pixels blend with what lies next to the window, which the hand-cut window no longer has.
    torch.testing.assert_close(warp(pictures, theta)[..., 1:-1, 1:-1], by_hand[..., 1:-1, 1:-1], atol=1e-5, rtol=0)
    # At the picture's right edge there is nothing to blend with: the border repeats.
    torch.testing.assert_close(warp(pictures, theta)[..., 1:-1, -1], by_hand[..., 1:-1, -1], atol=1e-5, rtol=0)


def test_drawn_maps_sample_where_a_loop_says(pictures):
    theta, _ = Augmentation(crop=0.4, aspect=1.3, mirror=0.5, turn=0.2).draw(6, (3, 1, 4))
    warped, size = warp(pictures, theta), 16
    for n, row, column in ((0, 3, 5), (1, 8, 8), (4, 12, 2), (5, 6, 14)):
        x, y = (2 * column + 1) / size - 1, (2 * row + 1) / size - 1
        u, v = (theta[n].double() @ torch.tensor([x, y, 1.0], dtype=torch.float64)).tolist()
        u, v = (min(max((t + 1) * size / 2 - 0.5, 0), size - 1) for t in (u, v))
        left, top = min(int(u), size - 2), min(int(v), size - 2)
        a, b = u - left, v - top
        corner = pictures[n, :, top:top + 2, left:left + 2].double()
        expected = ((1 - b) * ((1 - a) * corner[:, 0, 0] + a * corner[:, 0, 1])
                    + b * ((1 - a) * corner[:, 1, 0] + a * corner[:, 1, 1]))
        torch.testing.assert_close(warped[n, :, row, column].double(), expected, atol=1e-4, rtol=0)


def test_window_stays_inside_and_has_the_size_and_shape_asked_for():
    theta = Augmentation(crop=0.4, aspect=1.5, mirror=0.5, turn=0).draw(3000, (1,))[0].numpy()
    corners = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)])
    reached = theta @ corners.T
    assert np.abs(reached).max() <= 1 + 1e-6
    assert np.abs(reached).max() > 0.99      # and it does come close to the border
    assert (theta[:, [0, 1], [1, 0]] == 0).all()
    across, down = np.abs(theta[:, 0, 0]).astype(float), theta[:, 1, 1].astype(float)
    inside = (across < 1) & (down < 1)      # where the picture's edge cut nothing off
    area, ratio = (across * down)[inside], np.log(across / down)[inside]
    assert area.min() == pytest.approx(0.4, abs=0.005)
    assert area.max() < 1
    for sign in (1, -1):
        assert (sign * ratio).max() == pytest.approx(np.log(1.5), abs=0.01)


def test_share_of_mirrored_pictures_and_size_of_deformation():
    theta = Augmentation(crop=1, aspect=1, mirror=0.3, turn=0.2).draw(4000, (2,))[0].double()
    mirrored = torch.det(theta[:, :, :2]) < 0
    assert mirrored.double().mean() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 4000) ** 0.5)
    # A horizontal edge turns by the rotation, a vertical one leans by the shear.
    turn = (theta[:, 1, 0] / theta[:, 0, 0]).atan().abs()
    lean = (theta[:, 0, 1] / theta[:, 0, 0].abs()).abs()
    for angle in (turn, lean):
        assert 0.18 < angle.max() < 0.25
        assert angle.median() > 0.05


def test_a_crop_comes_out_at_the_size_asked_for(pictures):
    """P1 §4.2: cut first, then resize. The middle half of 16 pixels at 8 is those 8 pixels."""
    theta = torch.tensor([[0.5, 0, 0], [0, 0.5, 0]]).expand(6, 2, 3)
    torch.testing.assert_close(warp(pictures, theta, 8), pictures[:, :, 4:12, 4:12], atol=1e-5, rtol=0)


def test_light_by_hand(pictures):
    images, light = pictures * 255, torch.tensor([[1.2, 0.7], [0.8, 1.3], [1, 1], [2, 2], [0.5, 1], [1, 0.5]])
    lit = relight(images, light)
    for n, (brightness, contrast) in enumerate(light.tolist()):
        mean = images[n].double().mean()
        expected = ((images[n].double() - mean) * contrast + mean) * brightness
        torch.testing.assert_close(lit[n].double(), expected.clamp(0, 255), atol=1e-3, rtol=0)


def test_drawn_light_covers_what_was_asked_for():
    _, light = Augmentation(light=0.3).draw(4000, (5,))
    assert light.amin(0).tolist() == pytest.approx([0.7, 0.7], abs=0.005)
    assert light.amax(0).tolist() == pytest.approx([1.3, 1.3], abs=0.005)


def test_resizing_averages_what_goes_into_a_pixel(pictures):
    assert resize(pictures, 16) is pictures
    halved = F.interpolate(torch.ones(1, 1, 16, 16).cumsum(3), (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize(torch.ones(1, 1, 16, 16).cumsum(3), 8), halved)
    assert resize(pictures, 8).mean().item() == pytest.approx(pictures.mean().item(), rel=0.01)


def test_normalise_follows_the_formula():
    raw = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    result = normalise(raw, mean, std)
    assert result.dtype == torch.float32
    for channel in range(3):
        expected = (raw[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(result[:, channel].double(), expected, atol=1e-6, rtol=1e-5)


# --- batches ------------------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> ImageStore:
    """23 pictures of 8×8; picture i is made from seed i."""
    return ImageStore(np.stack([picture(8, 8, seed=i) for i in range(23)]), Path("unused"), "digest")


def _batches(store, rows=None, **changes) -> Batches:
    known = {"indices": np.arange(len(store)) if rows is None else rows, "batch_size": 5, "mean": (0.5,) * 3,
             "std": (0.25,) * 3, "targets": {"leaf": np.arange(len(store)) % 4, "root": np.arange(len(store)) % 2}}
    return Batches(store, **(known | changes))


def test_images_come_out_as_they_lie_in_the_store(store):
    tensor = store.images(np.array([4, 1]))
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    for place, row in enumerate((4, 1)):
        np.testing.assert_array_equal(tensor[place].permute(1, 2, 0), store.array[row])


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_row_once_an_epoch_for_any_number_of_processes(store, world):
    rows = np.array([20, 3, 7, 1, 15, 22, 0, 9, 11, 2, 4, 5, 17])       # 13 rows in 3 batches: 5, 4 and 4
    batches = _batches(store, rows)
    alone = list(batches.epoch(2))
    assert sorted(len(b["indices"]) for b in alone) == [4, 4, 5]
    assert sorted(torch.cat([b["indices"] for b in alone]).tolist()) == sorted(rows)
    shared = [list(batches.epoch(2, rank=rank, world=world)) for rank in range(world)]
    for step, whole in enumerate(alone):
        parts = [shared[rank][step] for rank in range(world)]
        sizes = [len(part["indices"]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert sorted(torch.cat([p["indices"] for p in parts]).tolist()) == sorted(whole["indices"].tolist())


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_make_the_average_over_processes_the_mean_of_the_batch(store, world):
    value = torch.arange(23.0) ** 2        # any loss of a picture
    batches = _batches(store)
    for step, whole in enumerate(batches.epoch(0)):
        assert whole["loss_scale"] == 1
        parts = [list(batches.epoch(0, rank=rank, world=world))[step] for rank in range(world)]
        average = sum(value[p["indices"]].mean() * p["loss_scale"] for p in parts) / world
        torch.testing.assert_close(average, value[whole["indices"]].mean())


def test_targets_and_pictures_belong_to_their_rows(store):
    for batch in _batches(store, np.array([22, 5, 13, 8, 1, 19]), augmentation=None).epoch(0):
        rows = batch["indices"].numpy()
        assert batch["leaf"].tolist() == (rows % 4).tolist()
        assert batch["root"].tolist() == (rows % 2).tolist()
        expected = (store.array[rows].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
        np.testing.assert_allclose(batch["images"].numpy(), expected, atol=1e-5)


def test_order_is_shuffled_by_seed_and_epoch_only(store):
    def order(batches, epoch):
        return torch.cat([b["indices"] for b in batches.epoch(epoch)]).tolist()

    batches = _batches(store)
    assert order(batches, 0) == order(_batches(store), 0)
    assert len({tuple(order(batches, epoch)) for epoch in range(5)}) == 5
    assert order(batches, 0) != order(_batches(store, seed=1), 0)
    rows = np.array([9, 2, 14, 3])
    assert order(_batches(store, rows), None) == rows.tolist()


def test_no_epoch_no_augmentation(store):
    plain, augmented = _batches(store), _batches(store, augmentation=Augmentation())
    for one, other in zip(plain.epoch(None), augmented.epoch(None), strict=True):
        torch.testing.assert_close(one["images"], other["images"], atol=0, rtol=0)


def _by_row(batches, epoch, **shard) -> dict[int, torch.Tensor]:
    return {int(row): image for batch in batches.epoch(epoch, **shard)
            for row, image in zip(batch["indices"], batch["images"], strict=True)}


@pytest.mark.parametrize("world", [2, 3])
def test_augmentation_does_not_depend_on_how_work_is_shared(store, world):
    batches = _batches(store, augmentation=Augmentation(crop=0.3, aspect=1.2, turn=0.2, light=0.2))
    alone = _by_row(batches, 4)
    for rank in range(world):
        for row, image in _by_row(batches, 4, rank=rank, world=world).items():
            torch.testing.assert_close(image, alone[row])


def test_augmentation_is_new_each_epoch_and_each_batch(store):
    augmentation = Augmentation(crop=0.3, aspect=1.2, turn=0.2, light=0.2)
    batches = _batches(store, augmentation=augmentation)
    first, again, next_epoch = (_by_row(batches, epoch) for epoch in (0, 0, 1))
    assert all(torch.equal(first[row], again[row]) for row in first)
    assert not any(torch.allclose(first[row], next_epoch[row]) for row in first)
    # The same picture in every place of every batch: no two places may get the same map.
    same = ImageStore(np.repeat(store.array[:1], 23, axis=0), Path("unused"), "digest")
    seen = torch.stack(list(_by_row(_batches(same, augmentation=augmentation), 0).values())).flatten(1)
    assert len(torch.unique((seen * 1000).round(), dim=0)) == 23
    other_seed = _by_row(_batches(store, augmentation=augmentation, seed=1), 0)
    assert not any(torch.allclose(first[row], other_seed[row]) for row in first)


def test_workers_bring_the_same_batches(scratch_root):
    store = open_store(picture_files(scratch_root / "in", count=9), 16)
    alone, helped = (_batches(store, batch_size=2, augmentation=Augmentation(), workers=workers).epoch(1)
                     for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert one.keys() == other.keys() == {"images", "indices", "loss_scale", "leaf", "root"}
        assert one["loss_scale"] == other["loss_scale"]
        for name in ("images", "indices", "leaf", "root"):
            assert torch.equal(one[name], other[name])


def test_batches_survive_pickling(store):
    batches = pickle.loads(pickle.dumps(_batches(store, augmentation=Augmentation())))
    for one, other in zip(_batches(store, augmentation=Augmentation()).epoch(3), batches.epoch(3), strict=True):
        assert torch.equal(one["images"], other["images"])


def test_larger_pictures_are_brought_to_size_and_crops_are_cut_from_them(store):
    plain, augmented = (_batches(store, size=6, augmentation=each) for each in (None, Augmentation()))
    whole = normalise(resize(store.images(np.arange(5)).float(), 6), plain.mean, plain.std)
    torch.testing.assert_close(next(augmented.epoch(None))["images"], whole)
    batch = next(augmented.epoch(0))
    theta, light = augmented.augmentation.draw(5, (0, 0, 0))
    cut = relight(warp(store.images(batch["indices"].numpy()).float(), theta, 6), light)
    torch.testing.assert_close(batch["images"], normalise(cut, plain.mean, plain.std))


def test_an_epoch_of_so_many_steps_goes_on_where_the_last_one_stopped(store):
    """23 images in batches of 5 make passes of 5 batches: epochs of 3, 3, 3, 3 and 3 steps are three passes."""
    passes, epochs = _batches(store), _batches(store, steps=3)
    in_passes = [rows.tolist() for number in range(3) for rows in passes.plan(number)]
    in_epochs = [rows.tolist() for epoch in range(5) for rows in epochs.plan(epoch)]
    assert in_epochs == in_passes
    assert [len(_batches(store, steps=12).plan(epoch)) for epoch in (0, 1)] == [12, 12]
    assert [rows.tolist() for rows in epochs.plan(None)] == [rows.tolist() for rows in passes.plan(None)]


def test_batches_refuse_what_cannot_work(store):
    with pytest.raises(ValueError, match="at least one row"):
        _batches(store, np.array([], int))
    with pytest.raises(ValueError, match="batch size of 1, got 23 and 0"):
        _batches(store, batch_size=0)
    with pytest.raises(ValueError, match="raise BATCH_SIZE"):
        list(_batches(store, batch_size=2).epoch(0, rank=0, world=3))
