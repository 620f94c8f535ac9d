"""The training loop against hand loops, interruptions, broken losses and several processes."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shoplens import training
from shoplens.images import Augmentation, Batches, ImageStore
from shoplens.training import Schedule, TrainingError, fit, predict

COUNT, CLASSES = 21, 3


def _data(batch_size=8, **changes) -> Batches:
    """21 pictures of 8×8 noise in 3 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    known = {"rows": np.arange(COUNT), "targets": {"leaf": np.arange(COUNT) % CLASSES}, "mean": (0.5,) * 3,
             "std": (0.25,) * 3}
    return Batches(ImageStore(pixels, Path("unused"), "digest"), batch_size=batch_size, **(known | changes))


def _net(seed=0) -> nn.Module:
    """Everything that keeps a state between batches: batch norm and dropout."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
                         nn.Linear(6 * 36, CLASSES))


def _plain_net(seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, CLASSES))


def _step(model, batch):
    loss = nn.functional.cross_entropy(model(batch["images"]), batch["leaf"])
    return loss, {"twice": 2 * loss.detach()}


def _constant(model) -> dict[str, float]:
    return {"macc": 0.5}


def _copy(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _assert_same(model, other: dict[str, torch.Tensor], atol=0.0) -> None:
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other[name], atol=atol, rtol=0, msg=lambda told, name=name: f"{name}: {told}")


class Answers:
    """A validation that answers the given scores in turn and remembers the weights it saw."""

    def __init__(self, *scores, stop_at=None):
        self.scores, self.stop_at, self.seen = scores, stop_at, []

    def __call__(self, model):
        assert not model.training
        assert not torch.is_grad_enabled()
        self.seen.append(_copy(model))
        if len(self.seen) == self.stop_at:
            raise KeyboardInterrupt
        return {"macc": self.scores[len(self.seen) - 1]}


# --- what an epoch does -------------------------------------------------------------------------------------------


def test_the_rate_falls_after_the_epochs_named():
    schedule = Schedule(epochs=6, learning_rate=1.0, decay_after=(2, 4), decay=0.1)
    table = {1: 1.0, 2: 1.0, 3: 0.1, 4: 0.1, 5: 0.01, 6: 0.01}
    assert {epoch: schedule.rate_factor(epoch - 1) for epoch in table} == pytest.approx(table)
    assert Schedule(epochs=3, learning_rate=1.0).rate_factor(2) == 1
    assert (schedule.momentum, schedule.weight_decay) == (0.9, 5e-4)        # P1 §4.2


def test_sgd_equals_the_hand_loop(tmp_path):
    """Softmax regression with its closed-form gradient: two epochs of three batches, the rate divided by ten."""
    data, rate, momentum, decay = _data(), 0.05, 0.9, 0.1
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    w = torch.cat([model[1].weight, model[1].bias[:, None]], dim=1).detach().double()
    v, losses = torch.zeros_like(w), []
    for epoch in range(2):
        total = 0.0
        for batch in data.epoch(epoch):
            x = torch.cat([batch["images"].double().reshape(-1, 192), torch.ones(len(batch["rows"]), 1)], dim=1)
            p = (x @ w.T).softmax(dim=1)
            y = torch.eye(CLASSES, dtype=torch.float64)[batch["leaf"]]
            total -= float((y * p.log()).sum())
            v = momentum * v + (p - y).T @ x / len(x) + decay * w
            w = w - rate * (0.1 if epoch == 1 else 1) * v
        losses.append(total / COUNT)
    schedule = Schedule(epochs=2, learning_rate=rate, decay_after=(1,), momentum=momentum, weight_decay=decay)
    history = fit(model, _step, data, Answers(0.1, 0.2), schedule, tmp_path)
    torch.testing.assert_close(torch.cat([model[1].weight, model[1].bias[:, None]], dim=1).detach().double(), w,
                               atol=1e-5, rtol=1e-4)
    assert history["loss"].tolist() == pytest.approx(losses, rel=1e-4)
    assert history["twice"].tolist() == pytest.approx([2 * loss for loss in losses], rel=1e-4)
    assert history["learning_rate"].tolist() == pytest.approx([rate, rate / 10])
    assert history["epoch"].tolist() == [1, 2]


def test_groups_set_the_rates(tmp_path):
    model = _plain_net()
    before = _copy(model)
    fit(model, _step, _data(), _constant, Schedule(epochs=1, learning_rate=0.1), tmp_path,
        groups=lambda m, rate: [{"params": m[0].parameters(), "lr": 0.0}, {"params": m[3].parameters(), "lr": rate}])
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[3].weight, before["3.weight"])


def test_the_step_sees_a_training_model_in_channels_last(tmp_path):
    def step(model, batch):
        assert model.training
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        return _step(model, batch)
    fit(_net(), step, _data(), _constant, Schedule(epochs=1, learning_rate=0.01), tmp_path)


def test_it_learns_a_batch_by_heart(tmp_path):
    data, model = _data(batch_size=COUNT), _plain_net()
    history = fit(model, _step, data, _constant, Schedule(epochs=60, learning_rate=0.05, select="macc"), tmp_path)
    assert history["loss"].iloc[0] > 0.8
    assert history["loss"].iloc[-1] < 0.05
    # A constant validation keeps the first epoch; the last one's weights are in the checkpoint.
    model.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True)["model"])
    assert (predict(model.eval(), data).argmax(axis=1) == np.arange(COUNT) % CLASSES).all()


def test_one_line_an_epoch(tmp_path, capsys):
    fit(_net(), _step, _data(), Answers(0.25, 0.125), Schedule(epochs=2, learning_rate=0.01), tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == 2
    assert "1/2" in lines[0]
    assert "macc 0.250" in lines[0]
    assert ["best so far" in line for line in lines] == [True, False]


# --- which epoch is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "best"), [((0.3, 0.5, 0.5, 0.4), 2), ((0.1, 0.2, 0.3, 0.4), 4), ((0, 0, 0, 0), 1),
                                              ((-3.0, -2.0, -4.0, -2.0), 2)])
def test_the_best_epoch_is_kept_and_ties_go_to_the_earlier(tmp_path, scores, best):
    model, validate = _net(), Answers(*scores)
    history = fit(model, _step, _data(), validate, Schedule(epochs=4, learning_rate=0.05), tmp_path)
    assert history.loc[history["best"], "epoch"].tolist() == [best]
    _assert_same(model, validate.seen[best - 1])
    assert not model.training
    assert history["macc"].tolist() == list(scores)


def test_a_validation_may_answer_numpy_numbers_but_must_answer_the_one_that_selects(tmp_path):
    schedule = Schedule(epochs=1, learning_rate=0.01)
    history = fit(_net(), _step, _data(), lambda m: {"macc": np.float64(0.5)}, schedule, tmp_path / "numpy")
    assert history["macc"].tolist() == [0.5]
    for answer in ({"acc": 0.5}, {"macc": float("nan")}):
        with pytest.raises(TrainingError, match="no number 'macc'"):
            fit(_net(), _step, _data(), lambda m, answer=answer: answer, schedule, tmp_path / "none")


# --- interruption -------------------------------------------------------------------------------------------------

LONG = Schedule(epochs=4, learning_rate=0.05, decay_after=(1, 3), decay=0.5)
SCORES = (0.2, 0.6, 0.4, 0.6)


def _long_data() -> Batches:
    return _data(augmentation=Augmentation(), seed=3)


def _uninterrupted(folder: Path) -> tuple[nn.Module, list[float], dict]:
    model = _net()
    history = fit(model, _step, _long_data(), Answers(*SCORES), LONG, folder)
    return model, history["loss"].tolist(), torch.load(folder / "last.pt", weights_only=True)["model"]


def _assert_resumes(folder: Path, reference: Path, done: int) -> None:
    """Going on in `folder`, where `done` epochs are finished, must end as if nothing had happened."""
    whole, losses, last = _uninterrupted(reference)
    # Where a checkpoint takes over, how the weights were initialised and the random state must not matter.
    model, again = _net(seed=9 if done else 0), Answers(*SCORES[done:])
    torch.manual_seed(77)
    history = fit(model, _step, _long_data(), again, LONG, folder)
    assert len(again.seen) == LONG.epochs - done
    assert history["loss"].tolist() == losses
    assert history["best"].tolist() == [False, True, False, False]
    _assert_same(model, whole.state_dict())
    resumed = torch.load(folder / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(resumed[name], last[name]) for name in last)


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_resumed_equals_uninterrupted_to_the_bit(tmp_path, stop_at):
    with pytest.raises(KeyboardInterrupt):
        fit(_net(), _step, _long_data(), Answers(*SCORES, stop_at=stop_at), LONG, tmp_path / "stopped")
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
        return _step(model, batch)

    def renamed(*names):
        calls["replace"] += 1
        if where == "rename" and calls["replace"] == 2:
            die()
        replace(*names)

    training.os.replace = renamed
    fit(_net(), step, _long_data(), Answers(*SCORES), LONG, Path(folder))


def _child(call: str, **variables: str) -> tuple[int, str, str]:
    """Call a function of this file in a new process; returns its exit code, output and errors."""
    library, tests = Path(training.__file__).parents[1], Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", f"import test_training; test_training.{call}"], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (library, tests)))} | variables)
    try:
        told, errors = child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)        # its own children too
        raise
    return child.returncode, told, errors


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
    model = _net(seed=9)
    history = fit(model, never, _long_data(), never, LONG, tmp_path)
    _assert_same(model, whole.state_dict())
    assert history["loss"].tolist() == losses


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path):
    fit(_net(), _step, _data(), _constant, Schedule(epochs=1, learning_rate=0.01, decay_after=(1,)), tmp_path)
    with pytest.raises(TrainingError, match=r"last\.pt holds a training with other \['learning_rate', 'decay_after'\]"):
        fit(_net(), _step, _data(), _constant, Schedule(epochs=1, learning_rate=0.1, decay_after=(2,)), tmp_path)


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "epoch", "batch"), [(0, 1, 1), (6, 1, 7), (19, 1, 20), (20, 1, 21), (21 + 12, 2, 13)])
def test_a_loss_that_is_not_finite_names_its_batch(tmp_path, bad, epoch, batch):
    calls = []

    def step(model, batch):
        calls.append(1)
        loss, logs = _step(model, batch)
        return (loss * float("inf") if len(calls) == bad + 1 else loss), logs

    with pytest.raises(TrainingError, match=rf"inf in epoch {epoch}, batch {batch}: lower LEARNING_RATE"):
        fit(_plain_net(), step, _data(batch_size=1), _constant, Schedule(epochs=3, learning_rate=1e-5), tmp_path)
    assert (tmp_path / "last.pt").exists() is (epoch > 1)


def _out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def _too_large(*_):
    return torch.empty(10**15)      # what the CPU's own allocator says


@pytest.mark.parametrize("fails", [_out_of_memory, _too_large])
@pytest.mark.parametrize("where", ["step", "validate"])
def test_lack_of_memory_names_what_to_lower(tmp_path, fails, where):
    step, validate = (fails, _constant) if where == "step" else (_step, fails)
    with pytest.raises(TrainingError, match=r"epoch 1: lower BATCH_SIZE \(now 8\) or IMAGE_SIZE \(now 8\)"):
        fit(_net(), step, _data(), validate, Schedule(epochs=1, learning_rate=0.01), tmp_path)


def test_other_errors_come_through_as_they_are(tmp_path):
    def step(model, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="cannot be multiplied") as error:
        fit(_net(), step, _data(), _constant, Schedule(epochs=1, learning_rate=0.01), tmp_path)
    assert not isinstance(error.value, TrainingError)


def test_precision_may_change_from_one_training_to_the_next_even_after_a_failure(tmp_path):
    seen = []

    def step(model, batch):
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return _step(model, batch)

    with pytest.raises(TrainingError):
        fit(_net(), _out_of_memory, _data(), _constant, Schedule(epochs=1, learning_rate=0.01), tmp_path / "0")
    for precision, dtype in (("bf16", torch.bfloat16), ("no", torch.float32)):
        model = _net()
        fit(model, step, _data(), _constant, Schedule(1, 0.01, precision=precision), tmp_path / precision)
        assert set(seen) == {dtype}
        seen.clear()
        # What comes back is a plain float32 network: no autocast stays behind in its forward.
        plain, images = _net().eval(), torch.randn(4, 3, 8, 8)
        plain.load_state_dict(model.state_dict())
        with torch.no_grad():
            assert torch.equal(model(images), plain(images))


# --- several processes --------------------------------------------------------------------------------------------


def _two_processes(folder: str) -> None:
    """Run in a process of its own, because children are forked. Prints "all well" at the end."""
    folder = Path(folder)
    data = _data(batch_size=5, augmentation=Augmentation())     # batches of 5 and 4: shares of unlike size
    schedule = Schedule(epochs=2, learning_rate=0.05)
    # Threads of the parent that a forked child does not have.
    (torch.randn(800, 800, requires_grad=True) @ torch.randn(800, 800)).sum().backward()

    def fit_with(processes: int, name: str, validate=None, step=None) -> tuple[nn.Module, list[float]]:
        def noting(model, batch):
            with (folder / f"{name}.{os.getpid()}").open("a") as seen:
                seen.write("".join(f"{row}\n" for row in batch["rows"].tolist()))
            return (step or _step)(model, batch)
        model = _plain_net()
        history = fit(model, noting, data, validate or Answers(0.1, 0.2), schedule, folder / name,
                      num_processes=processes)
        return model, history["loss"].tolist()

    def seen_by(name: str) -> list[list[int]]:
        return [[int(row) for row in file.read_text().split()] for file in sorted(folder.glob(f"{name}.*"))]

    alone, losses = fit_with(1, "alone")
    taken = socket.socket()
    taken.bind(("127.0.0.1", 29500))        # accelerate's port: another training holds it
    taken.listen()
    both, both_losses = fit_with(2, "both")
    _assert_same(both, alone.state_dict(), atol=1e-5)
    assert both_losses == pytest.approx(losses, rel=1e-4)
    parts = seen_by("both")
    assert len(parts) == 2
    assert sorted(sum(parts, [])) == sorted([*range(COUNT)] * schedule.epochs)
    assert sorted(map(len, parts)) == [20, 22]       # each epoch 5 4 4 4 4: ranks see 3 2 2 2 2 and 2 2 2 2 2

    # A failure in a child is told in its own words, and the training goes on from its last epoch.
    with pytest.raises(TrainingError, match="process 0 of 2 failed: .*stop here"):
        fit_with(2, "stopped", validate=Stops())
    resumed, _ = fit_with(2, "stopped", validate=Answers(0.2))
    _assert_same(resumed, both.state_dict(), atol=1e-6)

    def broken(model, batch):
        return model(batch["images"]).sum() * float("nan"), {}
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, batch 1"):
        fit_with(2, "broken", step=broken)
    print("all well")


class Stops(Answers):
    """Answers once, then raises."""

    def __init__(self):
        super().__init__(0.1)

    def __call__(self, model):
        if self.seen:
            raise ValueError("stop here")
        return super().__call__(model)


def test_two_processes_train_as_one(tmp_path):
    # Where the variable is set accelerate leaves the number of threads alone, and a forked child waits for ever
    # for the threads its parent had.
    code, told, errors = _child(f"_two_processes({str(tmp_path)!r})", OMP_NUM_THREADS="2")
    assert code == 0, errors[-3000:]
    assert told.rstrip().endswith("all well")


# --- prediction ---------------------------------------------------------------------------------------------------


class _Tagged(nn.Module):
    """Answers the mean of each picture's channels; `features` twice that."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.grad_enabled = []

    def forward(self, images):
        self.grad_enabled.append(torch.is_grad_enabled())
        return images.mean(dim=(2, 3)).double() * self.weight

    def features(self, images):
        return 2 * self(images)


def test_predict_keeps_the_order_and_augments_nothing():
    rows = np.array([5, 2, 19, 7, 11])
    data, model = _data(batch_size=2, rows=rows, augmentation=Augmentation()), _Tagged()
    expected = (data.store.array[rows] / 255 - 0.5).mean(axis=(1, 2)) / 0.25
    for function, factor in ((model, 1), (model.features, 2)):
        answer = predict(function, data)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, factor * expected, atol=1e-5)
    assert not any(model.grad_enabled)
