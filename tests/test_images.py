"""The image store against a plain Pillow loop, augmentation against hand-made geometry, batches against bookkeeping."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from shoplens import images
from shoplens.images import Augmentation, Batches, ImageError, ImageStore, decode, normalise, open_store, warp


def _picture(height=40, width=40, seed=0) -> np.ndarray:
    """uint8 H×W×3: smooth blobs, no symmetry, so that a turned or mirrored copy is far away."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def _files(folder: Path, count=5, suffix="png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i}.{suffix}" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(_picture(30 + 7 * i, 50 - 6 * i, seed=i)).save(file)
    return files


def _stores(root: Path) -> list[Path]:
    return sorted(p for p in (root / "cache" / "stores").glob("*") if p.name != "digests")


@pytest.fixture
def no_decoding(monkeypatch):
    """Call it, and from then on whoever decodes fails."""
    def forbid():
        def decode(file, size, interpolation):
            raise AssertionError(f"{file} was decoded again")
        monkeypatch.setattr(images, "decode", decode)
    return forbid


# --- decoding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", list(images.INTERPOLATIONS))
def test_store_equals_a_plain_pillow_loop(scratch_root, interpolation):
    files = _files(scratch_root / "in")
    store = open_store(files, 32, interpolation)
    assert (len(store), store.size, store.array.dtype) == (5, 32, np.uint8)
    for row, file in enumerate(files):
        plain = Image.open(file).resize((32, 32), images.INTERPOLATIONS[interpolation])
        np.testing.assert_array_equal(store.array[row], np.asarray(plain))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_shortcuts_for_large_pictures_change_little(tmp_path, suffix):
    # 20 times the wanted size: the JPEG decoder's own reduction and Pillow's two-step resize are at work.
    Image.fromarray(_picture(960, 640)).save(tmp_path / f"large.{suffix}", quality=95)
    plain = Image.open(tmp_path / f"large.{suffix}").resize((32, 32), Image.Resampling.BICUBIC)
    difference = decode(tmp_path / f"large.{suffix}", 32).astype(float) - np.asarray(plain)
    assert np.abs(difference).mean() < 1
    assert np.abs(difference).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    shown = _picture(32, 32)
    # What the camera must have stored for a viewer that follows the EXIF table to show `shown`.
    stored = {1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.transpose(1, 0, 2),
              6: np.rot90(shown, 1), 7: np.rot90(shown, 2).transpose(1, 0, 2), 8: np.rot90(shown, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "turned.png", 32), shown)


def test_exif_orientation_of_a_reduced_jpeg(tmp_path):
    shown, exif = _picture(600, 400), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(shown, 1))).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    expected = np.asarray(Image.fromarray(shown).resize((32, 32), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(decode(tmp_path / "turned.jpg", 32) - expected).mean() < 2


def _transparent(mode: str, file: Path) -> None:
    """Save a 16×16 picture in `mode`: left half transparent black, right half opaque (200 in each channel)."""
    grey = np.full((16, 16), 200, np.uint8)
    grey[:, :8] = 0
    if mode in ("RGB", "L"):       # one colour is declared transparent (PNG's tRNS chunk)
        Image.fromarray(grey).convert(mode).save(file, transparency=0 if mode == "L" else (0, 0, 0))
    elif mode == "P":
        Image.fromarray(grey).convert("RGB").quantize(2).convert("P").save(file, transparency=Image.fromarray(
            grey).convert("RGB").quantize(2).getpixel((0, 0)))
    else:
        Image.merge(mode, [Image.fromarray(grey)] * (len(mode) - 1) + [Image.fromarray((grey > 0) * np.uint8(255))]
                    ).save(file)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparency_becomes_white(tmp_path, mode):
    _transparent(mode, tmp_path / "cut.png")
    pixels = decode(tmp_path / "cut.png", 16)
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == 200).all()


def test_half_transparent_black_is_middle_grey(tmp_path):
    Image.new("RGBA", (16, 16), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert set(decode(tmp_path / "half.png", 16).ravel()) <= {127, 128}


def test_palette_greyscale_cmyk_and_sixteen_bits(tmp_path):
    grey = _picture(16, 16)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("grey.png", "deep.png"):
        np.testing.assert_array_equal(decode(tmp_path / name, 16), np.repeat(grey[..., None], 3, axis=2))

    colours = np.array([[255, 0, 0], [0, 128, 64]], np.uint8)[np.arange(256).reshape(16, 16) % 2]
    Image.fromarray(colours).quantize(2).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(decode(tmp_path / "palette.png", 16), colours)

    inks = np.zeros((16, 16, 4), np.uint8)
    inks[8:, :, 1:3] = 255      # upper half no ink: white; lower half magenta and yellow: red
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "inks.jpg", quality=100)
    pixels = decode(tmp_path / "inks.jpg", 16).astype(int)
    assert np.abs(pixels[:7] - 255).max() <= 8
    assert np.abs(pixels[9:] - [255, 0, 0]).max() <= 8


def test_pixels_without_a_known_range_are_refused(scratch_root):
    Image.fromarray(np.full((16, 16), 0.5, np.float32)).save(scratch_root / "float.tiff")
    with pytest.raises(ImageError, match=r"float\.tiff.*mode F"):
        open_store([scratch_root / "float.tiff"], 16)


# --- the store's key ----------------------------------------------------------------------------------------------


def test_second_open_does_not_decode(scratch_root, no_decoding):
    files = _files(scratch_root / "in")
    first = open_store(files, 16)
    no_decoding()
    second = open_store(files, 16)
    assert second.folder == first.folder
    np.testing.assert_array_equal(second.array, first.array)
    assert isinstance(second.array, np.memmap)
    assert not second.array.flags.writeable


def test_new_times_and_another_folder_change_nothing(scratch_root, no_decoding):
    files = _files(scratch_root / "in")
    first = open_store(files, 16)
    no_decoding()
    for file in files:
        os.utime(file, (1, 1))
    assert open_store(files, 16).digest == first.digest
    shutil.copytree(scratch_root / "in", scratch_root / "elsewhere")
    assert open_store(_as_in(files, scratch_root / "elsewhere"), 16).folder == first.folder


def _as_in(files: list[Path], folder: Path) -> list[Path]:
    return [folder / file.name for file in files]


def test_content_order_size_and_interpolation_change_the_store(scratch_root):
    files = _files(scratch_root / "in")
    folders = {open_store(files, 16).folder, open_store(files, 24).folder, open_store(files, 16, "bilinear").folder,
               open_store(files[::-1], 16).folder, open_store(files[:-1], 16).folder}
    assert len(folders) == 5
    changed = _picture(30, 50).copy()
    changed[0, 0] ^= 255
    Image.fromarray(changed).save(files[0])
    store = open_store(files, 16)
    assert store.folder not in folders
    np.testing.assert_array_equal(store.array[0], decode(files[0], 16))


@pytest.mark.parametrize(("size", "interpolation"), [(4, "bicubic"), (32, "cubic")])
def test_open_store_refuses_what_makes_no_sense(scratch_root, size, interpolation):
    with pytest.raises(ValueError, match="at least 8 pixels|must be one of"):
        open_store(_files(scratch_root / "in"), size, interpolation)


# --- broken files -------------------------------------------------------------------------------------------------


def test_every_broken_file_is_listed_and_nothing_is_left(scratch_root):
    good = _files(scratch_root / "in", suffix="jpg")
    bad = [scratch_root / "in" / name for name in ("text.jpg", "empty.jpg", "short.jpg", "short.png", "large.jpg")]
    bad[0].write_text("no picture")
    bad[1].write_bytes(b"")
    Image.fromarray(_picture(960, 640)).save(bad[4], quality=95)
    Image.fromarray(_picture()).save(bad[3])
    for whole, half in ((good[0], bad[2]), (bad[3], bad[3]), (bad[4], bad[4])):
        half.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    with pytest.raises(ImageError, match="5 of 10 images cannot be read") as error:
        open_store([*good[:3], *bad, *good[3:]], 16)
    assert all(str(file) in str(error.value) for file in bad)
    assert not any(str(file) in str(error.value) for file in good)
    assert _stores(scratch_root) == []


def test_missing_files_are_listed(scratch_root):
    good = _files(scratch_root / "in")
    gone = [scratch_root / "in" / name for name in ("a.png", "b.png")]
    with pytest.raises(ImageError, match=r"2 of 7 images cannot be read[^$]*a\.png: no such file[^$]*b\.png"):
        open_store([gone[0], *good, gone[1]], 16)
    with pytest.raises(ImageError, match="no images"):
        open_store([], 16)
    assert _stores(scratch_root) == []


def test_a_long_list_of_broken_files_is_cut(scratch_root):
    files = [scratch_root / f"{i:03}.png" for i in range(60)]
    with pytest.raises(ImageError, match=r"60 of 60[^$]*049\.png[^$]*and 10 more"):
        open_store(files, 16)


def test_killed_while_decoding_leaves_no_store(scratch_root):
    files = _files(scratch_root / "in", count=6)
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from shoplens import images
        plain = images.decode
        def slow(file, size, interpolation):
            if file.name == "4.png":
                print("half way", flush=True)
                time.sleep(60)
            return plain(file, size, interpolation)
        images.decode = slow
        images.open_store([Path(f) for f in {[str(f) for f in files]!r}], 16, workers=1)
        """)
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env=_environment(STUDY_ROOT=str(scratch_root)))
    assert child.stdout.readline() == b"half way\n"
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=20)
    child.stdout.close()
    assert not [p for p in _stores(scratch_root) if not p.name.startswith(".")]
    store = open_store(files, 16)
    for row, file in enumerate(files):
        np.testing.assert_array_equal(store.array[row], decode(file, 16))


def _environment(**extra) -> dict[str, str]:
    library = str(Path(images.__file__).parents[1])
    return os.environ | {"PYTHONPATH": os.pathsep.join([library, os.environ.get("PYTHONPATH", "")])} | extra


# --- augmentation -------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures() -> torch.Tensor:
    """float32 6×3×16×16 in [0, 1]."""
    return torch.from_numpy(np.stack([_picture(16, 16, seed=i) for i in range(6)])).permute(0, 3, 1, 2) / 255


def test_identity_parameters_give_the_picture_back(pictures):
    theta = Augmentation(crop=1, mirror=0, deform=0).draw(6, (0, 0, 0))
    torch.testing.assert_close(theta, torch.eye(2, 3).expand(6, 2, 3))
    torch.testing.assert_close(warp(pictures, theta), pictures, atol=1e-5, rtol=0)


def test_mirror_is_a_left_right_flip(pictures):
    theta = Augmentation(crop=1, mirror=1, deform=0).draw(6, (0, 0, 0))
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
    theta = Augmentation(crop=0.6, mirror=0.5, deform=0.2).draw(6, (3, 1, 4))
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


def test_window_stays_inside_and_has_the_size_asked_for():
    theta = Augmentation(crop=0.7, mirror=0.5, deform=0).draw(3000, (1,)).numpy()
    corners = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)])
    reached = theta @ corners.T
    assert np.abs(reached).max() <= 1 + 1e-6
    assert np.abs(reached).max() > 0.99      # and it does come close to the border
    across, down = np.abs(theta[:, 0, 0]), theta[:, 1, 1]
    np.testing.assert_allclose(across, down, atol=1e-6)
    assert (theta[:, [0, 1], [1, 0]] == 0).all()
    assert across.min() == pytest.approx(0.7, abs=0.005)
    assert across.max() == pytest.approx(1.0, abs=0.005)
    assert across.mean() == pytest.approx(0.85, abs=0.01)


def test_share_of_mirrored_pictures_and_size_of_deformation():
    theta = Augmentation(crop=1, mirror=0.3, deform=0.2).draw(4000, (2,)).double()
    mirrored = torch.det(theta[:, :, :2]) < 0
    assert mirrored.double().mean() == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 4000) ** 0.5)
    stretch = (theta[:, 0, 0].abs() / theta[:, 1, 1]).log().abs()
    assert 0.19 < stretch.max() <= 0.2 + 1e-6
    # A horizontal edge turns by the rotation (seen through the stretch), a vertical one leans by the shear.
    turn = (theta[:, 1, 0] / theta[:, 0, 0]).atan().abs()
    lean = (theta[:, 0, 1] / theta[:, 0, 0].abs()).abs()
    for angle in (turn, lean):
        assert 0.18 < angle.max() < 0.25
        assert angle.median() > 0.05


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
    return ImageStore(np.stack([_picture(8, 8, seed=i) for i in range(23)]), Path("unused"), "digest")


def _batches(store, rows=None, **changes) -> Batches:
    known = {"rows": np.arange(len(store)) if rows is None else rows, "batch_size": 5, "mean": (0.5,) * 3,
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
    assert sorted(len(b["rows"]) for b in alone) == [4, 4, 5]
    assert sorted(torch.cat([b["rows"] for b in alone]).tolist()) == sorted(rows)
    shared = [list(batches.epoch(2, rank=rank, world=world)) for rank in range(world)]
    for step, whole in enumerate(alone):
        parts = [shared[rank][step] for rank in range(world)]
        sizes = [len(part["rows"]) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert sorted(torch.cat([p["rows"] for p in parts]).tolist()) == sorted(whole["rows"].tolist())


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_make_the_average_over_processes_the_mean_of_the_batch(store, world):
    value = torch.arange(23.0) ** 2        # any loss of a picture
    batches = _batches(store)
    for step, whole in enumerate(batches.epoch(0)):
        assert whole["share"] == 1
        parts = [list(batches.epoch(0, rank=rank, world=world))[step] for rank in range(world)]
        average = sum(value[p["rows"]].mean() * p["share"] for p in parts) / world
        torch.testing.assert_close(average, value[whole["rows"]].mean())


def test_targets_and_pictures_belong_to_their_rows(store):
    for batch in _batches(store, np.array([22, 5, 13, 8, 1, 19]), augmentation=None).epoch(0):
        rows = batch["rows"].numpy()
        assert batch["leaf"].tolist() == (rows % 4).tolist()
        assert batch["root"].tolist() == (rows % 2).tolist()
        expected = (store.array[rows].transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
        np.testing.assert_allclose(batch["images"].numpy(), expected, atol=1e-5)


def test_order_is_shuffled_by_seed_and_epoch_only(store):
    def order(batches, epoch):
        return torch.cat([b["rows"] for b in batches.epoch(epoch)]).tolist()

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
            for row, image in zip(batch["rows"], batch["images"], strict=True)}


@pytest.mark.parametrize("world", [2, 3])
def test_augmentation_does_not_depend_on_how_work_is_shared(store, world):
    batches = _batches(store, augmentation=Augmentation(0.5, 0.5, 0.2))
    alone = _by_row(batches, 4)
    for rank in range(world):
        for row, image in _by_row(batches, 4, rank=rank, world=world).items():
            torch.testing.assert_close(image, alone[row])


def test_augmentation_is_new_each_epoch_and_each_batch(store):
    augmentation = Augmentation(0.5, 0.5, 0.2)
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
    store = open_store(_files(scratch_root / "in", count=9), 16)
    alone, helped = (_batches(store, batch_size=2, augmentation=Augmentation(), workers=workers).epoch(1)
                     for workers in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert one.keys() == other.keys() == {"images", "rows", "share", "leaf", "root"}
        assert one["share"] == other["share"]
        for name in ("images", "rows", "leaf", "root"):
            assert torch.equal(one[name], other[name])


def test_batches_survive_pickling(store):
    batches = pickle.loads(pickle.dumps(_batches(store, augmentation=Augmentation())))
    for one, other in zip(_batches(store, augmentation=Augmentation()).epoch(3), batches.epoch(3), strict=True):
        assert torch.equal(one["images"], other["images"])


def test_batches_refuse_what_cannot_work(store):
    with pytest.raises(ValueError, match="at least one row"):
        _batches(store, np.array([], int))
    with pytest.raises(ValueError, match="batch size of 1, got 23 and 0"):
        _batches(store, batch_size=0)
    with pytest.raises(ValueError, match="raise BATCH_SIZE"):
        list(_batches(store, batch_size=2).epoch(0, rank=0, world=3))
