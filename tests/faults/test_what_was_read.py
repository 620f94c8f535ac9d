"""What a run reads is what was published: content hashes of outputs, stores, drawings, raw data and checkpoints."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import picture_files
from PIL import Image
from sessions import assert_ends
from throwaway import Throwaway
from trainings import a_step, noise, steady, tiny

from shoplens import paths, sealed
from shoplens.data import images, registry
from shoplens.data.catalogue import Catalogue
from shoplens.study.fingerprint import raw_hash
from shoplens.study.publish import remove_recorded
from shoplens.training import Schedule, fit

REPOSITORY = paths.root()
WRITE = ("run.path(f'tables/{RUN}.csv').write_text('value\\n1\\n')", "run.path(f'tables/{RUN}.md').write_text('1')",
         "run.artefact('model.txt').write_text('x')", "run.finish()")
DRAWN = {"num_items": 200, "min_per_leaf": 3, "num_search_items": 6, "gallery_per_item": 3, "queries_per_item": 2,
         "size": 32, "workers": 1}


def flip(file: Path, place: int = -1) -> None:
    """Another byte at one place."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:99])


def empty(file: Path) -> None:
    file.write_bytes(b"")


# --- outputs of runs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    study = Throwaway(tmp_path_factory.mktemp("toy"), in_process=True)
    study.run("a", *WRITE)
    study.run("b", "print(run.input('a', 'model.txt').read_text())", *WRITE, inputs=["a"])
    study.save()
    assert study.make("reproduce", "PROFILE=smoke").returncode == 0
    return study


@pytest.mark.parametrize(("file", "change", "reason"), [
    ("tables/a.csv", flip, "tables/a.csv is not as it was written"),
    ("tables/a.md", Path.unlink, "tables/a.md is gone"),
    ("artefacts/a/model.txt", empty, "artefacts/a/model.txt is not as it was written"),
    ("artefacts/a/model.txt", Path.unlink, "artefacts/a/model.txt is gone"),
    ("notebooks/a.ipynb", flip, "notebooks/a.ipynb is not as it was written"),
    ("runs/a.json", truncate, "a.json is not as it was written"),
    ("runs/a.json", lambda file: file.write_text(file.read_text().replace("[]", "[1]", 1)), "not as it was written"),
], ids=["edited table", "twin gone", "emptied", "artefact gone", "notebook", "record truncated", "record edited"])
def test_an_output_that_is_not_as_written_makes_its_run_stale_and_is_made_again(toy, file, change, reason):
    file = toy.results / file
    undisturbed = {path: path.read_bytes() for path in (toy.results / "tables").iterdir()}
    change(file)
    said = toy.make("status", "PROFILE=smoke").stdout
    assert reason in said
    again = toy.make("reproduce", "PROFILE=smoke")
    assert again.returncode == 0, again.stderr
    assert "[a] done" in again.stdout
    assert "[b] done" in again.stdout
    assert {path: path.read_bytes() for path in (toy.results / "tables").iterdir()} == undisturbed


def test_a_change_that_keeps_size_and_date_is_seen_by_those_who_ask(toy):
    table = toy.results / "tables" / "b.csv"
    before, content = table.stat(), table.read_bytes()
    old = before.st_mtime_ns - 60 * 10**9
    os.utime(table, ns=(old, old))
    assert "stale" not in toy.make("status", "PROFILE=smoke").stdout     # and its hash is remembered now
    flip(table, 0)
    os.utime(table, ns=(old, old))
    assert "stale" not in toy.make("status", "PROFILE=smoke").stdout
    assert "tables/b.csv is not as it was written" in toy.make("status", "PROFILE=smoke", "VERIFY=1").stdout
    table.write_bytes(content)


def test_an_accepted_record_without_a_hash_can_be_replaced(tmp_path):
    """Those of the first build."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("value")
    (tmp_path / "runs" / "a.json").write_text('{"outputs": ["tables/a.csv"]}')
    remove_recorded(tmp_path / "runs" / "a.json")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# --- raw data -----------------------------------------------------------------------------------------------------


def test_raw_data_counts_by_content_through_links_too(scratch_root, tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", scratch_root / "data" / "folder"
    elsewhere.mkdir()
    folder.mkdir(parents=True)
    (elsewhere / "a.png").write_bytes(b"one")
    (folder / "images").symlink_to(elsewhere)
    (folder / "round").symlink_to(folder)       # a circle
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("a name that is no UTF-8")
    before = raw_hash(folder)
    (elsewhere / "a.png").write_bytes(b"two")
    assert raw_hash(folder) != before
    (elsewhere / "a.png").write_bytes(b"one")
    assert raw_hash(folder) == before


# --- what can be made again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
@pytest.mark.parametrize("name", ["images.npy", sealed.SEAL])
def test_a_broken_store_is_made_again(scratch_root, capsys, name, damage):
    files = picture_files(scratch_root / "in")
    store = images.open_store(files, 16)
    before = store.array.copy()
    damage(store.folder / name)
    assert np.array_equal(images.open_store(files, 16).array, before)
    assert "is made again" in capsys.readouterr().out
    images.open_store(files, 16)
    assert "is made again" not in capsys.readouterr().out


@pytest.mark.parametrize("what", ["all", "a picture", "the table", "a byte"])
def test_lost_drawings_are_drawn_again_where_a_later_run_reads_them(scratch_root, what):
    catalogue = registry.prepare("bazaar", **DRAWN)
    catalogue.save(scratch_root / "saved")
    before = {file: file.read_bytes() for file in catalogue.files()}
    if what == "all":
        shutil.rmtree(scratch_root / "cache")
    elif what == "a picture":
        catalogue.files()[3].unlink()
    elif what == "the table":
        (catalogue.folder / "products.parquet").write_bytes(b"PAR1")
    else:
        flip(catalogue.files()[5], 200)
    again = Catalogue.load(scratch_root / "saved")
    assert {file: file.read_bytes() for file in again.files()} == before


def test_of_several_processes_one_makes_it(tmp_path):
    code = ("import sys, time; from pathlib import Path; from shoplens import sealed\n"
            "def make(folder):\n"
            "    print('made', flush=True); time.sleep(0.5); (folder / 'a').write_text('x')\n"
            f"sealed.made(Path({str(tmp_path / 'folder')!r}), make)")
    environment = os.environ | {"STUDY_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(REPOSITORY / "lib")}
    several = [subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
               for _ in range(8)]
    assert "".join(process.communicate(timeout=60)[0] for process in several) == "made\n"
    assert not any(process.returncode for process in several)


def test_what_a_killed_attempt_left_goes_at_the_next(scratch_root):
    place = scratch_root / "cache" / "stores" / "key"
    left = place.with_name(".key.0badcafe")
    left.mkdir(parents=True)
    (left / "images.npy").write_bytes(b"half")
    sealed.made(place, lambda folder: (folder / "a").write_text("x"))
    assert not left.exists()


# --- checkpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_a_broken_checkpoint_is_set_aside_and_the_training_starts_anew(tmp_path, capsys, damage):
    schedule = Schedule(epochs=2, learning_rate=0.01)
    whole = fit(tiny(), a_step, noise(), steady, schedule, tmp_path)
    damage(tmp_path / "last.pt")
    again = fit(tiny(), a_step, noise(), steady, schedule, tmp_path)
    assert again["loss"].tolist() == whole["loss"].tolist()
    said = capsys.readouterr().out
    assert "last.pt is not as it was written: set aside as last.broken; the training starts anew" in said
    assert (tmp_path / "last.broken").exists()


# --- full disks and dead processes --------------------------------------------------------------------------------


def test_a_full_disk_is_an_error_that_says_how_much_is_missing(scratch_root, monkeypatch):
    files = picture_files(scratch_root / "in")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    with pytest.raises(OSError, match=r"images\.npy needs .* MiB and the disk of .* has 0 MiB left: make room there"):
        images.open_store(files, 64)
    assert not [path for path in (scratch_root / "cache" / "stores").iterdir() if path.is_dir()]


def test_workers_of_a_killed_process_end_with_it(tmp_path):
    code = ("from shoplens.data import registry\n"
            "if __name__ == '__main__':\n"
            "    registry.prepare('bazaar', num_items=20000, size=96, workers=2)\n")
    (tmp_path / "draws.py").write_text(code)
    environment = os.environ | {"STUDY_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(REPOSITORY / "lib")}
    drawing = subprocess.Popen([sys.executable, tmp_path / "draws.py"], env=environment, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cache").rglob("*.jpg")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    drawing.kill()
    drawing.wait()
    assert_ends(drawing.pid)


def test_a_picture_of_the_store_is_the_picture(scratch_root):
    """The seal is no excuse for a wrong store: the digest that names it is that of the files' bytes."""
    files = picture_files(scratch_root / "in")
    first = images.open_store(files, 16)
    Image.new("RGB", (40, 40), "red").save(files[0])
    assert images.open_store(files, 16).digest != first.digest
