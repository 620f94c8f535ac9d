"""Requests and study.yml that cannot be meant: one line each, before anything runs."""

import shutil

import pytest
from throwaway import PARAMETERS, REPOSITORY, Throwaway

from shoplens.errors import StudyError
from shoplens.study import execute
from shoplens.study.plan import load_study

WRITE = ("run.path(f'tables/{RUN}.csv').write_text('value\\n1\\n')", "run.artefact('model.txt').write_text('x')",
         "run.finish()")


@pytest.fixture
def toy(tmp_path):
    study = Throwaway(tmp_path, in_process=True)
    study.run("a", *WRITE)
    study.save()
    return study


@pytest.mark.parametrize("flag", ["-n", "-t", "-q", "-nk", "--dry-run"])
def test_a_dry_run_says_nothing_false_and_writes_nothing(toy, flag):
    said = toy.make(flag, "reproduce", "PROFILE=smoke")
    assert said.returncode
    assert "`make status` says which are done" in said.stderr
    assert "up to date" not in said.stdout
    assert not (toy.root / "results").exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "abc", "1.5", "2 3", "1 2"])
def test_a_number_of_jobs_that_is_none(toy, jobs):
    said = toy.make("reproduce", "PROFILE=smoke", f"JOBS={jobs}")
    assert said.returncode == 2
    assert f"JOBS={jobs} must be a whole number from 1" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_text_is_utf8_whatever_the_terminals_language(toy, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    toy.run("accents", "print('crème brûlée 蛋')", *WRITE)
    toy.save()
    said = toy.make("reproduce", "PROFILE=smoke")
    assert said.returncode == 0, said.stderr


def test_a_run_may_be_called_all(toy):
    toy.run("all", *WRITE)
    toy.save()
    said = toy.make("reproduce", "PROFILE=smoke")
    assert said.returncode == 0, said.stderr
    assert "[all] done" in said.stdout


def test_results_that_cannot_be_written_are_one_line(toy):
    """A file where the folder should be, as a folder nobody may write to does not stop root."""
    (toy.root / "results").mkdir()
    (toy.root / "results" / "toy").write_text("")
    said = toy.execute("a")
    assert said.returncode == 2
    assert len(said.stderr.splitlines()) == 1
    assert str(toy.root / "results" / "toy") in said.stderr


def test_a_full_disk_keeps_nothing_and_says_so(toy, monkeypatch):
    monkeypatch.setenv("STUDY_ROOT", str(toy.root))
    run = load_study().plan("toy", "smoke")["a"]

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(execute, "write_sealed", full)
    said = execute._fail(run, {}, StudyError("no room for images.npy"))
    assert said == "a failed: no room for images.npy (nothing of it could be kept: [Errno 28] No space left on device)"
    assert not list((toy.root / "results").rglob("*.ipynb"))


WRONG = {
    "layer of parameters": (lambda run: run.update(parameters={"smoke": 5}), "run a"),
    "inputs": (lambda run: run.update(inputs=5), "run a"),
    "output": (lambda run: run.update(outputs=[5]), "run a"),
    "table of another kind": (lambda run: run.update(outputs=["tables/x.json"]),
                              "output tables/x.json must lie under tables/ (.csv)"),
    "absolute file": (lambda run: run.update(files=["/etc/passwd"]), "files names /etc/passwd"),
    "file outside": (lambda run: run.update(files=["../x.csv"]), r"files names ../x.csv"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_key_of_a_run_that_cannot_be_meant(toy, name):
    change, said = WRONG[name]
    change(toy.study["runs"]["a"])
    refused(toy, said)


@pytest.mark.parametrize(("change", "said"), [
    (lambda study: study.update(extra={}), "unknown key extra"),
    (lambda study: study["runs"].update({5: study["runs"]["a"]}), 'run 5: a run\'s name is a text; write "5"'),
    (lambda study: study["runs"].update({"a-s1": dict(study["runs"]["a"], notebook="a", outputs=["tables/b.csv"])}),
     "run a-s1: an ending such as -s1 is kept for repeated seeds"),
    (lambda study: study["runs"].update({"b": None}), "run b"),
])
def test_a_study_that_cannot_be_meant(toy, change, said):
    change(toy.study)
    refused(toy, said)


@pytest.mark.parametrize(("name", "default", "value", "said"), [
    ("EPOCHS", 3, 0, "EPOCHS must be at least 1, got 0"),
    ("BATCH_SIZE", 3, -1, "BATCH_SIZE must be at least 1, got -1"),
    ("RATE", 0.1, float("nan"), "RATE must be finite, got nan"),
    ("SOURCE", {}, {"shares": [0.5, float("inf")]}, "SOURCE must be finite, got {'sha"),
    ("INTERVAL", 1000, 0, "INTERVAL must be at least 1, got 0"),
    ("RATES", [0.1], [float("inf")], "RATES[0] must be finite, got inf"),
])
def test_a_number_that_nothing_can_be_made_of(toy, name, default, value, said):
    parameters = f'DATASET = "toy"\nPROFILE = "smoke"\nRUN = "n"\nSEED = 0\n{name} = {default}'
    toy.run("n", f"print({name})", *WRITE, notebook={"parameters": parameters},
            parameters={"smoke": {name: value}})
    refused(toy, said)


def test_a_key_that_the_source_does_not_know(toy):
    (toy.root / "lib/shoplens/data/sources/toy.py").write_text("def prepare(*, seed: int = 0):\n    return seed\n")
    parameters = 'DATASET = "toy"\nPROFILE = "smoke"\nRUN = "n"\nSEED = 0\nSOURCE = {"seed": 0}'
    toy.run("n", "print(SOURCE)", *WRITE, notebook={"parameters": parameters}, sources=True,
            parameters={"smoke": {"SOURCE": {"sead": 0}}})
    refused(toy, "SOURCE has no key sead; toy.py takes: seed")


def refused(toy, said: str) -> None:
    toy.save()
    for target in ("reproduce", "status"):
        answer = toy.make(target, "PROFILE=smoke")
        lines = [line for line in answer.stderr.splitlines() if not line.startswith("make: ***")]
        if target == "status" and "SOURCE" in said:
            continue        # which is read where runs are made
        assert answer.returncode == 2
        assert len(lines) == 1, lines
        assert said in lines[0]
        assert not (toy.root / "results").exists()


def test_weights_are_looked_for_before_anything_is_made(toy):
    """A damaged file, as a missing one would be downloaded where there is a network."""
    package = toy.root / "lib" / "shoplens" / "models"
    package.mkdir()
    for name in ("__init__.py", "weights.py"):
        shutil.copy(REPOSITORY / "lib" / "shoplens" / "models" / name, package)
    (toy.root / "weights").mkdir()
    (toy.root / "weights" / "squeezenet1_1.safetensors").write_text("half a file")
    parameters = f'{PARAMETERS}\nBACKBONE = "squeezenet1_1"\nPRETRAINED = True'
    toy.run("n", "print(BACKBONE, PRETRAINED, EPOCHS, RATE)", *WRITE, notebook={"parameters": parameters}, inputs=["a"])
    toy.save()
    answer = toy.make("reproduce", "PROFILE=smoke")
    assert answer.returncode == 2, answer.stderr
    assert "squeezenet1_1.safetensors is damaged" in answer.stderr.splitlines()[0]
    assert not (toy.root / "results").exists()
