"""A piece of work packed into a folder, and done there by several processes that have nothing but that folder.

Processes are started anew, not forked: one that has used a GPU must not be forked, and threads are not. What a notebook
defines travels by value (cloudpickle). Tensors and large arrays lie beside it in files of their own, and memory maps
stay where they are, so that what is pickled is small.
"""

import hashlib
import io
import json
import mmap
import os
import pickletools
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType

import cloudpickle
import numpy as np
import torch
from torch import nn

from shoplens.environment import hardware, versions
from shoplens.modules import PACKAGE, closure
from shoplens.paths import cache_dir
from shoplens.processes import end_with, usable_cores

LARGE = 2**16       # bytes from which an array is kept in a file of its own
PARENT = "SHOPLENS_JOB_OF"
# Modules that find, move and keep things, whatever these are: no number of a training is theirs.
CARRIERS = ("checkpoints", "environment", "errors", "jobs", "modules", "paths", "processes", "sealed", "syntax")


class _Packer(cloudpickle.Pickler):
    """A pickler that leaves tensors, large arrays and memory maps out. `kept`: tensors, in the order of their numbers.
    What is met twice is kept once: a model and the batches that mine with it stay the same model."""

    def __init__(self, file):
        super().__init__(file)
        self.kept: list[torch.Tensor] = []
        self._numbers: dict[int, tuple] = {}

    def persistent_id(self, obj):
        if isinstance(obj, np.memmap) and isinstance(obj.base, mmap.mmap):      # a whole file's, no part of one
            return "map", str(obj.filename), obj.dtype.str, obj.shape, obj.offset
        if isinstance(obj, torch.Tensor):
            kind = "parameter" if isinstance(obj, nn.Parameter) else "tensor"
            return self._number(obj, kind, obj.detach().cpu(), obj.requires_grad)
        if isinstance(obj, np.ndarray) and obj.nbytes >= LARGE and obj.dtype.kind in "biuf":
            return self._number(obj, "array", torch.tensor(np.asarray(obj)), False)
        return None

    def _number(self, obj, kind: str, tensor: torch.Tensor, requires_grad: bool) -> tuple:
        if id(obj) not in self._numbers:
            self._numbers[id(obj)] = kind, len(self.kept), requires_grad
            self.kept.append(tensor)
        return self._numbers[id(obj)]


class _Describer(_Packer):
    """A packer whose pickle says all that its work depends on, and is the same for the same work: of tensors and arrays
    it holds what they contain, of functions what they do and the values they use."""

    def persistent_id(self, obj):
        number = super().persistent_id(obj)
        if number is None or number[0] == "map":        # what lies in the cache is named after its content
            return number and ("map", os.path.relpath(number[1], cache_dir()), *number[2:])
        held = self.kept[number[1]]
        content = hashlib.sha256(held.reshape(-1).view(torch.uint8).numpy()).hexdigest()
        return number[0], str(held.dtype), tuple(held.shape), content

    def reducer_override(self, obj):
        if isinstance(obj, FunctionType) and obj.__module__ == "__main__":
            used = {name: obj.__globals__[name] for name in _names(obj.__code__) if name in obj.__globals__}
            cells = [cell.cell_contents for cell in obj.__closure__ or ()]
            given = obj.__defaults__, obj.__kwdefaults__
            return _described, (_instructions(obj.__code__), {**used, obj.__name__: None}, cells, given)
        return super().reducer_override(obj)


def _described(*_):
    """What a description calls a function; nobody unpickles one."""


def _names(code: CodeType) -> list[str]:
    inner = [name for each in code.co_consts if isinstance(each, CodeType) for name in _names(each)]
    return sorted({*code.co_names, *inner})


def _instructions(code: CodeType) -> tuple:
    """What a function does, without the place it was written at."""
    constants = tuple(_instructions(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return (code.co_code, code.co_exceptiontable, constants, code.co_names, code.co_varnames, code.co_freevars,
            code.co_argcount, code.co_kwonlyargcount, code.co_flags)


def digest(work: tuple, modules: set[str]) -> str:
    """SHA-256 of all that some work depends on: its objects, the library's modules it uses besides `modules` and those
    that these import (CARRIERS aside), versions of packages, device and threads."""
    packed = io.BytesIO()
    _Describer(packed).dump(work)
    used = {text for _, text, _ in pickletools.genops(packed.getvalue())
            if isinstance(text, str) and text.split(".")[0] == PACKAGE}
    hashes = {name: module.hash for name, module in closure(used | modules).items()
              if name.removeprefix(f"{PACKAGE}.") not in CARRIERS}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else hardware()["cpu"]
    around = [hashes, versions(), torch.get_num_threads(), device]
    return hashlib.sha256(packed.getvalue() + json.dumps(around, sort_keys=True).encode()).hexdigest()


class _Unpacker(cloudpickle.pickle.Unpickler):
    def __init__(self, file, kept: list[torch.Tensor]):
        super().__init__(file)
        self._kept, self._made = kept, {}

    def persistent_load(self, number):
        if number[0] == "map":
            _, filename, dtype, shape, offset = number
            return np.memmap(filename, dtype, "r", offset, shape)
        if number not in self._made:
            kind, place, requires_grad = number
            tensor = self._kept[place]
            self._made[number] = {"parameter": lambda: nn.Parameter(tensor, requires_grad), "array": tensor.numpy,
                                  "tensor": lambda: tensor.requires_grad_(requires_grad)}[kind]()
        return self._made[number]


def pack(folder: Path, work: tuple) -> None:
    """Write job.pkl and tensors.pt."""
    packed = io.BytesIO()
    packer = _Packer(packed)
    packer.dump(work)
    (folder / "job.pkl").write_bytes(packed.getvalue())
    torch.save(packer.kept, folder / "tensors.pt")


def unpack(folder: Path) -> tuple:
    """What `pack` wrote, tensors on the CPU."""
    with open(folder / "job.pkl", "rb") as file:
        return _Unpacker(file, torch.load(folder / "tensors.pt", weights_only=True)).load()


class ProcessFailed(RuntimeError):
    """One of the processes raised an error; `rank`: which."""

    def __init__(self, rank: int, reason: str):
        super().__init__(reason)
        self.rank = rank


def do(module: str, work: tuple, num_processes: int) -> None:
    """Have so many processes run `python -m module FOLDER` on a packed job, under torch's launcher, and print what they
    print. ProcessFailed with the first error any of them met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(folder, work)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}",
                   "-m", module, name]
        with open(folder / "stderr", "w+", encoding="utf-8") as said:
            started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True,
                                       env=_environment(num_processes))
            for line in started.stdout:
                print(line, end="", flush=True)
            if started.wait():
                raise _failure(folder)


def _failure(folder: Path) -> ProcessFailed:
    """The first error that a process left, or else the last line of what was said."""
    errors = sorted(folder.glob("error-*"), key=lambda file: file.stat().st_mtime_ns)
    if errors:
        return ProcessFailed(int(errors[0].name.partition("-")[2]), errors[0].read_text(encoding="utf-8"))
    said = (folder / "stderr").read_text(encoding="utf-8").strip().splitlines()
    return ProcessFailed(0, said[-1] if said else "ended without a word")


def _environment(num_processes: int) -> dict[str, str]:
    """Variables of the processes: they end with this one, share its cores, and stay off a GPU that is not there."""
    own = {PARENT: str(os.getpid()), "OMP_NUM_THREADS": str(max(1, usable_cores() // num_processes)),
           "PYTHONPATH": os.pathsep.join(sys.path)}
    return os.environ | own | ({} if torch.cuda.is_available() else {"ACCELERATE_USE_CPU": "true"})


def worker(train: Callable, folder: Path) -> None:
    """What a process does: unpack the job and call `train(*work)`; an error is left for the one that asked."""
    end_with(int(os.environ[PARENT]))
    try:
        train(*unpack(folder))
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        (folder / f"error-{os.environ['RANK']}").write_text(reason, encoding="utf-8")
        traceback.print_exc()
        raise SystemExit(1) from None
