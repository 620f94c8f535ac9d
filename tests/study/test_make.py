"""`make reproduce` with the real Makefile in a throwaway root: what is run again, and what is not."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from throwaway import WRITE_PLAIN, Throwaway

FINISH = "run.finish()"


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def ran(process) -> set[str]:
    """Runs that a call of make published. Notebooks run in the runner's process print into its lines."""
    return set(re.findall(r"\[([\w-]+)\] done in", process.stdout))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A study a > b, c alone; b imports shoplens.plots. Reproduced once, with two jobs."""
    study = Throwaway(tmp_path_factory.mktemp("make"), in_process=True)
    study.module("plots", "SIZE = 1\n")
    study.run("a")
    reads = "from shoplens.plots import SIZE\nprint(run.input('a', 'model.txt'))"
    study.run("b", reads, WRITE_PLAIN, FINISH, inputs=["a"])
    study.run("c", datasets=["toy"])
    process = study.make("reproduce", "-j2")
    assert process.returncode == 0, process.stderr
    assert ran(process) == {"a", "b", "c"}
    assert (study.results / "index.html").read_text() == "report of a b c"
    return study


def assert_nothing_to_do(study, *arguments):
    started = time.monotonic()
    process = study.make("reproduce", *arguments)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("\n") == 1
    assert process.stdout.startswith("Nothing to do: toy/smoke")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("jobs", [1, 2])
def test_as_many_runs_at_a_time_as_asked_share_the_cores(tmp_path, monkeypatch, jobs):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    study = Throwaway(tmp_path, in_process=True)
    stays = ("import os, time\nrun.metric('from', time.time())\ntime.sleep(2)\nrun.metric('to', time.time())\n"
             "run.metric('threads', int(os.environ.get('OMP_NUM_THREADS', 0)))")
    for name in ("a", "b"):
        study.run(name, stays, WRITE_PLAIN, FINISH)
    process = study.make("reproduce", f"JOBS={jobs}")
    assert process.returncode == 0, process.stderr
    first, second = sorted(({m["name"]: m["value"] for m in study.record(name)["metrics"]} for name in ("a", "b")),
                           key=lambda times: times["from"])
    assert (second["from"] < first["to"]) == (jobs == 2)
    assert first["threads"] == (max(os.cpu_count() // 2, 1) if jobs == 2 else 0)


def test_second_call_does_nothing_and_says_so(built):
    assert_nothing_to_do(built)
    assert_nothing_to_do(built, "-j2")
    assert_nothing_to_do(built, "RUN=b")
    assert {line.split()[1] for line in built.make("status").stdout.splitlines()[2:] if line.strip()} == {"done"}


def test_prose_edit_and_new_dates_do_nothing(built):
    rewrite(built.root / "notebooks" / "a.ipynb", "# a", "# Another title")
    for path in (built.root / "lib" / "shoplens" / "plots.py", built.root / "study.yml", built.target("a")):
        os.utime(path)
    assert_nothing_to_do(built)


def test_edit_that_is_taken_back_does_nothing(built):
    rewrite(built.root / "lib" / "shoplens" / "plots.py", "SIZE = 1", "SIZE = 9")
    status = built.make("status").stdout
    assert "b    stale" in status
    assert "module shoplens.plots changed" in status
    assert built.start("graph").wait() == 0, "the rules have seen the edit"
    rewrite(built.root / "lib" / "shoplens" / "plots.py", "SIZE = 9", "SIZE = 1")
    assert_nothing_to_do(built)


def test_code_edit_reruns_descendants_only(built):
    rewrite(built.root / "notebooks" / "a.ipynb", "print(EPOCHS, RATE)", "print(EPOCHS, RATE, 1)")
    status = built.make("status").stdout
    assert "notebook code changed" in status
    assert "input a changed" in status
    process = built.make("reproduce", "-j2")
    assert ran(process) == {"a", "b"}
    assert_nothing_to_do(built)


def test_module_edit_reruns_its_importers_only(built):
    rewrite(built.root / "lib" / "shoplens" / "plots.py", "SIZE = 1", "SIZE = 2")
    assert ran(built.make("reproduce")) == {"b"}


def test_parameter_change_reruns_that_run_and_says_why(built):
    built.study["runs"]["c"]["parameters"] = {"smoke": {"EPOCHS": 5}}
    built.save()
    assert "parameter EPOCHS 3 -> 5" in built.make("status").stdout
    assert ran(built.make("reproduce")) == {"c"}
    assert built.record("c")["parameters"]["EPOCHS"] == 5


def test_lost_table_is_made_again(built):
    (built.results / "tables" / "c.csv").unlink()
    assert "tables/c.csv is gone" in built.make("status").stdout
    assert ran(built.make("reproduce")) == {"c"}
    assert (built.results / "tables" / "c.csv").exists()


def test_input_executed_again_by_hand_reruns_its_readers(built):
    assert built.execute("a").returncode == 0
    assert "input a is newer" in built.make("status").stdout
    assert ran(built.make("reproduce")) == {"b"}


def test_failed_rerun_leaves_nothing_behind_and_the_repair_runs(built):
    good = (built.root / "notebooks" / "c.ipynb").read_text()
    rewrite(built.root / "notebooks" / "c.ipynb", "print(EPOCHS, RATE)", "print(EPOCHS, RATE, 1 / 0)")
    for words in ([], ["-k", "-j2"], ["RUN=c"]):
        index = built.results / "index.html"
        index.write_text("report of a b c")
        process = built.make("reproduce", *words)
        assert process.returncode == 2
        assert "c failed in the cell" in process.stderr
        assert process.stdout.count("Not everything was made") == 1
        assert index.read_text() == "report of a b", "the old report shows what is no longer there"
    assert not built.target("c").exists()
    assert not (built.results / "tables" / "c.csv").exists(), "a table of an earlier attempt is no result of this one"
    (built.root / "notebooks" / "c.ipynb").write_text(good)
    assert ran(built.make("reproduce")) == {"c"}
    assert not (built.results / "failed" / "c.ipynb").exists()


def test_report_is_written_again_after_its_modules_its_words_and_runs_by_hand(built):
    words = built.root / "report.yml"
    page = built.root / "lib" / "shoplens" / "report" / "index_page.py"
    index = built.results / "index.html"
    for change in (lambda: rewrite(page, "import sys", "import sys\nimport os"), lambda: words.write_text("title: a"),
                   lambda: words.unlink(), index.unlink, lambda: built.execute("c")):
        change()
        process = built.make("reproduce")
        assert process.returncode == 0, process.stderr
        assert ran(process) == set()
        assert "Nothing to do" not in process.stdout
        assert index.read_text() == "report of a b c"
        assert_nothing_to_do(built)


def test_a_run_whose_input_failed_is_not_run_and_the_others_are(tmp_path):
    study = Throwaway(tmp_path, in_process=True)
    study.run("a", "1 / 0", WRITE_PLAIN, FINISH)
    study.run("b", inputs=["a"])
    study.run("c")
    process = study.make("reproduce", "-k", "JOBS=1")
    assert process.returncode == 2
    assert ran(process) == {"c"}
    assert "[b]" not in process.stdout
    assert not (study.results / "runs" / "b.json").exists()
    assert (study.results / "index.html").read_text() == "report of c"


def test_two_makes_at_once_execute_every_run_once(tmp_path):
    study = Throwaway(tmp_path, in_process=True)
    study.run("a", "import time\nopen('started', 'a').write('a')\ntime.sleep(2)", WRITE_PLAIN, FINISH)
    study.run("b", inputs=["a"])
    study.run("c", "open('started', 'a').write('c')", WRITE_PLAIN, FINISH)
    makes = [study.start_make("reproduce", "JOBS=1") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in makes]
    assert [process.returncode for process in makes] == [0, 0], outputs
    text = "".join(output for output, _ in outputs)
    assert sorted(re.findall(r"\[(\w)\] done in", text)) == ["a", "b", "c"], text
    assert sorted((tmp_path / "started").read_text()) == ["a", "c"]
    assert_nothing_to_do(study)


def test_interrupted_make_reports_what_there_is(tmp_path):
    study = Throwaway(tmp_path, in_process=True)
    study.run("a")
    study.run("b", "import time\nopen('waiting', 'w').close()\ntime.sleep(60)", WRITE_PLAIN, FINISH, inputs=["a"])
    # Ctrl-C reaches every process of the terminal; a suite in the background of a shell ignores it.
    process = study.start_make("reproduce", start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 30
    while not (tmp_path / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Not everything was made" in output
    assert study.record("b")["error"] == "interrupted"
    assert (study.results / "index.html").read_text() == "report of a"


def test_one_run_and_what_it_needs(built):
    process = built.make("reproduce", "DATASET=plain", "RUN=b")
    assert process.returncode == 0, process.stderr
    assert ran(process) == {"a", "b"}
    plain = built.root / "results" / "plain" / "smoke"
    assert not (plain / "index.html").exists()
    assert (built.results / "notebooks" / "a.ipynb").exists(), "the other dataset is untouched"


def test_wrong_names_are_one_clear_line(built):
    for argument, message in (("DATASET=shop", "choose one of: toy, plain"), ("PROFILE=huge", "smoke, laptop"),
                           ("RUN=z", "choose one of: a, b, c"), ("SEEDS=x", 'SEEDS="x" must be'),
                           ("NUM_PROCESSES=all", "NUM_PROCESSES=all must be a whole number from 1")):  # fmt: skip
        process = built.make("reproduce", argument)
        assert process.returncode != 0
        errors = [line for line in process.stderr.splitlines() if not line.startswith("make")]
        assert len(errors) == 1
        assert message in errors[0]


def test_clone_is_not_up_to_date(built, tmp_path):
    """git gives all files of a clone one date; only what is committed comes along."""
    clone = tmp_path / "clone"
    shutil.copytree(built.root, clone, ignore=shutil.ignore_patterns("results", "home"))
    accepted = clone / "results" / "reference" / "toy" / "smoke" / "notebooks"
    accepted.mkdir(parents=True)
    (accepted / "a.ipynb").write_text("{}")
    for path in clone.rglob("*"):
        os.utime(path, (1e9, 1e9))
    study = Throwaway.__new__(Throwaway)
    study.root, study.study = clone, built.study
    process = study.make("reproduce", "RUN=a")
    assert ran(process) == {"a"}


def test_moved_results_stay_done(built, tmp_path):
    """A copy of the whole folder with dates in any order is as done as the original."""
    moved = tmp_path / "moved"
    shutil.copytree(built.root, moved)
    for age, path in enumerate(sorted(moved.rglob("*"))):
        os.utime(path, (1e9 - age, 1e9 - age))
    study = Throwaway.__new__(Throwaway)
    study.root, study.study = moved, built.study
    process = study.make("reproduce", "RUN=b")
    assert process.stdout.startswith("Nothing to do"), process.stdout


def repository(study):
    """Git for the study, without a commit yet; the command that speaks to it."""
    (study.root / ".gitignore").write_text("/results/*\n!/results/reference/\n/home/\n__pycache__/\n")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(study.root)]
    subprocess.run([*git, "init", "-q"], check=True)
    return git


def commit(git):
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "all"], check=True)


def test_accept_reference(tmp_path):
    study = Throwaway(tmp_path, in_process=True)
    n_resamples = "run.path('figures/a.png').write_bytes(b'a drawing')"
    study.run("a", WRITE_PLAIN, n_resamples, FINISH, optional=["figures/a.png"])
    study.run("b", inputs=["a"])
    git = repository(study)
    laptop = "PROFILE=laptop"
    assert "cannot accept a: it is never run" in study.make("accept-reference", laptop).stderr
    assert study.make("reproduce", laptop).returncode == 0
    assert "there is no commit" in study.make("accept-reference", laptop).stderr
    commit(git)
    rewrite(tmp_path / "notebooks" / "a.ipynb", "print(EPOCHS, RATE)", "print(RATE)\\nprint(EPOCHS)")
    assert "it is stale (notebook code changed)" in study.make("accept-reference", laptop).stderr
    assert study.make("reproduce", laptop).returncode == 0
    of_input = study.make("accept-reference", laptop, "RUN=b").stderr
    assert "cannot accept b: commit notebooks/a.ipynb first" in of_input, "b's numbers come of a's code"
    assert "cannot accept toy/laptop: commit notebooks/a.ipynb first" in study.make("accept-reference", laptop).stderr
    commit(git)
    assert "Accepted 2 runs" in study.make("accept-reference", laptop).stdout
    reference = tmp_path / "results" / "reference" / "toy" / "laptop"
    assert sorted(p.relative_to(reference).as_posix() for p in reference.rglob("*") if p.is_file()) == [
        "figures/a.png", "runs/a.json", "runs/b.json", "tables/a.csv", "tables/b.csv",
    ]  # fmt: skip
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert json.loads((reference / "runs" / "a.json").read_text())["accepted_commit"] == head
    assert study.make("reproduce").returncode == 0
    assert "their numbers are no results" in study.make("accept-reference").stdout      # smoke: tables alone
    assert sorted(p.name for p in (reference.with_name("smoke")).rglob("*") if p.is_file()) == [
        "a.csv", "a.json", "b.csv", "b.json"]


def test_a_network_that_nobody_should_judge_by_is_not_accepted(tmp_path):
    """It is where the run says what a poorer way does, and in the smoke profile, whose numbers mean nothing."""
    study = Throwaway(tmp_path, in_process=True)
    doubtful = "run.provenance('doubts', ['validation macc still rose', 'the baseline has the higher ACC'])"
    study.run("a", WRITE_PLAIN, doubtful, FINISH)
    commit(repository(study))
    for words in (["PROFILE=laptop"], []):
        assert study.make("reproduce", *words).returncode == 0
    assert ("cannot accept a: it is not trained well enough to judge by (validation macc still rose; the baseline has "
            "the higher ACC)") in study.make("accept-reference", "PROFILE=laptop").stderr
    assert study.make("accept-reference").returncode == 0
    study.study["runs"]["a"]["ablation"] = True
    study.save()
    commit(repository(study))
    assert study.make("accept-reference", "PROFILE=laptop").returncode == 0


def test_a_reference_is_never_of_two_minds(tmp_path):
    """Fewer seeds than it has are refused; what the study has no more goes with the next acceptance."""
    study = Throwaway(tmp_path, in_process=True)
    study.run("a", seeds=True)
    study.run("b", seeds="first", inputs=["a"])
    study.run("c")
    git = repository(study)
    commit(git)
    reference = tmp_path / "results" / "reference" / "toy" / "smoke"

    def accept(*words):
        assert study.make("reproduce", *words).returncode == 0
        process = study.make("accept-reference", *words)
        return process.stderr, sorted(path.stem for path in reference.glob("runs/*.json"))

    assert accept("SEEDS=0 1") == ("", ["a", "a-s1", "b", "c"])
    for seeds in ("0", "1"):
        message, held = accept(f"SEEDS={seeds}")
        assert 'give SEEDS="0 1"' in message
        assert held == ["a", "a-s1", "b", "c"]
    assert accept("RUN=a") == ("", ["a", "a-s1", "b", "c"])
    del study.study["runs"]["c"]
    study.save()
    commit(git)
    assert accept("SEEDS=0 1") == ("", ["a", "a-s1", "b"])
    assert sorted(path.stem for path in reference.glob("tables/*.csv")) == ["a", "a-s1", "b"]


def test_clean_asks_and_spares_what_is_committed(tmp_path):
    study = Throwaway(tmp_path)
    for name in ("toy/smoke", "reference/toy", "paper"):
        (tmp_path / "results" / name).mkdir(parents=True)
    assert "Kept." in subprocess.run(["make", "clean"], cwd=tmp_path, input="\n", text=True, capture_output=True).stdout
    assert (tmp_path / "results" / "toy").exists()
    assert study.make("clean", "YES=1").returncode == 0
    assert sorted(p.name for p in (tmp_path / "results").iterdir()) == ["paper", "reference"]


def test_help_lists_every_target(tmp_path):
    text = Throwaway(tmp_path).make().stdout
    for target in ("env", "check-env", "data", "reproduce", "report", "status", "test", "bench", "lab",
                   "accept-reference", "verify", "readme", "clean"):  # fmt: skip
        assert f"  {target} " in text
