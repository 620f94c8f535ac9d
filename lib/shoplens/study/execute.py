"""Executes one run through papermill, in a kernel of this interpreter, one attempt at a time."""

import json
import os
import re
import resource
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from shoplens import environment
from shoplens.errors import StudyError
from shoplens.paths import cache_dir, root, write_json
from shoplens.processes import end_with
from shoplens.sealed import write_sealed
from shoplens.study.fingerprint import code_files
from shoplens.study.notebook_run import try_lock
from shoplens.study.parameters import check_used
from shoplens.study.plan import RunSpec
from shoplens.study.publish import check_outputs, is_notebook, publish, stopped_in, withdraw, work_folder

# Training prints one line an epoch; those lines go to the terminal, everything else only to the log.
PROGRESS = re.compile(r"\s*epoch\b", re.I)


def lock_file(run: RunSpec, holder: str = "") -> Path:
    """File that a process locks for as long as it executes the run; with holder ".kernel" that of its kernel."""
    return run.results / ".staging" / f"{run.id}{holder}.lock"


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock (a file alone says nothing)."""
    if not path.exists():
        return False
    with open(path, encoding="utf-8") as file:
        return not try_lock(file)


@contextmanager
def locked(run: RunSpec, wait_s: float):
    """Hold the lock of a run, once no earlier attempt and none of its kernels is alive; StudyError after
    `wait_s` seconds."""
    lock_file(run).parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with open(lock_file(run), "a+", encoding="utf-8") as file:
        while not try_lock(file) or is_locked(lock_file(run, ".kernel")):
            if time.monotonic() > deadline:
                file.seek(0)
                raise StudyError(f"process {file.read() or 'unknown'} is still executing {run.id} of "
                                 f"{run.dataset}/{run.profile}, or the kernel it started is; wait or stop it")
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
        "SHOPLENS_TRAININGS": "" if os.environ.get("RETRAIN") else str(cache_dir() / "trainings"),
        "SHOPLENS_INPUTS": json.dumps(run.inputs),
        "SHOPLENS_KERNEL_LOCK": str(lock_file(run, ".kernel")),
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


def _taken(since: float) -> dict[str, float]:
    """What the kernel took: wall and CPU seconds, and the memory of its largest process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 2**20 if sys.platform == "darwin" else 2**10     # macOS counts bytes, Linux KiB
    return {"wall_s": round(time.monotonic() - since, 1), "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "peak_memory_mib": round(used.ru_maxrss / unit)}


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
        reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    failed = run.results / "failed" / f"{run.id}.ipynb"
    kept = f"see {failed.relative_to(root())}"
    try:
        failed.parent.mkdir(parents=True, exist_ok=True)
        if is_notebook(executed):
            os.replace(executed, failed)        # moving takes no room on a full disk
        else:
            shutil.copyfile(run.notebook, failed)
        shutil.rmtree(work_folder(run), ignore_errors=True)
        write_sealed(run.record_file, record | {"status": "failed", "error": reason, "cell": cell})
    except OSError as lost:
        failed.unlink(missing_ok=True)
        kept = f"nothing of it could be kept: {lost}"
    where = f" in the cell `{cell}`" if cell else ""
    return f"{run.id} failed{where}: {reason} ({kept})"


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if parent := os.environ.get("SHOPLENS_PARENT"):
        end_with(int(parent), signal.SIGTERM)       # a killed make cannot tell its runs; this is as Ctrl-C would
    withdraw(run)
    shutil.rmtree(work_folder(run), ignore_errors=True)
    (work_folder(run) / "files").mkdir(parents=True)
    record = {
        "run": run.id, "dataset": run.dataset, "profile": run.profile, "seed": run.seed,
        "notebook": run.notebook.relative_to(root()).as_posix(), "parameters": run.parameters(),
        "inputs": inputs, **made_from, "git": environment.git_state(code_files(run)),
        "versions": environment.versions(), "hardware": environment.hardware(),
        "num_processes": processes,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    say(f"[{run.id}] running for {run.dataset}/{run.profile}")
    started = time.monotonic()
    try:
        _run_notebook(run, made_from["fingerprint"])
        finished = check_outputs(run)
    except BaseException as error:
        return _fail(run, record | _taken(started), error)
    finished["hardware"] = record["hardware"] | finished["hardware"]
    record |= _taken(started) | finished | {"finished": datetime.now(UTC).isoformat(timespec="milliseconds")}
    publish(run, record)
    say(f"[{run.id}] done in {record['wall_s']:.0f} s, {record['peak_memory_mib']} MiB at most")
    return None
