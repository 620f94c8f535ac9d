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

from shoplens.errors import StudyError
from shoplens.paths import root
from shoplens.study import machine
from shoplens.study.fingerprint import code_files
from shoplens.study.parameters import check_used
from shoplens.study.plan import RunSpec
from shoplens.study.publish import (
    RunFailed,
    publish,
    publish_notebook,
    remove_checkpoints,
    stopped_in,
    verify,
    withdraw,
    work_folder,
    write_json,
)

LOCK_WAIT_S = 30
# Training prints one line an epoch; those lines go to the terminal, everything else only to the log.
PROGRESS = re.compile(r"\s*epoch\b", re.I)


def lock_file(run: RunSpec) -> Path:
    return run.results / ".staging" / f"{run.id}.lock"


def _kernel_lock(run: RunSpec) -> Path:
    return run.results / ".staging" / f"{run.id}.kernel.lock"


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock (a file alone says nothing)."""
    if not path.exists():
        return False
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def locked(run: RunSpec, wait_s: float):
    """Hold the lock of a run, once no earlier attempt and none of its kernels is alive; StudyError after
    `wait_s` seconds."""
    lock_file(run).parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with open(lock_file(run), "a+") as file:
        held = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                pass
            if held and not is_locked(_kernel_lock(run)):
                break
            if time.monotonic() > deadline:
                file.seek(0)
                who = "the kernel of an earlier attempt" if held else f"process {file.read().strip() or 'unknown'}"
                raise StudyError(f"{who} is still executing {run.id} of {run.dataset}/{run.profile}; wait or stop it")
            time.sleep(0.2)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _say(line: str) -> None:
    """A line in one write: with -j2 two runs share the terminal, and print() may write the end of line apart."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Echo:
    """Receives what the notebook prints: all of it to a log, lines of progress also to the terminal."""

    def __init__(self, run: RunSpec):
        self._path = run.results / "logs" / f"{run.id}.log"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(self._path, "w", encoding="utf-8")  # noqa: SIM115 - closed with the run
        self._name = run.id
        self._rest = ""

    def write(self, text: str) -> None:
        self._log.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if PROGRESS.match(line):
                _say(f"[{self._name}] {line}")

    def flush(self) -> None:
        self._log.flush()


def _environment(run: RunSpec, fingerprint: str) -> dict[str, str]:
    """Variables of the kernel. The kernel spec lies in the staging folder and names this very interpreter, so a
    `python3` kernel in the user's home, or none at all, makes no difference; nothing is written to the home."""
    work = work_folder(run)
    kernel = work / "kernel"
    spec = kernel / "kernels" / "python3" / "kernel.json"
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
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

    os.environ.update(_environment(run, fingerprint))
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


def _fail(run: RunSpec, record: dict, error: BaseException) -> str:
    """Keep the notebook as far as it came and the record; the one line that says what happened."""
    cell, said = stopped_in(work_folder(run) / "notebook.ipynb")
    if isinstance(error, RunFailed):
        cell, said = error.cell or cell, str(error)
    elif isinstance(error, KeyboardInterrupt):
        said = "interrupted"
    elif type(error).__name__ == "DeadKernelError":
        said = "the kernel died: killed, or out of memory"
    elif not said:
        said = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    failed = run.results / "failed" / f"{run.id}.ipynb"
    failed.parent.mkdir(parents=True, exist_ok=True)
    executed = work_folder(run) / "notebook.ipynb"
    shutil.copyfile(executed if executed.exists() else run.notebook, failed)
    write_json(run.record, record | {"status": "failed", "error": said, "cell": cell})
    where = f" in the cell `{cell}`" if cell else ""
    return f"{run.id} failed{where}: {said} (see {failed.relative_to(root())})"


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _stop_without(process: int) -> None:
    """End this run, as Ctrl-C would, once that process is gone: a killed make cannot tell its runs itself."""

    def watch() -> None:
        while True:
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()


def num_processes() -> int:
    """Processes of a training, from the variable NUM_PROCESSES, 1 without it; StudyError for what is no such number."""
    given = os.environ.get("NUM_PROCESSES") or "1"
    try:
        number = int(given)
    except ValueError:
        number = 0
    if number < 1:
        raise StudyError(f"NUM_PROCESSES={given} must be a whole number from 1, such as NUM_PROCESSES=2")
    return number


def execute(run: RunSpec, stamp: dict, upstream: dict[str, str], wait_s: float = LOCK_WAIT_S) -> str | None:
    """Execute one run; None when it is published, else the line that says why it failed.

    `stamp` is the run's entry of `fingerprints`, `upstream` {input id: when it was finished}. StudyError, before
    anything is touched, for a parameter that is never read, a NUM_PROCESSES that is no number or a run that another
    process executes.
    """
    check_used(run.notebook)
    processes = num_processes()
    signal.signal(signal.SIGTERM, _stop)
    if os.environ.get("SHOPLENS_PARENT"):
        _stop_without(int(os.environ["SHOPLENS_PARENT"]))
    with locked(run, wait_s):
        withdraw(run)
        work = work_folder(run)
        shutil.rmtree(work, ignore_errors=True)
        (work / "files").mkdir(parents=True)
        record = {
            "run": run.id, "dataset": run.dataset, "profile": run.profile, "seed": run.seed,
            "notebook": run.notebook.relative_to(root()).as_posix(), "parameters": run.parameters(),
            "inputs": upstream, **stamp, "git": machine.git_state(code_files(run)),
            "versions": machine.versions(), "hardware": machine.hardware(),
            "num_processes": processes,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        _say(f"[{run.id}] running for {run.dataset}/{run.profile}")
        clock, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        try:
            try:
                _run_notebook(run, stamp["fingerprint"])
            finally:
                used = resource.getrusage(resource.RUSAGE_CHILDREN)
                record["wall_s"] = round(time.monotonic() - clock, 1)
                record["cpu_s"] = round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1)
                # Of the largest single process, in KiB on Linux and bytes on macOS.
                record["peak_memory_mib"] = round(used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
            finished = verify(run)
        except BaseException as error:
            line = _fail(run, record, error)
            shutil.rmtree(work, ignore_errors=True)
            return line
        record["hardware"] |= finished["hardware"]
        record |= {"metrics": finished["metrics"], "provenance": finished["provenance"]}
        record["precision"] = finished["provenance"].get("precision")
        record["finished"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        write_json(run.record, {"status": "done", **record, "outputs": publish(run)})
        remove_checkpoints(run)
        (run.results / "failed" / f"{run.id}.ipynb").unlink(missing_ok=True)
        publish_notebook(run)
        shutil.rmtree(work, ignore_errors=True)
    _say(f"[{run.id}] done in {record['wall_s']:.0f} s, {record['peak_memory_mib']} MiB at most")
    return None
