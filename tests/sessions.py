"""Which processes of a session are alive, for tests of what a killed process leaves behind."""

import os
import time
from contextlib import suppress

import psutil


def members(session: int) -> list[list[str]]:
    """Command lines of the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


def assert_ends(session: int, within_s: float = 10) -> None:
    """AssertionError where a process of the session is alive after so many seconds."""
    deadline = time.monotonic() + within_s
    while left := members(session):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.2)
