"""Executes one run through papermill, in a kernel of this interpreter, one attempt at a time."""

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from shoplens import environment
from shoplens.errors import StudyError
from shoplens.paths import root, write_json
from shoplens.study.fingerprint import code_files
from shoplens.study.parameters import check_used
from shoplens.study.plan import RunSpec
from shoplens.study.publish import check_outputs, publish, stopped_in, withdraw, work_folder

# Training prints one line an epoch; those lines go to the terminal, everything else only to the log.
PROGRESS = re.compile(r"\s*epoch\b", re.I)


def lock_file(run: RunSpec) -> Path:
    """File that a process locks for as long as it executes the run."""
    return run.results / ".staging" / f"{run.id}.lock"


def _kernel_lock(run: RunSpec) -> Path:
    return run.results / ".staging" / f"{run.id}.kernel.lock"


def _lock(file: TextIO) -> bool:
    """Lock an open file; False where another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock (a file alone says nothing)."""
    if not path.exists():
        return False
    with open(path) as file:
        return not _lock(file)


@contextmanager
def locked(run: RunSpec, wait_s: float):
    """Hold the lock of a run, once no earlier attempt and none of its kernels is alive; StudyError after
    `wait_s` seconds."""

    def holder() -> str:
        """Who still executes the run; "" once the lock is ours."""
        if not _lock(file):
            file.seek(0)
            return f"process {file.read().strip() or 'unknown'}"
        return "the kernel of an earlier attempt" if is_locked(_kernel_lock(run)) else ""

    lock_file(run).parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with open(lock_file(run), "a+") as file:
        while who := holder():
            if time.monotonic() > deadline:
                raise StudyError(
                    f"{who} is still executing {run.id} of {run.dataset}/{run.profile}; wait or stop it")
            time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def say(line: str) -> None:
    """Print a line in one write: with -j2 two runs share the terminal, and print() may write the end of line apart."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Echo:
    """Receives what the notebook prints: all of it to a log, lines of progress also to the terminal."""

    def __init__(self, run: RunSpec):
        path = run.results / "logs" / f"{run.id}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed with the run
        self._name, self._rest = run.id, ""
        self.flush = self._log.flush

    def write(self, text: str) -> None:
        self._log.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(PROGRESS.match, lines):
            say(f"[{self._name}] {line}")


def _kernel_environment(run: RunSpec, fingerprint: str) -> dict[str, str]:
    """Variables of the kernel. The kernel spec lies in the staging folder and names this very interpreter, so a
    `python3` kernel in the user's home, or none at all, makes no difference; nothing is written to the home."""
    work = work_folder(run)
    kernel = work / "kernel"
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
    write_json(kernel / "kernels" / "python3" / "kernel.json",
               {"argv": argv, "display_name": "Python 3", "language": "python"})
    path = [str(root() / "lib"), os.environ.get("PYTHONPATH", "")]
    return {
        "STUDY_ROOT": str(root()),
        "SHOPLENS_STAGING": str(work / "files"),
        "SHOPLENS_CHECKPOINTS": str(run.results / "checkpoints" / f"{run.id}-{fingerprint[:12]}"),
        "SHOPLENS_INPUTS": json.dumps(run.inputs),
        "SHOPLENS_KERNEL_LOCK": str(_kernel_lock(run)),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONHASHSEED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "JUPYTER_PATH": str(kernel),
        "JUPYTER_RUNTIME_DIR": str(kernel / "runtime"),
        "IPYTHONDIR": str(kernel / "ipython"),
    }


def _run_notebook(run: RunSpec, fingerprint: str) -> None:
    """Execute into the staging folder; raises what papermill raises."""
    import papermill

    os.environ.update(_kernel_environment(run, fingerprint))
    os.chdir(root())
    papermill.execute_notebook(
        str(run.notebook.relative_to(root())),
        str((work_folder(run) / "notebook.ipynb").relative_to(root())),
        parameters=run.parameters(),
        kernel_name="python3",
        progress_bar=False,
        stdout_file=_Echo(run),
        start_timeout=120,
    )


@contextmanager
def _measured(record: dict):
    """Write into a record what the block took: wall and CPU seconds, and the memory of the largest process."""
    clock, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        yield
    finally:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        record["wall_s"] = round(time.monotonic() - clock, 1)
        record["cpu_s"] = round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1)
        # KiB on Linux, bytes on macOS.
        record["peak_memory_mib"] = round(used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def _fail(run: RunSpec, record: dict, error: BaseException) -> str:
    """Keep the notebook as far as it came and the record; the one line that says what happened."""
    executed = work_folder(run) / "notebook.ipynb"
    cell, reason = stopped_in(executed)
    if isinstance(error, StudyError):
        reason = str(error)
    elif isinstance(error, KeyboardInterrupt):
        reason = "interrupted"
    elif type(error).__name__ == "DeadKernelError":
        reason = "the kernel died: killed, or out of memory"
    elif not reason:
        reason = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    failed = run.results / "failed" / f"{run.id}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(executed if executed.exists() else run.notebook, failed)
    write_json(run.record_file, record | {"status": "failed", "error": reason, "cell": cell})
    where = f" in the cell `{cell}`" if cell else ""
    return f"{run.id} failed{where}: {reason} (see {failed.relative_to(root())})"


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _stop_without(process: int) -> None:
    """End this run, as Ctrl-C would, once that process is gone: a killed make cannot tell its runs itself."""
    import psutil

    def watch() -> None:
        while psutil.pid_exists(process):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def num_processes() -> int:
    """Processes of a training, from the variable NUM_PROCESSES, 1 without it; StudyError for what is no such number."""
    given = os.environ.get("NUM_PROCESSES") or "1"
    if not re.fullmatch(r"0*[1-9]\d*", given):
        raise StudyError(f"NUM_PROCESSES={given} must be a whole number from 1, such as NUM_PROCESSES=2")
    return int(given)


def execute(run: RunSpec, made_from: dict, inputs: dict[str, str]) -> str | None:
    """Execute one run, whose lock the caller holds; None when it is published, else the line that says why it failed.

    `made_from` is the run's entry of `fingerprints`, `inputs` {input id: when it was finished}. StudyError, before
    anything is touched, for a parameter that is never read or a NUM_PROCESSES that is no number.
    """
    check_used(run.notebook)
    processes = num_processes()
    signal.signal(signal.SIGTERM, _stop)
    if os.environ.get("SHOPLENS_PARENT"):
        _stop_without(int(os.environ["SHOPLENS_PARENT"]))
    withdraw(run)
    work = work_folder(run)
    shutil.rmtree(work, ignore_errors=True)
    (work / "files").mkdir(parents=True)
    record = {
        "run": run.id, "dataset": run.dataset, "profile": run.profile, "seed": run.seed,
        "notebook": run.notebook.relative_to(root()).as_posix(), "parameters": run.parameters(),
        "inputs": inputs, **made_from, "git": environment.git_state(code_files(run)),
        "versions": environment.versions(), "hardware": environment.hardware(),
        "num_processes": processes,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    say(f"[{run.id}] running for {run.dataset}/{run.profile}")
    try:
        with _measured(record):
            _run_notebook(run, made_from["fingerprint"])
        finished = check_outputs(run)
    except BaseException as error:
        line = _fail(run, record, error)
        shutil.rmtree(work, ignore_errors=True)
        return line
    record["hardware"] |= finished["hardware"]
    record |= {"metrics": finished["metrics"], "provenance": finished["provenance"]}
    record["precision"] = finished["provenance"].get("precision")
    record["finished"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    publish(run, record)
    say(f"[{run.id}] done in {record['wall_s']:.0f} s, {record['peak_memory_mib']} MiB at most")
    return None
