"""The interpreter of the end-to-end tests ends, and is ended, as the real one."""

import os
import signal
import subprocess
import sys
import time

import pytest

SAY = """
import os, sys, threading, torch
print(os.getcwd(), os.environ["COLOUR"], sys.argv[1:], sys.path[:2], "shoplens" in sys.modules, hash("seed"))
print(threading.active_count(), "Threads:\\t1\\n" in open("/proc/self/status").read(), torch.get_num_threads())
"""
DRAW = "import numpy, random, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1).item())"
ENDINGS = {"well": "", "code": "import sys; sys.exit(3)", "words": "import sys; sys.exit('no')", "error": "1 / 0",
           "killed": "import os; os.kill(os.getpid(), 9)"}  # fmt: skip
SLEEP = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)"


@pytest.fixture
def start(tmp_path, warm_python):
    """start(code, arguments, python): a module of that code, in a process of its own."""

    def started(code: str, *arguments: str, python: str = warm_python) -> subprocess.Popen:
        (tmp_path / "written.py").write_text(code)
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "lib"), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
                                    "COLOUR": "red"}
        return subprocess.Popen([python, "-m", "written", *arguments], cwd=tmp_path, env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return started


def test_a_module_finds_what_it_would_find_in_the_real_one(start):
    warm, cold = (start(SAY, "a", "b c", **which).communicate() for which in ({}, {"python": sys.executable}))
    assert warm == cold


def test_what_nobody_seeded_differs_from_process_to_process(start):
    """Else two trainings would agree that forgot to seed something."""
    first, second = (start(DRAW).communicate()[0].split() for _ in range(2))
    assert len(set(first) | set(second)) == 6


@pytest.mark.parametrize("code", ENDINGS.values(), ids=ENDINGS)
def test_a_module_ends_as_in_the_real_one(start, code):
    codes, errors = [], []
    for which in ({}, {"python": sys.executable}):
        process = start(code, **which)
        errors.append(process.communicate()[1].strip().splitlines()[-1:])
        codes.append(process.returncode)
    assert codes[0] == codes[1]
    assert errors[0] == errors[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_module_too(start, number):
    process = start(SLEEP)
    own = int(process.stdout.readline())
    assert own != process.pid
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{own}"):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)
