"""Starts a worker for one exercise, within limits of time, memory and output, and reads what it says.

Without a sandbox a worker is a process of the same user: it cannot change a mark, but it can read that user's files and
end that user's processes. A container or bwrap takes both away.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from shoplens.coursework import worker
from shoplens.coursework.checking import Answer
from shoplens.errors import StudyError

SANDBOXES = ("", "docker", "podman", "bwrap")
IMAGE = "shoplens-coursework"       # built from coursework/Dockerfile
START = 60.0                        # seconds a worker may take until it has imported NumPy
MARKER = "COURSEWORK_WORKER"        # environment variable by which what a worker started is found again


@dataclass(frozen=True)
class Limits:
    """Of one worker. seconds: of a processor, for all calls of an exercise. patience: seconds by the clock, longer, as
    a busy machine is no fault of the program. memory, output: bytes."""

    seconds: int = 10
    patience: float = 30.0
    memory: int = 2 * 2**30
    output: int = 16 * 2**20


@dataclass(frozen=True)
class Outcome:
    """What a worker said. answers: one a call; the last may be missing. failed: why the function could not be called.
    broken: what ended the worker before its time. trouble: the worker never started, which is not the
    student's fault."""

    answers: tuple[Answer, ...] = ()
    failed: str = ""
    broken: str = ""
    trouble: str = ""


def check_sandbox(sandbox: str) -> None:
    """StudyError for a sandbox that is not known, not installed, or does not work here."""
    if sandbox not in SANDBOXES:
        raise StudyError(f"SANDBOX={sandbox}: it is one of {', '.join(SANDBOXES[1:])}, or empty")
    if sandbox and not shutil.which(sandbox):
        raise StudyError(f"SANDBOX={sandbox}: it is not installed here")
    found = ask([{"text": "def one():\n    return 1", "own": True}], "one", [()], sandbox=sandbox)
    if found.answers != (Answer(1, ()),):
        in_image = sandbox in ("docker", "podman")
        advice = f"; its image is made by `{sandbox} build -t {IMAGE} coursework`" if in_image else ""
        raise StudyError(f"SANDBOX={sandbox}: no worker starts in it ({found.trouble or found.broken or found.failed})"
                         f"{advice}")


def command(sandbox: str, name: str, limits: Limits, scratch: str) -> list[str]:
    """Command line that starts a worker. scratch: an empty folder, the only one it may write to."""
    file = str(Path(worker.__file__).resolve())
    if sandbox in ("docker", "podman"):
        return [sandbox, "run", "--rm", "--interactive", "--init", "--name", name, "--network", "none", "--read-only",
                "--tmpfs", "/tmp:size=16m", "--workdir", "/tmp", "--memory", str(limits.memory), "--memory-swap",
                str(limits.memory), "--cpus", "1", "--pids-limit", "64", "--cap-drop", "ALL", "--security-opt",
                "no-new-privileges", "--user", "65534:65534", "--env", "OMP_NUM_THREADS=1", "--env",
                "OPENBLAS_NUM_THREADS=1", "--volume", f"{file}:/worker.py:ro", IMAGE, "python", "-I", "/worker.py"]
    inside = [sys.executable, "-I", file]
    if sandbox != "bwrap":
        return inside
    # The system, the interpreter and its packages can be read, nothing else of this machine.
    readable = dict.fromkeys(["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", sys.prefix, sys.base_prefix,
                              str(Path(np.__file__).resolve().parents[1]),
                              str(Path(sys.executable).resolve().parent), file])
    shown = [part for path in readable for part in ("--ro-bind-try", path, path)]
    return ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--proc", "/proc",
            "--dev", "/dev", *shown, "--bind", scratch, "/tmp", "--chdir", "/tmp", *inside]


def ask(cells: list[dict], function: str, calls: list[tuple], *, whole: bool = False, sandbox: str = "",
        limits: Limits | None = None) -> Outcome:
    """Have a worker execute `cells` and call `function` with each of `calls`. whole: cells beside the answer run as
    they are; otherwise of these only definitions."""
    limits, name = limits or Limits(), f"coursework-{uuid.uuid4().hex[:12]}"
    request = json.dumps({"cells": cells, "function": function, "whole": whole, "seconds": limits.seconds,
                          "memory": limits.memory, "output": limits.output,
                          "calls": [worker.encode(tuple(call), np) for call in calls]}).encode()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": scratch, "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
                       "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", MARKER: name}
        process = subprocess.Popen(command(sandbox, name, limits, scratch), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=scratch, env=environment,
                                   start_new_session=True)
        try:
            process.stdin.write(request)
            process.stdin.close()
            lines, broken = _read(process, limits)
        except BrokenPipeError:
            lines, broken = [], ""
        finally:
            _end(process, name, sandbox)
    return _understand(lines, broken, process.returncode, limits)


def _read(process: subprocess.Popen, limits: Limits) -> tuple[list[bytes], str]:
    """Lines until the worker ends or breaks a limit, and which it broke."""
    content, started, deadline = bytearray(), False, time.monotonic() + START
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                late = f"it took more than {limits.patience:g} seconds by the clock" if started else ""
                return bytes(content).splitlines(), late
            part = os.read(process.stdout.fileno(), 2**16)
            content += part
            if not part or content.endswith(b'{"done": true}\n'):     # what a program started may keep the pipe open
                return bytes(content).splitlines(), ""
            if len(content) > limits.output:
                return bytes(content).splitlines()[:-1], f"it returns more than {limits.output / 2**20:g} MiB"
            if not started:
                started, deadline = True, time.monotonic() + limits.patience


def _end(process: subprocess.Popen, name: str, sandbox: str) -> None:
    """End the worker and whatever it started. A worker that ended by itself keeps its exit status."""
    if sandbox in ("docker", "podman") and process.poll() is None:
        subprocess.run([sandbox, "kill", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    try:
        process.wait(0.5)       # the keeper ends a moment after it closed its output
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    for left in psutil.process_iter():
        try:
            if left.pid != os.getpid() and left.environ().get(MARKER) == name:
                os.kill(left.pid, signal.SIGKILL)
        except (psutil.Error, OSError):
            continue


def _understand(lines: list[bytes], broken: str, status: int, limits: Limits) -> Outcome:
    if not lines:
        return Outcome(trouble=f"the worker did not start (exit status {status})")
    answers = []
    for line in lines[1:]:
        try:
            said = json.loads(line)
            if "failed" in said:
                return Outcome(failed=str(said["failed"])[:200])
            if "done" in said:
                return Outcome(tuple(answers))
            if "error" in said:
                answers.append(Answer(error=str(said["error"])[:200]))
            else:
                answers.append(Answer(worker.decode(said["value"], np), worker.decode(said["after"], np)))
        except Exception:       # whatever a program may have written where answers stand
            answers.append(Answer(error="what it returns cannot be read"))
    killed = f"it took more than {limits.seconds} seconds, or it was killed"
    if not broken:      # the keeper's own end, its report of the child's, and the same from inside a container
        broken = {-signal.SIGKILL: "it killed the process that ran it", 256 - signal.SIGKILL: killed,
                  128 + signal.SIGKILL: killed}.get(status, f"it ended its own process (exit status {status})")
    return Outcome(tuple(answers), broken=broken)
