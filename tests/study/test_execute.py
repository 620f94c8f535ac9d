"""The runner against good and bad notebooks: only a whole run is published, everything else leaves no target."""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from throwaway import PARAMETERS, WRITE, WRITE_PLAIN, Throwaway

from shoplens.errors import StudyError
from shoplens.study import execute
from shoplens.study.notebook_run import start_run
from shoplens.study.plan import load_study
from shoplens.study.reference import shows_pictures

FINISH = "run.finish()"
TABLE = WRITE_PLAIN.splitlines()[0]
MEASURE = """import os, sys
run.metric("acc", 0.5, k=1, split="test")
run.provenance("data", "abc")
ballast = bytearray(300 * 2**20)
print("kernel", sys.executable, os.getcwd(), os.environ["PYTHONHASHSEED"])
print("Epoch 1: fine")"""
FIGURE = """import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.plot([1, 2])
run.figure(fig, "curve")"""
# name: (cells after the opening, what the one line on stderr must say)
BAD = {
    "exception": (["1 / 0", WRITE_PLAIN, FINISH], "in the cell `1 / 0`: ZeroDivisionError"),
    "early_exit": (["import sys\nsys.exit(0)", WRITE_PLAIN, FINISH], "the cells after it did not run"),
    "killed": (["import os; os.kill(os.getpid(), 9)", WRITE_PLAIN, FINISH], "getpid(), 9)`: the kernel died"),
    "unfinished": ([WRITE_PLAIN], "run.finish() was not reached"),
    "missing": (["run.artefact('model.txt').write_text('x')", FINISH], "not written, or empty: tables/missing.csv"),
    "empty": ([WRITE_PLAIN, "run.artefact('model.txt').write_text('')", FINISH], "or empty: artefacts/model.txt"),
    "swallowed": ([f"try:\n    1 / 0\n    {TABLE}\nexcept Exception as e:\n    print(e)", FINISH],
                  "not written, or empty: tables/swallowed.csv, artefacts/model.txt"),
    "stray": ([WRITE_PLAIN, "run.path('figures/x.png').write_text('x')", FINISH], "not declared: figures/x.png"),
    "nan": ([WRITE_PLAIN, "run.path('tables/nan.csv').write_text('k,value\\n1,\\n2,nan\\n3,0.5\\n')", FINISH],
            "tables/nan.csv: 2 rows have no finite `value`"),
}  # fmt: skip
TRAINING = """done = int((run.checkpoint / "done").read_text()) if (run.checkpoint / "done").exists() else 0
print("starting at", done)
import os, time
(run.checkpoint / "pid").write_text(str(os.getpid()))
if done == 0:
    (run.checkpoint / "done").write_text("2")
    time.sleep(60)"""
READ = """print(run.input("good", "model.txt").read_text(), run.inputs("good"), run.record("good")["metrics"])"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """One root, every fixture notebook executed once, two at a time: (study, {run: finished process})."""
    study = Throwaway(tmp_path_factory.mktemp("runs"))
    outputs = ["tables/{run}.csv", "artefacts/model.txt"]
    study.run("good", MEASURE, WRITE, FIGURE, FINISH, outputs=[*outputs, "figures/curve.png"])
    for name, (cells, _) in BAD.items():
        study.run(name, *cells)
    with ThreadPoolExecutor(2) as pool:
        runs = ["good", *BAD]
        return study, dict(zip(runs, pool.map(study.execute, runs), strict=True))


def test_good_run_publishes_everything(executed):
    study, processes = executed
    good = processes["good"]
    assert good.returncode == 0, good.stderr
    results = study.results
    for name in ("tables/good.csv", "tables/good.md", "figures/curve.png", "figures/curve.svg",
                 "artefacts/good/model.txt", "notebooks/good.ipynb", "logs/good.log"):  # fmt: skip
        assert (results / name).stat().st_size > 0, name
    assert "SMOKE: not a result" in (results / "tables" / "good.md").read_text()
    assert not (results / "failed" / "good.ipynb").exists()
    assert list((results / "checkpoints").glob("good-*")) == []
    assert not (results / ".staging" / "good").exists()


def test_good_run_is_recorded(executed):
    study, _ = executed
    record = study.record("good")
    assert record["status"] == "done"
    assert record["metrics"] == [{"name": "acc", "value": 0.5, "k": 1, "split": "test"}]
    assert record["provenance"] == {"data": "abc"}
    assert record["parameters"] == {
        "DATASET": "toy", "PROFILE": "smoke", "RUN": "good", "SEED": 0, "EPOCHS": 3, "RATE": 0.1,
    }  # fmt: skip
    assert record["outputs"] == [
        "figures/curve.png", "figures/curve.svg", "tables/good.csv", "tables/good.md", "artefacts/good/model.txt",
    ]  # fmt: skip
    assert 300 < record["peak_memory_mib"] < 3000, "the kernel held 300 MiB"
    assert record["cpu_s"] > 0
    assert record["wall_s"] < 60
    assert record["versions"]["papermill"]
    assert record["hardware"]["cores"] >= 1
    assert str(study.root) not in json.dumps(record), "a record holds no path of the machine"


def test_kernel_is_this_interpreter_at_the_root(executed):
    study, processes = executed
    log = (study.results / "logs" / "good.log").read_text()
    assert f"kernel {sys.executable} {study.root} 0" in log
    assert "[good] Epoch 1: fine" in processes["good"].stdout, "progress reaches the terminal"
    assert "kernel" not in processes["good"].stdout, "other prints do not"
    written = {path.name for path in (study.root / "home").iterdir()}
    assert written <= {".cache", ".config"}, "matplotlib's own folders, but no kernel spec and no IPython profile"


def test_executed_notebook_keeps_what_papermill_says(executed):
    study, _ = executed
    notebook = json.loads(study.target("good").read_text())
    recorded = notebook["metadata"]["papermill"]
    assert recorded["parameters"]["RUN"] == "good"
    assert recorded["output_path"] == "results/toy/smoke/notebooks/good.ipynb"
    assert notebook["metadata"]["kernelspec"]["name"] == "no-such-kernel", "the source's own kernel was not asked"


@pytest.mark.parametrize("name", BAD)
def test_bad_run_leaves_no_target(executed, name):
    study, processes = executed
    message = processes[name].stderr.strip().splitlines()[-1]
    assert processes[name].returncode == 1
    assert f"{name} failed" in message
    assert BAD[name][1] in message
    assert f"results/toy/smoke/failed/{name}.ipynb" in message
    assert not study.target(name).exists()
    assert not (study.results / "tables" / f"{name}.csv").exists()
    assert not (study.results / "artefacts" / name).exists()
    assert json.loads((study.results / "failed" / f"{name}.ipynb").read_text())["cells"]
    record = study.record(name)
    assert record["status"] == "failed"
    assert BAD[name][1].split(": ", 1)[-1] in record["error"]


def test_status_shows_failed_and_done(executed):
    study, _ = executed
    lines = {line.split()[0]: line for line in study.make("status").stdout.splitlines() if line.strip()}
    assert lines["good"].split()[1] == "done"
    assert "failed" in lines["exception"]
    assert "ZeroDivisionError" in lines["exception"]


@pytest.mark.parametrize(
    ("case", "notebook", "overrides", "message"),
    [
        ("untagged", {"tag": "setup"}, {}, "untagged.ipynb: no code cell is tagged `parameters`"),
        ("unknown", {}, {"EPOCH": 1}, "unknown.ipynb has no parameter EPOCH"),
        ("mistyped", {}, {"EPOCHS": "many"}, "EPOCHS must be a int"),
        ("texty", {}, {"RATE": "1e-4"}, "write 1.0e-4"),
        ("unused", {"parameters": PARAMETERS + "\nWIDTH = 3  # ?"}, {}, "unused.ipynb: parameter WIDTH is never read"),
    ],
)
def test_bad_parameters_stop_before_anything_runs(tmp_path, case, notebook, overrides, message):
    study = Throwaway(tmp_path)
    study.run(case, notebook=notebook, parameters={"all": overrides})
    for process in (study.execute(case), study.make("reproduce")):
        assert process.returncode == 2
        assert message in process.stderr
    assert not (study.results / "notebooks").exists()


def test_run_without_its_input_names_the_command(executed):
    study, _ = executed
    study.run("downstream", READ, WRITE_PLAIN, FINISH, inputs=["exception"])
    process = study.execute("downstream")
    assert process.returncode == 2
    said = "downstream needs exception (failed); make reproduce RUN=downstream DATASET=toy PROFILE=smoke"
    assert said in process.stderr


def test_input_reaches_the_notebook(executed):
    study, _ = executed
    study.run("reader", READ, WRITE_PLAIN, FINISH, inputs=["good"])
    assert study.execute("reader").returncode == 0
    assert "x ['good'] [{'name': 'acc'" in (study.results / "logs" / "reader.log").read_text()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def test_killed_runner_takes_its_kernel_along_and_the_rerun_resumes(tmp_path):
    study = Throwaway(tmp_path)
    study.run("training", TRAINING, WRITE_PLAIN, FINISH)
    process = study.start("execute", "--run", "training")
    done = wait_for(lambda: list(study.results.glob("checkpoints/*/done")))[0]
    pid = int(done.with_name("pid").read_text())
    assert "running" in study.make("status").stdout
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not study.target("training").exists()
    again = study.execute("training")
    assert again.returncode == 0, again.stderr
    assert not os.path.exists(f"/proc/{pid}"), "the kernel outlived its runner"
    assert "starting at 2" in (study.results / "logs" / "training.log").read_text()
    assert list((study.results / "checkpoints").iterdir()) == []


def test_killed_make_takes_its_runs_along_and_the_next_resumes(tmp_path):
    study = Throwaway(tmp_path)
    study.run("training", TRAINING, WRITE_PLAIN, FINISH)
    process = study.start_make("reproduce")
    wait_for(lambda: list(study.results.glob("checkpoints/*/done")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = study.make("reproduce")
    assert again.returncode == 0, again.stderr
    assert "starting at 2" in (study.results / "logs" / "training.log").read_text()


def test_two_attempts_at_one_run_do_not_race(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    study = Throwaway(tmp_path)
    study.run("training")
    run = load_study().plan("toy", "smoke")["training"]
    with (
        execute.locked(run, wait_s=1),
        pytest.raises(StudyError, match=f"process {os.getpid()} is still executing training of toy/smoke"),
        execute.locked(run, wait_s=0.3),
    ):
        pass
    with execute.locked(run, wait_s=0.1):
        pass


@pytest.mark.parametrize("given", ["all", "0", "1.5"])
def test_wrong_number_of_processes_touches_nothing(tmp_path, monkeypatch, given):
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    monkeypatch.setenv("NUM_PROCESSES", given)
    study = Throwaway(tmp_path)
    study.run("a")
    run = load_study().plan("toy", "smoke")["a"]
    run.target.parent.mkdir(parents=True)
    run.target.write_text("published")
    with pytest.raises(StudyError, match=f"NUM_PROCESSES={given} must be a whole number from 1"):
        execute.execute(run, {"fingerprint": "f" * 64}, {})
    assert [path.name for path in study.results.iterdir()] == ["notebooks"]
    assert run.target.exists()


def test_interrupted_runner_says_so_and_keeps_its_checkpoint(tmp_path):
    study = Throwaway(tmp_path)
    study.run("training", TRAINING, WRITE_PLAIN, FINISH)
    process = study.start("execute", "--run", "training")
    wait_for(lambda: list(study.results.glob("checkpoints/*/done")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert "training failed" in errors
    assert not study.target("training").exists()
    assert (study.results / "failed" / "training.ipynb").exists()
    assert study.record("training")["status"] == "failed"
    assert len(list((study.results / "checkpoints").iterdir())) == 1


def test_run_by_hand_writes_to_scratch(scratch_root, monkeypatch, capsys):
    monkeypatch.delenv("SHOPLENS_STAGING", raising=False)
    run = start_run("toy", "laptop", "02_b", 0)
    run.path("figures/x.png").write_text("x")
    (run.checkpoint / "last").write_text("1")
    run.finish()
    scratch = scratch_root / "results" / "toy" / "laptop" / "scratch" / "02_b"
    assert (scratch / "figures" / "x.png").exists()
    assert "make reproduce RUN=02_b" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="make reproduce RUN=01_a DATASET=toy PROFILE=laptop"):
        run.input("01_a", "catalogue")
    assert not any(start_run("toy", "laptop", "02_b", 0).checkpoint.iterdir()), "by hand, nothing is resumed"


def test_record_refuses_what_is_no_number_or_place(scratch_root):
    run = start_run("toy", "laptop", "02_b", 0)
    with pytest.raises(ValueError, match="acc .* is nan"):
        run.metric("acc", float("nan"), k=1)
    for name in ("x.csv", "../tables/x.csv", "figures/../../x"):
        with pytest.raises(ValueError, match="an output lies under"):
            run.path(name)


def test_table_and_figure_are_written_twice_the_same(scratch_root):
    import matplotlib.pyplot as plt
    import pandas as pd

    run = start_run("toy", "laptop", "02_b", 3)
    with pytest.raises(ValueError, match="no finite value in 1 rows"):
        run.table(pd.DataFrame({"value": [1.0, float("inf")]}), "t")
    path = run.table(pd.DataFrame({"variant": ["bCNN"], "value": [0.25]}), "t", caption="Table 1")
    assert path.read_text() == "variant,value\nbCNN,0.25\n"
    twin = path.with_suffix(".md").read_text()
    assert twin.startswith("**Table 1**\n\n| variant")
    assert twin.endswith("Dataset toy, profile laptop, seed 3, run 02_b.\n")
    fig, ax = plt.subplots()
    ax.plot([1, 2], [3, 4])
    first = [p.read_bytes() for p in (run.figure(fig, "f"), run.path("figures/f.svg"))]
    second = [p.read_bytes() for p in (run.figure(fig, "f"), run.path("figures/f.svg"))]
    plt.close(fig)
    assert first == second


def test_an_optional_output_may_be_written_or_not(tmp_path):
    """A figure that only some catalogues have: declared as optional it neither fails a run nor is demanded."""
    study = Throwaway(tmp_path, in_process=True)
    extra = 'run.path("artefacts/extra.txt").write_text("shown")'
    study.run("has", WRITE_PLAIN, extra, "run.finish()", optional=["artefacts/extra.txt"])
    study.run("lacks", WRITE_PLAIN, "run.finish()", optional=["artefacts/extra.txt"])
    study.run("undeclared", WRITE_PLAIN, extra, "run.finish()")
    ended = {name: study.execute(name) for name in ("has", "lacks", "undeclared")}
    assert [process.returncode for process in ended.values()] == [0, 0, 1], ended
    assert "artefacts/extra.txt" in ended["undeclared"].stderr
    assert (study.results / "artefacts/has/extra.txt").exists()


def test_sheets_of_pictures_are_kept_apart_from_plots(tmp_path):
    """A heat map embeds one image (its colour bar); a sheet of photographs one a picture."""
    for name, images in (("plot", 0), ("heat", 1), ("sheet", 8)):
        (tmp_path / f"{name}.svg").write_text("<svg>" + "<image href='data:'/>" * images + "</svg>")
        (tmp_path / f"{name}.png").write_bytes(b"png")
    shown = {name for name in ("plot", "heat", "sheet") for kind in (".png", ".svg")
             if shows_pictures(tmp_path / f"{name}{kind}")}
    assert shown == {"sheet"}
    assert not shows_pictures(tmp_path / "table.csv")
