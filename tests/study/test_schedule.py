"""How a run becomes stale: what changes nothing, what reaches which runs, and in which words."""

import importlib.metadata

import pytest
from throwaway import PARAMETERS, Throwaway

from shoplens import environment
from shoplens.sealed import file_hash, read_sealed, write_sealed
from shoplens.study import schedule
from shoplens.study.fingerprint import fingerprints
from shoplens.study.plan import load_study

LIBRARY = '''"""Sizes."""


def size(image):
    """Side in pixels."""
    import timm  # slow to import

    return timm.SIDE * len(image)
'''


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Runs train > score > report, and plain alone, all done. train reads shoplens.sizes, which imports timm, and numpy
    itself; report imports scipy; plain imports neither."""
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    environment.installed.cache_clear()
    toy = Throwaway(tmp_path)
    toy.module("sizes", LIBRARY)
    toy.run("train", "import numpy as np\nfrom shoplens.sizes import size\nprint(size(np.zeros(3)))")
    toy.run("score", "print(TOP)", inputs=["train"], notebook={"parameters": f"{PARAMETERS}\nTOP = 5  # answers"})
    toy.run("report", "def table():\n    from scipy import stats", inputs=["score"])
    toy.run("plain", "print(2)")
    runs = load_study().plan("toy", "smoke")
    for name, made_from in fingerprints(runs).items():
        paths = [runs[name].target, *map(runs[name].published, runs[name].outputs)]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("1")
        inputs = dict.fromkeys(runs[name].upstream, "today")
        written = {path.relative_to(runs[name].results).as_posix(): file_hash(path) for path in paths}
        write_sealed(runs[name].record_file, {"status": "done", "finished": "today", "inputs": inputs, "files": written,
                                              **made_from})
    yield toy
    environment.installed.cache_clear()


def stale() -> dict[str, list[str]]:
    """{run: reasons} of the runs that are not done."""
    runs = load_study().plan("toy", "smoke")
    return {name: found.reasons for name, found in schedule.assess(runs, fingerprints(runs)).items()
            if found.state != "done"}


def rewrite(study, old: str, new: str) -> None:
    assert LIBRARY.count(old) == 1
    study.module("sizes", LIBRARY.replace(old, new))


VERSION = importlib.metadata.version


def install(monkeypatch, **versions: str) -> None:
    """Have these versions installed, and the real ones of all other packages."""
    environment.installed.cache_clear()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: versions.get(name) or VERSION(name))


def test_nothing_changed(study):
    assert stale() == {}


def test_a_comment_changes_nothing(study):
    rewrite(study, "# slow to import", "# takes a second")
    assert stale() == {}


def test_a_docstring_changes_nothing(study):
    rewrite(study, "Side in pixels.", "Length of a side, in pixels.")
    assert stale() == {}


def test_a_line_of_code_reaches_the_runs_that_import_it_and_those_after(study):
    rewrite(study, "timm.SIDE * len(image)", "timm.SIDE + len(image)")
    assert stale() == {"train": ["module shoplens.sizes changed"], "score": ["input train changed"],
                       "report": ["input score changed"]}


def test_another_version_reaches_the_runs_that_import_it_and_those_after(study, monkeypatch):
    timm, scipy = environment.installed("timm"), environment.installed("scipy")
    install(monkeypatch, timm="99.1")
    assert stale() == {"train": [f"package timm changed from {timm} to 99.1"], "score": ["input train changed"],
                       "report": ["input score changed"]}
    install(monkeypatch, scipy="99.2")
    assert stale() == {"report": [f"package scipy changed from {scipy} to 99.2"]}
    install(monkeypatch, torch="99.3", pandas="99.4")
    assert stale() == {}, "no run imports torch, and pandas computes nothing"


def test_a_package_counts_where_it_is_imported(study):
    parts = {name: found["components"] for name, found in fingerprints(load_study().plan("toy", "smoke")).items()}
    assert {name: [key for key in keys if key.startswith("package")] for name, keys in parts.items()} == {
        "train": ["package timm", "package numpy"], "score": [], "report": ["package scipy"], "plain": []}


def test_a_parameter_reaches_its_run_and_those_after(study):
    study.study["runs"]["score"]["parameters"] = {"smoke": {"TOP": 7}}
    study.save()
    assert stale() == {"score": ["parameter TOP 5 -> 7"], "report": ["input score changed"]}


def test_a_record_from_before_versions_counted(study):
    runs = load_study().plan("toy", "smoke")
    record = read_sealed(runs["report"].record_file)
    del record["components"]["package scipy"]
    write_sealed(runs["report"].record_file, record)
    assert stale() == {"report": ["package scipy is new"]}
