"""The state of a training between two epochs, in one file that says whether it is as it was written."""

import hashlib
import io
import math
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from shoplens import jobs
from shoplens.paths import require_space
from shoplens.sealed import file_hash

HASH_BYTES = 32
MOST_KEPT = 64 * 2**20     # bytes of a finished training: larger networks take too much room


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where it stopped and what to change."""


def save(file: Path, state: dict, model, optimizer, scaler, data) -> None:
    """Write the state of everything that a training changes, with its hash at the end, by atomic rename; TrainingError
    where there is no room for it."""
    latest = state["best_epoch"] == len(state["history"])
    whole = state | {"best_model": None if latest else state["best_model"],     # the same weights are kept once
                     "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                     "scaler": scaler.state_dict() if scaler else {},
                     "random": torch.get_rng_state(), "random_cuda": torch.cuda.get_rng_state_all(),
                     "data": data.state_dict()}
    write(file, whole)


def write(file: Path, content: dict, most: float = math.inf) -> None:
    """Write by atomic rename, with a hash at the end; nothing where it would take more than `most` bytes."""
    part = file.with_suffix(".part")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():       # another like it
        require_space(file.parent, file.stat().st_size, "a checkpoint")
    try:
        torch.save(content, part)
    except RuntimeError as error:       # what torch makes of a full disk, in its own words
        part.unlink(missing_ok=True)
        raise TrainingError(f"{file} could not be written: is the disk full? ({str(error).splitlines()[0]})") from error
    if part.stat().st_size > most:
        part.unlink()
        return
    seal = bytes.fromhex(file_hash(part))
    with open(part, "ab") as opened:
        opened.write(seal)
    os.replace(part, file)


def set_aside_broken(file: Path) -> None:
    """Rename a checkpoint that is not as `save` wrote it, and say so. Its last bytes are the hash of the others."""
    if not file.exists():
        return
    whole = file.read_bytes()
    if hashlib.sha256(whole[:-HASH_BYTES]).digest() != whole[-HASH_BYTES:]:
        os.replace(file, file.with_suffix(".broken"))
        print(f"{file} is not as it was written: set aside as last.broken; the training starts anew", flush=True)


def read(file: Path) -> dict:
    """What `save` wrote, on the CPU."""
    state = torch.load(io.BytesIO(file.read_bytes()[:-HASH_BYTES]), map_location="cpu", weights_only=True)
    if state["best_model"] is None:
        state["best_model"] = {name: value.clone() for name, value in state["model"].items()}
    return state


def resume(file: Path, asked: dict, model, optimizer, scaler, data) -> dict:
    """Load the state of an interrupted training into these objects; a fresh state where there is none. asked: the
    schedule, as a dictionary; TrainingError where the file holds a training by another."""
    if not file.exists():
        return {"schedule": asked, "history": [], "best_score": -np.inf, "best_epoch": 0, "best_model": None}
    state = read(file)
    if state["schedule"] != asked:
        changed = [k for k in asked if state["schedule"].get(k) != asked[k]]
        raise TrainingError(f"{file} holds a training with other {changed}: delete it, or put the parameters back")
    model.load_state_dict(state.pop("model"))
    optimizer.load_state_dict(state.pop("optimizer"))
    data.load_state_dict(state.pop("data"))
    if (scaling := state.pop("scaler")) and scaler:
        scaler.load_state_dict(scaling)
    torch.set_rng_state(state.pop("random"))
    random_cuda = state.pop("random_cuda")
    if torch.cuda.is_available() and random_cuda:
        torch.cuda.set_rng_state_all(random_cuda[:torch.cuda.device_count()])    # perhaps fewer than before
    print(f"resumed after epoch {len(state['history'])} of {asked['epochs']}", flush=True)
    return state


class Before:
    """A training that may have been done before. state: how it ended, None where it was not, or that is not known."""

    def __init__(self, file: Path | None):
        self._file, self.state = file, None
        if file:
            set_aside_broken(file)
            if file.exists():
                self.state = read(file)
                print(f"trained before, by the same code, from the same weights and images ({file.parent.name})")

    def keep(self, state: dict) -> None:
        """Keep what `fit` needs of a finished training, where it is not too large."""
        if self._file and not self.state:
            kept = {name: state[name] for name in ("history", "best_epoch", "best_model", "data")}
            with suppress(OSError, TrainingError):      # no room: it can be trained again
                write(self._file, kept, MOST_KEPT)


def done_before(work: tuple, num_processes: int) -> Before:
    """The training among those that $SHOPLENS_TRAININGS holds; without that variable none is looked for or kept."""
    folder = os.environ.get("SHOPLENS_TRAININGS")
    if not folder:
        return Before(None)
    key = jobs.digest((*work, num_processes), {"shoplens.training"})[:16]
    return Before(Path(folder) / key / "last.pt")
