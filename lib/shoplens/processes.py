"""No process outlives the one it works for."""

import os
import signal
import threading
import time

import psutil


def end_with(process: int, by: int = signal.SIGKILL) -> None:
    """End this process by a signal once that one is gone: a process that is killed cannot tell those it started."""
    threading.Thread(target=_watch, args=(process, by), daemon=True).start()


def _watch(process: int, by: int) -> None:
    while _is_alive(process):
        time.sleep(1)
    os.kill(os.getpid(), by)


def _is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
