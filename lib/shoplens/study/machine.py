"""What a result was made with: versions, hardware, and the state of the repository."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from shoplens.paths import root

PACKAGES = (
    "torch", "torchvision", "timm", "accelerate", "faiss-gpu", "faiss-cpu", "numpy", "scipy", "scikit-learn",
    "pandas", "pyarrow", "pillow", "matplotlib", "safetensors", "papermill", "nbclient", "ipykernel",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def hardware() -> dict[str, object]:
    """Processor, cores this process may use, memory in GiB, operating system."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": usable,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def git_state(files: list[Path]) -> dict[str, object]:
    """{"sha": commit or None, "dirty": those of `files` that differ from it}; sha None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root()), *arguments], capture_output=True, text=True)
        except FileNotFoundError:
            return None
        return done.stdout if done.returncode == 0 else None

    sha = git("rev-parse", "HEAD")
    if sha is None:
        return {"sha": None, "dirty": []}
    names = [str(file.relative_to(root())) for file in files]
    changed = git("status", "--porcelain", "--untracked-files=all", "--", *names) or ""
    return {"sha": sha.strip(), "dirty": sorted(line[3:] for line in changed.splitlines())}
