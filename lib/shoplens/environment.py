"""What results are made with (versions, hardware, commit), and `make check-env`: do torch, torchvision and faiss work
together here, and what is this machine good for?"""

import importlib.metadata
import importlib.util
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from shoplens import paths
from shoplens.processes import usable_cores

RECORDED = (
    "torch", "torchvision", "timm", "accelerate", "faiss-gpu", "faiss-cpu", "numpy", "scipy", "scikit-learn",
    "pandas", "pyarrow", "pillow", "matplotlib", "safetensors", "papermill", "nbclient", "ipykernel",
)  # fmt: skip
TRIED = ("faiss", "numpy", "psutil", "torch", "torchvision")    # imported late: an environment may lack them
PAPER_MEMORY = 64       # GiB that the paper profile lets product search take (MEMORY_GIB of study.yml)


@cache
def installed(package: str) -> str | None:
    """Installed version of a distribution such as "scikit-learn", without importing it; None where it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a result."""
    found = {package: installed(package) for package in RECORDED}
    return {"python": platform.python_version()} | {name: version for name, version in found.items() if version}


def hardware() -> dict[str, object]:
    """Processor, cores this process may use, memory in GiB, operating system."""
    import psutil

    information = Path("/proc/cpuinfo")     # Linux only; elsewhere `platform` knows the model
    text = information.read_text(encoding="utf-8") if information.exists() else ""
    model = re.search(r"^model name\s*: (.*)", text, re.M)
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def git_state(files: list[Path]) -> dict[str, object]:
    """{"sha": commit or None, "dirty": those of `files` that differ from it}; sha None outside a repository."""

    def git(*arguments: str) -> list[str]:
        command = ["git", "-C", str(paths.root()), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    names = [str(file.relative_to(paths.root())) for file in files]
    try:
        sha = git("rev-parse", "HEAD")[0]
        changed = git("status", "--porcelain", "--untracked-files=all", "--", *names)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return {"sha": None, "dirty": []}
    return {"sha": sha, "dirty": sorted(line[3:] for line in changed)}


def pinned() -> dict[str, str]:
    """Package → version of requirements.txt, for this platform's lines."""
    lines = (paths.root() / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = dict(m.groups() for line in lines if (m := re.match(r"([\w.-]+)==([\w.]+)", line)))
    linux = sys.platform == "linux" and platform.machine() == "x86_64"
    found.pop("faiss-cpu" if linux else "faiss-gpu", None)
    return found


def differing(wanted: dict[str, str]) -> list[str]:
    """One line for each package that is missing or of another version."""
    return [f"{name}: {installed(name) or 'not installed'}, pinned {version}" for name, version in wanted.items()
            if installed(name) != version]


def exercise() -> None:
    """A small k-means, a search and a backward pass; raises AssertionError where an answer is wrong."""
    import faiss  # before torch on purpose: the order that used to crash with two OpenMP runtimes
    import numpy as np
    import torch
    import torchvision

    rng = np.random.default_rng(0)
    centres = np.eye(4, 8, dtype=np.float32) * 10
    points = np.repeat(centres, 50, axis=0) + rng.normal(size=(200, 8)).astype(np.float32) * 0.1
    kmeans = faiss.Kmeans(8, 4, niter=10, nredo=5, seed=1)
    kmeans.train(points)
    distance, _ = kmeans.index.search(centres, 1)
    assert distance.max() < 0.1, f"k-means missed a centre by {distance.max():.2f}"
    weight = torch.randn(16, 3, 3, 3, requires_grad=True)
    torch.nn.functional.conv2d(torch.ones(2, 3, 8, 8), weight).sum().backward()
    torch.testing.assert_close(weight.grad, torch.full_like(weight, 2 * 36.0))
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]])
    assert torchvision.ops.nms(boxes, torch.tensor([1.0, 0.9, 0.8]), 0.5).tolist() == [0, 2]


def advice(gpu_gib: float, memory_gib: float) -> str:
    """The largest profile a machine suits, with the reason."""
    if gpu_gib >= 10 and memory_gib >= PAPER_MEMORY:
        return f"PROFILE=paper (a GPU with 10 GiB or more; {PAPER_MEMORY} GiB of memory or more)"
    if memory_gib >= 6:
        return ("PROFILE=laptop (6 GiB of memory or more; DATASET=grocery wants 16 GiB, or JOBS=1 and 12 GiB; "
                f"the paper profile wants a GPU of 10 GiB and {PAPER_MEMORY} GiB of memory)")
    return "PROFILE=smoke (less than 6 GiB of memory)"


def describe() -> None:
    """Print the packages, the machine, the profile it suits and what lies in the folders of data and weights."""
    import torch

    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    machine = hardware()
    print(" · ".join(f"{name} {version}" for name, version in versions().items()))
    print("k-means, search, backward pass and torchvision's compiled code: right")
    print(f"device: {', '.join(f'{g.name} {g.total_memory / 2**30:.0f} GiB' for g in gpus) or 'CPU'} · "
          f"{machine['cores']} cores · {machine['memory_gib']:.0f} GiB memory")
    print("suits", advice(max((g.total_memory / 2**30 for g in gpus), default=0.0), machine["memory_gib"]))
    for what, folder in (("raw data", paths.data_dir()), ("weights", paths.weights_dir())):
        held = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        print(f"{what}: {', '.join(held) or 'none at hand'}")


def main() -> int:
    """Print what was found; 0 when everything works as pinned, 1 when a version differs or a package is missing."""
    lines = differing(pinned())
    if lines:
        print("differs from requirements.txt:\n  " + "\n  ".join(lines), file=sys.stderr)
    if absent := [name for name in TRIED if importlib.util.find_spec(name) is None]:
        print(f"not tried, for want of {', '.join(absent)}; python -m pip install -r requirements.txt", file=sys.stderr)
        return 1
    exercise()
    describe()
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
