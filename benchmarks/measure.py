"""Clocks and memory of the benchmarks."""

import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Wall seconds of `work`, a GPU's part in it included, and what it returns."""
    started = time.perf_counter()
    result = work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median wall seconds of `work` over some repeats, after one that is not counted."""
    return statistics.median([timed(work)[0] for _ in range(repeats + 1)][1:])


def alone(function: Callable, *arguments):
    """What a function returns from a fresh process, whose peak memory is then its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_gib() -> float:
    """Highest resident memory of this process so far."""
    if sys.platform == "linux":  # getrusage would inherit the parent's peak
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30
