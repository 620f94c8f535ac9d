"""The image store against a plain Pillow loop, augmentation against hand-made geometry, batches against bookkeeping."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import picture, picture_files, stores
from PIL import Image

from shoplens.data import images
from shoplens.data.images import ImageError, decode, open_store


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
    files = picture_files(scratch_root / "in")
    store = open_store(files, 32, interpolation)
    assert (len(store), store.size, store.array.dtype) == (5, 32, np.uint8)
    for row, file in enumerate(files):
        plain = Image.open(file).resize((32, 32), images.INTERPOLATIONS[interpolation])
        np.testing.assert_array_equal(store.array[row], np.asarray(plain))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_shortcuts_for_large_pictures_change_little(tmp_path, suffix):
    # 20 times the wanted size: the JPEG decoder's own reduction and Pillow's two-step resize are at work.
    Image.fromarray(picture(960, 640)).save(tmp_path / f"large.{suffix}", quality=95)
    plain = Image.open(tmp_path / f"large.{suffix}").resize((32, 32), Image.Resampling.BICUBIC)
    difference = decode(tmp_path / f"large.{suffix}", 32).astype(float) - np.asarray(plain)
    assert np.abs(difference).mean() < 1
    assert np.abs(difference).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    shown = picture(32, 32)
    # What the camera must have stored for a viewer that follows the EXIF table to show `shown`.
    stored = {1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.transpose(1, 0, 2),
              6: np.rot90(shown, 1), 7: np.rot90(shown, 2).transpose(1, 0, 2), 8: np.rot90(shown, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(decode(tmp_path / "turned.png", 32), shown)


def test_exif_orientation_of_a_reduced_jpeg(tmp_path):
    shown, exif = picture(600, 400), Image.Exif()
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
    grey = picture(16, 16)[..., 0]
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
    files = picture_files(scratch_root / "in")
    first = open_store(files, 16)
    no_decoding()
    second = open_store(files, 16)
    assert second.folder == first.folder
    np.testing.assert_array_equal(second.array, first.array)
    assert isinstance(second.array, np.memmap)
    assert not second.array.flags.writeable


def test_new_times_and_another_folder_change_nothing(scratch_root, no_decoding):
    files = picture_files(scratch_root / "in")
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
    files = picture_files(scratch_root / "in")
    folders = {open_store(files, 16).folder, open_store(files, 24).folder, open_store(files, 16, "bilinear").folder,
               open_store(files[::-1], 16).folder, open_store(files[:-1], 16).folder}
    assert len(folders) == 5
    changed = picture(30, 50).copy()
    changed[0, 0] ^= 255
    Image.fromarray(changed).save(files[0])
    store = open_store(files, 16)
    assert store.folder not in folders
    np.testing.assert_array_equal(store.array[0], decode(files[0], 16))


@pytest.mark.parametrize(("size", "interpolation"), [(4, "bicubic"), (32, "cubic")])
def test_open_store_refuses_what_makes_no_sense(scratch_root, size, interpolation):
    with pytest.raises(ValueError, match="at least 8 pixels|must be one of"):
        open_store(picture_files(scratch_root / "in"), size, interpolation)


# --- broken files -------------------------------------------------------------------------------------------------


def test_every_broken_file_is_listed_and_nothing_is_left(scratch_root):
    good = picture_files(scratch_root / "in", suffix="jpg")
    bad = [scratch_root / "in" / name for name in ("text.jpg", "empty.jpg", "short.jpg", "short.png", "large.jpg")]
    bad[0].write_text("no picture")
    bad[1].write_bytes(b"")
    Image.fromarray(picture(960, 640)).save(bad[4], quality=95)
    Image.fromarray(picture()).save(bad[3])
    for whole, half in ((good[0], bad[2]), (bad[3], bad[3]), (bad[4], bad[4])):
        half.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    with pytest.raises(ImageError, match="5 of 10 images cannot be read") as error:
        open_store([*good[:3], *bad, *good[3:]], 16)
    assert all(str(file) in str(error.value) for file in bad)
    assert not any(str(file) in str(error.value) for file in good)
    assert stores(scratch_root) == []


def test_missing_files_are_listed(scratch_root):
    good = picture_files(scratch_root / "in")
    gone = [scratch_root / "in" / name for name in ("a.png", "b.png")]
    with pytest.raises(ImageError, match=r"2 of 7 images cannot be read[^$]*a\.png: no such file[^$]*b\.png"):
        open_store([gone[0], *good, gone[1]], 16)
    with pytest.raises(ImageError, match="no images"):
        open_store([], 16)
    assert stores(scratch_root) == []


def test_a_long_list_of_broken_files_is_cut(scratch_root):
    files = [scratch_root / f"{i:03}.png" for i in range(60)]
    with pytest.raises(ImageError, match=r"60 of 60[^$]*049\.png[^$]*and 10 more"):
        open_store(files, 16)


def test_killed_while_decoding_leaves_no_store(scratch_root):
    files = picture_files(scratch_root / "in", count=6)
    script = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from shoplens.data import images
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
    assert not [p for p in stores(scratch_root) if not p.name.startswith(".")]
    store = open_store(files, 16)
    for row, file in enumerate(files):
        np.testing.assert_array_equal(store.array[row], decode(file, 16))


def _environment(**extra) -> dict[str, str]:
    library = str(Path(images.__file__).parents[2])
    return os.environ | {"PYTHONPATH": os.pathsep.join([library, os.environ.get("PYTHONPATH", "")])} | extra


def test_a_store_of_some_rows_holds_no_others(scratch_root):
    files = picture_files(scratch_root / "in", count=6)
    whole, some = open_store(files, 16), open_store(files, 16, rows=np.array([4, 1, 4]))
    assert (len(some), some.array.shape[0]) == (2, 2)
    np.testing.assert_array_equal(some.pictures(np.array([4, 4, 1])), whole.array[[4, 4, 1]])
    assert torch.equal(some.images(np.array([1])), whole.images(np.array([1])))
    with pytest.raises(KeyError, match=r"no image of rows \[0 5\]"):
        some.pictures(np.array([0, 1, 5]))
    assert open_store(files, 16, rows=np.array([1, 4])).folder == some.folder
