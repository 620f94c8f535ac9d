"""Faults at random on a small smoke study, and what a user sees of them: the same tables, or one line that names the
file. `PYTHONPATH=lib:tests python -m faults.injection --kills 60 --damages 20` does it at length; the tests in short.
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from smoke import copy_of_sources, edit_study, environment, keep_runs, make
from warm_python import warm_python

RUNS = {"01_catalogue", "02_bcnn", "08_netvlad", "09_global_pos10"}
SMALL = {"num_items": 140, "num_search_items": 10, "gallery_per_item": 4, "min_per_leaf": 3}      # drawn again often
RESULTS = "results/bazaar/smoke"
DAMAGED = (f"{RESULTS}/artefacts", f"{RESULTS}/tables", f"{RESULTS}/runs", f"{RESULTS}/checkpoints", "cache")
WITHIN_S = 6        # of its life a process is killed
WORDS = {"runner": r"^\S*python\S* -m shoplens.study execute", "kernel": "ipykernel_launcher"}    # of a command line
PATIENCE_S = 30     # after which no process of a killed make may be left; --patience 10 where nothing else runs


def build(folder: Path, python: str) -> dict[str, bytes]:
    """A copy of the study with few runs, executed once; its tables."""
    prepare(folder)
    assert not reproduce(folder, python)
    return tables(folder)


def prepare(folder: Path) -> None:
    """A copy of the study with few runs and a small catalogue, as a fresh clone would be."""
    keep_runs(copy_of_sources(folder), "bazaar", RUNS)

    def thin(study: dict) -> None:
        given = study["runs"]["01_catalogue"]["parameters"]["all"]
        given |= {"MIN_PER_LEAF": SMALL["min_per_leaf"], "SOURCE": given["SOURCE"] | SMALL}
    edit_study(folder, thin)


def reproduce(folder: Path, python: str) -> str:
    """What `make reproduce` says on stderr where it fails, "" where it ends well."""
    done = make(folder, "reproduce", "PROFILE=smoke", python=python)
    return "" if done.returncode == 0 else done.stderr or "failed without a word"


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / RESULTS / "tables").glob("*"))}


def processes(folder: Path) -> list[tuple[psutil.Process, str]]:
    """Living processes that belong to a study, with their command lines."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("STUDY_ROOT") == str(folder):
                found.append((process, " ".join(process.cmdline())))
    return found


def make_due(folder: Path, chance: random.Random) -> str:
    """Have some run executed again, and at times what lies in the cache made again."""
    name = chance.choice(sorted(RUNS))
    (folder / RESULTS / "runs" / f"{name}.json").unlink(missing_ok=True)
    if gone := chance.choice(["", "", "bazaar", "stores", "activations", "hashes"]):
        shutil.rmtree(folder / "cache" / gone, ignore_errors=True)
    return f"{name} due{f', without cache/{gone}' if gone else ''}"


def kill_at_random(folder: Path, chance: random.Random, patience_s: float) -> str:
    """Start `make reproduce`, kill some of it at a random moment; what was killed, and when.

    AssertionError where a process is left after `patience_s`.
    """
    running = subprocess.Popen(["make", "reproduce", "PROFILE=smoke", f"PYTHON={sys.executable}"], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
                               start_new_session=True)
    started, what = time.monotonic(), chance.choice(["group", "make", "runner", "kernel"])
    chosen = [psutil.Process(running.pid)] if what == "make" else []
    while what in WORDS and not chosen and running.poll() is None:
        chosen = [process for process, words in processes(folder) if re.search(WORDS[what], words)]
        time.sleep(0.05)
    time.sleep(chance.uniform(0, WITHIN_S))        # of its life
    for process in chosen:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if what == "group" and running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    if what in ("kernel", "runner"):
        running.wait(timeout=120)       # make sees its run fail, says so and writes the report
    moment = time.monotonic() - started
    running.poll()
    deadline = time.monotonic() + patience_s
    while left := processes(folder):
        assert time.monotonic() < deadline, f"{what} killed after {moment:.1f} s left {left}"
        time.sleep(0.1)
        running.poll()
    return f"{what} after {moment:.1f} s"


def damage_at_random(folder: Path, chance: random.Random, how: str) -> Path:
    """Truncate a file chosen at random, or flip one byte of it; which one it was, seen from the study."""
    files = sorted(file for place in DAMAGED for file in (folder / place).rglob("*")
                   if file.is_file() and file.stat().st_size)
    kinds = sorted({file.relative_to(folder).parts[:4] for file in files})      # drawings are many, records few
    kind = chance.choice(kinds)
    file = chance.choice([file for file in files if file.relative_to(folder).parts[:4] == kind])
    content = bytearray(file.read_bytes())
    if how == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    else:
        del content[chance.randrange(len(content)):]
    file.write_bytes(content)
    return file.relative_to(folder)


def start_at_once(folder: Path, python: str, count: int, chance: random.Random) -> list[str]:
    """How several makes end that are started within two seconds: "done", or the one line on stderr."""
    started = []
    for _ in range(count):
        started.append(subprocess.Popen(["make", "reproduce", "PROFILE=smoke", f"PYTHON={python}"], cwd=folder,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()))
        time.sleep(chance.uniform(0, 2 / count))
    ended = [(process.communicate(timeout=1800)[1], process.returncode) for process in started]
    return [said.splitlines()[0] if code else "done" for said, code in ended]


def check(folder: Path, undisturbed: dict[str, bytes], python: str, damaged: list[Path]) -> str:
    """"equal", or "refused" where one line names a damaged file; AssertionError for anything else."""
    said = reproduce(folder, python)
    if not said:
        assert tables(folder) == undisturbed
        return "equal"
    assert any(file.name in said for file in damaged), said
    return "refused"


def rounds(folder: Path, undisturbed: dict[str, bytes], python: str, chance: random.Random, kills: int, damages: int,
           each: int, patience_s: float = PATIENCE_S) -> Iterator[str]:
    """Kills, then as many truncations as flipped bits, `each` of them before every check; one line per check."""
    faults = ["kill"] * kills + ["truncate", "flip"] * damages
    for start in range(0, len(faults), each):
        done, files = [], []
        for how in faults[start:start + each]:
            if how == "kill":
                done += [make_due(folder, chance), f"kill {kill_at_random(folder, chance, patience_s)}"]
            else:
                files.append(damage_at_random(folder, chance, how))
                done.append(f"{how} {files[-1]}")
        done.append(make_due(folder, chance))
        yield f"{start + 1}: {'; '.join(done)}: {check(folder, undisturbed, python, files)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--damages", type=int, default=20, help="truncations, and as many single flipped bits")
    parser.add_argument("--each", type=int, default=1, help="faults before the tables are looked at")
    parser.add_argument("--makes", type=int, default=0, help="before all else, so many makes at once in a fresh copy")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds until no process is left")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other, \
            warm_python(Path(other)) as python:
        folder = Path(folder).resolve()
        undisturbed, chance = build(folder, python), random.Random(given.seed)
        if given.makes:
            with tempfile.TemporaryDirectory() as fresh:
                fresh = Path(fresh).resolve()
                prepare(fresh)
                print(*start_at_once(fresh, python, given.makes, chance), sep="\n", flush=True)
                assert tables(fresh) == undisturbed
        for line in rounds(folder, undisturbed, python, chance, given.kills, given.damages, given.each,
                           given.patience):
            print(line, flush=True)


if __name__ == "__main__":
    main()
