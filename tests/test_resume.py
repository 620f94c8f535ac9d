"""Trainings that are interrupted, and trainings that several processes share, end as one that is not."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from sessions import assert_ends
from torch import nn
from trainings import (
    COUNT,
    ScriptedValidation,
    a_step,
    assert_same,
    noise,
    plain_net,
    steady,
    tiny,
)

from shoplens import training
from shoplens.data.images import Augmentation, Batches
from shoplens.training import Schedule, TrainingError, fit

# --- interruption -------------------------------------------------------------------------------------------------

LONG = Schedule(epochs=4, learning_rate=0.05, decay_after=(1, 3), decay=0.5)
SCORES = (0.2, 0.6, 0.4, 0.6)


def _long_data() -> Batches:
    return noise(augmentation=Augmentation(), seed=3)


def _uninterrupted(folder: Path) -> tuple[nn.Module, list[float], dict]:
    model = tiny()
    history = fit(model, a_step, _long_data(), ScriptedValidation(*SCORES), LONG, folder)
    return model, history["loss"].tolist(), torch.load(folder / "last.pt", weights_only=True)["model"]


def _assert_resumes(folder: Path, reference: Path, done: int) -> None:
    """Going on in `folder`, where `done` epochs are finished, must end as if nothing had happened."""
    whole, losses, last = _uninterrupted(reference)
    # Where a checkpoint takes over, how the weights were initialised and the random state must not matter.
    model, again = tiny(seed=9 if done else 0), ScriptedValidation(*SCORES[done:])
    torch.manual_seed(77)
    history = fit(model, a_step, _long_data(), again, LONG, folder)
    assert len(again.seen) == LONG.epochs - done
    assert history["loss"].tolist() == losses
    assert history["best"].tolist() == [False, True, False, False]
    assert_same(model, whole.state_dict())
    resumed = torch.load(folder / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(resumed[name], last[name]) for name in last)


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_resumed_equals_uninterrupted_to_the_bit(tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        fit(tiny(), a_step, _long_data(), ScriptedValidation(*SCORES, stop_at=stop_at), LONG, tmp_path / "stopped")
    _assert_resumes(tmp_path / "stopped", tmp_path / "whole", done=stop_at - 1)


def _train_and_die(folder: str, where: str) -> None:
    """Run in a process of its own: kill it in the third epoch's batches, or between writing and renaming."""
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    calls, replace = {"step": 0, "replace": 0}, os.replace

    def step(model, batch):
        calls["step"] += 1
        if where == "batch" and calls["step"] == 2 * 3 + 2:
            die()
        return a_step(model, batch)

    def renamed(*names):
        calls["replace"] += 1
        if where == "rename" and calls["replace"] == 2:
            die()
        replace(*names)

    training.os.replace = renamed
    fit(tiny(), step, _long_data(), ScriptedValidation(*SCORES), LONG, Path(folder))


def _child(call: str, **variables: str) -> tuple[int, str, str]:
    """Call a function of this file in a new process; returns its exit code, output and errors."""
    library, tests = Path(training.__file__).parents[1], Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", f"import test_resume; test_resume.{call}"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (library, tests)))} | variables)
    try:
        output, errors = child.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)        # its own children too
        raise
    return child.returncode, output, errors


@pytest.mark.parametrize(("where", "done"), [("batch", 2), ("rename", 1)])
def test_killed_and_resumed_equals_uninterrupted_to_the_bit(tmp_path, where, done):
    code, _, errors = _child(f"_train_and_die({str(tmp_path / 'killed')!r}, {where!r})")
    assert code == -signal.SIGKILL, errors
    assert (tmp_path / "killed" / "last.part").exists() is (where == "rename")
    _assert_resumes(tmp_path / "killed", tmp_path / "whole", done=done)


def test_a_finished_training_is_not_trained_again(tmp_path):
    whole, losses, _ = _uninterrupted(tmp_path)

    def never(model, batch):
        raise AssertionError("trained again")
    model = tiny(seed=9)
    history = fit(model, never, _long_data(), never, LONG, tmp_path)
    assert_same(model, whole.state_dict())
    assert history["loss"].tolist() == losses


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path):
    fit(tiny(), a_step, noise(), steady, Schedule(epochs=1, learning_rate=0.01, decay_after=(1,)), tmp_path)
    with pytest.raises(TrainingError, match=r"last\.pt holds a training with other \['learning_rate', 'decay_after'\]"):
        fit(tiny(), a_step, noise(), steady, Schedule(epochs=1, learning_rate=0.1, decay_after=(2,)), tmp_path)


# --- several processes --------------------------------------------------------------------------------------------


def _two_processes(folder: str) -> None:
    """Run in a process of its own, which must outlive those it starts. Prints "all well" at the end."""
    folder = Path(folder)
    data = noise(batch_size=5, augmentation=Augmentation())     # batches of 5 and 4: shares of unlike size
    schedule = Schedule(epochs=2, learning_rate=0.05)
    # Threads of the parent, which a child that was forked would not have.
    (torch.randn(800, 800, requires_grad=True) @ torch.randn(800, 800)).sum().backward()

    def fit_with(processes: int, name: str, validate=None) -> tuple[nn.Module, list[float]]:
        def noting(model, batch):
            with (folder / f"{name}.{os.getpid()}").open("a") as seen:
                seen.write("".join(f"{row}\n" for row in batch["indices"].tolist()))
            return a_step(model, batch)
        model = plain_net()
        history = fit(model, noting, data, validate or ScriptedValidation(0.1, 0.2), schedule, folder / name,
                      num_processes=processes)
        return model, history["loss"].tolist()

    def seen_by(name: str) -> list[list[int]]:
        return [[int(row) for row in file.read_text().split()] for file in sorted(folder.glob(f"{name}.*"))]

    alone, losses = fit_with(1, "alone")
    taken = socket.socket()
    taken.bind(("127.0.0.1", 29500))        # accelerate's port: another training holds it
    taken.listen()
    both, both_losses = fit_with(2, "both")
    assert_same(both, alone.state_dict(), atol=1e-5)
    assert both_losses == pytest.approx(losses, rel=1e-4)
    parts = seen_by("both")
    assert len(parts) == 2
    assert sorted(sum(parts, [])) == sorted([*range(COUNT)] * schedule.epochs)
    assert sorted(map(len, parts)) == [20, 22]       # each epoch 5 4 4 4 4: ranks see 3 2 2 2 2 and 2 2 2 2 2

    # The message of a failure in a child is kept, and the training goes on from its last epoch.
    with pytest.raises(TrainingError, match="process 0 of 2 failed: .*stop here"):
        fit_with(2, "stopped", validate=Stops())
    resumed, _ = fit_with(2, "stopped", validate=ScriptedValidation(0.2))
    assert_same(resumed, both.state_dict(), atol=1e-6)
    print("all well")


class Stops(ScriptedValidation):
    """Returns once, then raises."""

    def __init__(self):
        super().__init__(0.1)

    def __call__(self, model):
        if self.seen:
            raise ValueError("stop here")
        return super().__call__(model)


def test_two_processes_train_as_one(tmp_path):
    code, output, errors = _child(f"_two_processes({str(tmp_path)!r})", OMP_NUM_THREADS="2")
    assert code == 0, errors[-3000:]
    assert output.rstrip().endswith("all well")


def _trains_for_ever(folder: str) -> None:
    def slow(model, batch):
        (Path(folder) / "training").touch()
        time.sleep(0.2)
        return a_step(model, batch)
    fit(plain_net(), slow, noise(batch_size=4), steady, Schedule(epochs=1000, learning_rate=0.05), Path(folder),
        num_processes=2)


def test_processes_of_a_killed_training_end_with_it(tmp_path):
    library, tests = Path(training.__file__).parents[1], Path(__file__).parent
    code = f"import test_resume; test_resume._trains_for_ever({str(tmp_path)!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env=os.environ | {
                                  "PYTHONPATH": os.pathsep.join(map(str, (library, tests))), "OMP_NUM_THREADS": "2"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "training").exists():
        assert time.monotonic() < deadline, "no process has begun to train"
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    assert_ends(parent.pid)
