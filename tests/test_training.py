"""The training loop against hand loops, interruptions, broken losses and several processes."""


import numpy as np
import pytest
import torch
from torch import nn
from trainings import (
    CLASSES,
    COUNT,
    ScriptedValidation,
    a_step,
    assert_same,
    copy_of_weights,
    noise,
    plain_net,
    steady,
    tiny,
)

from shoplens.data.images import Augmentation
from shoplens.training import Schedule, TrainingError, fit, pick_precision, predict

# --- what an epoch does -------------------------------------------------------------------------------------------


def test_the_rate_falls_after_the_epochs_named():
    schedule = Schedule(epochs=6, learning_rate=1.0, decay_after=(2, 4), decay=0.1)
    table = {1: 1.0, 2: 1.0, 3: 0.1, 4: 0.1, 5: 0.01, 6: 0.01}
    assert {epoch: schedule.rate_factor(epoch - 1) for epoch in table} == pytest.approx(table)
    assert Schedule(epochs=3, learning_rate=1.0).rate_factor(2) == 1
    assert (schedule.momentum, schedule.weight_decay) == (0.9, 5e-4)        # P1 §4.2


def test_one_cycle_is_pytorchs():
    """The same curve as torch.optim.lr_scheduler.OneCycleLR, up to its last step's rate."""
    schedule, steps = Schedule(epochs=5, learning_rate=0.3, shape="one-cycle"), 40
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=5 * steps + 1, pct_start=0.3,
                                                    cycle_momentum=False, final_div_factor=1e4 / 25)
    # PyTorch counts its phases from 0 to total_steps − 1, and the first ends one step early.
    reference._schedule_phases[0]["end_step"] = 0.3 * 5 * steps
    for step in range(5 * steps):
        assert 0.3 * schedule.rate_factor(step / steps) == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        reference.step()


def test_the_rate_moves_within_an_epoch_of_one_cycle(tmp_path):
    """Plain SGD on a loss whose gradient is 1: weights fall by the sum of the rates."""
    model, data = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES)), noise()
    before = model[1].bias.detach().clone()
    schedule = Schedule(epochs=2, learning_rate=0.01, momentum=0.0, weight_decay=0.0, shape="one-cycle")
    fit(model, lambda model, batch: (model[1].bias.sum(), {}), data, ScriptedValidation(0.1, 0.2), schedule, tmp_path)
    steps = len(data.plan(0))
    rates = [0.01 * schedule.rate_factor(step / steps) for step in range(2 * steps)]
    torch.testing.assert_close(before - model[1].bias.detach(), torch.full((CLASSES,), sum(rates)))


def test_validation_computes_as_the_test_does(tmp_path):
    """In float32, whatever the precision of training: accelerate's autocast is taken off, and put back."""
    seen, images = [], torch.randn(4, 3, 8, 8)

    def validate(model):
        seen.append(model(images).dtype)
        return {"macc": 0.5}

    def step(model, batch):
        assert model(batch["images"]).dtype == torch.float32     # accelerate's wrapper hands back float32
        assert torch.is_autocast_enabled("cpu")
        return a_step(model, batch)

    model = tiny()
    fit(model, step, noise(), validate, Schedule(2, 0.01, precision="bf16"), tmp_path)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = model(images).float()
    with torch.no_grad():
        exact = model(images)
    assert seen == [torch.float32] * 2
    assert not torch.allclose(rough, exact, atol=1e-6)


def test_sgd_equals_the_hand_loop(tmp_path):
    """Softmax regression with its closed-form gradient: two epochs of three batches, the rate divided by ten."""
    data, rate, momentum, decay = noise(), 0.05, 0.9, 0.1
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    w = torch.cat([model[1].weight, model[1].bias[:, None]], dim=1).detach().double()
    v, losses = torch.zeros_like(w), []
    for epoch in range(2):
        total = 0.0
        for batch in data.epoch(epoch):
            x = torch.cat([batch["images"].double().reshape(-1, 192), torch.ones(len(batch["indices"]), 1)], dim=1)
            p = (x @ w.T).softmax(dim=1)
            y = torch.eye(CLASSES, dtype=torch.float64)[batch["leaf"]]
            total -= float((y * p.log()).sum())
            v = momentum * v + (p - y).T @ x / len(x) + decay * w
            w = w - rate * (0.1 if epoch == 1 else 1) * v
        losses.append(total / COUNT)
    schedule = Schedule(epochs=2, learning_rate=rate, decay_after=(1,), momentum=momentum, weight_decay=decay)
    history = fit(model, a_step, data, ScriptedValidation(0.1, 0.2), schedule, tmp_path)
    torch.testing.assert_close(torch.cat([model[1].weight, model[1].bias[:, None]], dim=1).detach().double(), w,
                               atol=1e-5, rtol=1e-4)
    assert history["loss"].tolist() == pytest.approx(losses, rel=1e-4)
    assert history["twice"].tolist() == pytest.approx([2 * loss for loss in losses], rel=1e-4)
    assert history["learning_rate"].tolist() == pytest.approx([rate, rate / 10])
    assert history["epoch"].tolist() == [1, 2]


def test_groups_set_the_rates(tmp_path):
    model = plain_net()
    before = copy_of_weights(model)
    fit(model, a_step, noise(), steady, Schedule(epochs=1, learning_rate=0.1), tmp_path,
        groups=lambda m, rate: [{"params": m[0].parameters(), "lr": 0.0}, {"params": m[3].parameters(), "lr": rate}])
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[3].weight, before["3.weight"])


def test_the_step_sees_a_training_model_in_channels_last(tmp_path):
    def step(model, batch):
        assert model.training
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        return a_step(model, batch)
    fit(tiny(), step, noise(), steady, Schedule(epochs=1, learning_rate=0.01), tmp_path)


def test_it_learns_a_batch_by_heart(tmp_path):
    data, model = noise(batch_size=COUNT), plain_net()
    history = fit(model, a_step, data, steady, Schedule(epochs=60, learning_rate=0.05, select="macc"), tmp_path)
    assert history["loss"].iloc[0] > 0.8
    assert history["loss"].iloc[-1] < 0.05
    # A constant validation keeps the first epoch; the last one's weights are in the checkpoint.
    model.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True)["model"])
    assert (predict(model.eval(), data).argmax(axis=1) == np.arange(COUNT) % CLASSES).all()


def test_one_line_an_epoch(tmp_path, capsys):
    fit(tiny(), a_step, noise(), ScriptedValidation(0.25, 0.125), Schedule(epochs=2, learning_rate=0.01), tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(lines) == 2
    assert "1/2" in lines[0]
    assert "macc 0.250" in lines[0]
    assert ["best so far" in line for line in lines] == [True, False]


# --- which epoch is kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "best"), [((0.3, 0.5, 0.5, 0.4), 2), ((0.1, 0.2, 0.3, 0.4), 4), ((0, 0, 0, 0), 1),
                                              ((-3.0, -2.0, -4.0, -2.0), 2)])
def test_the_best_epoch_is_kept_and_ties_go_to_the_earlier(tmp_path, scores, best):
    model, validate = tiny(), ScriptedValidation(*scores)
    history = fit(model, a_step, noise(), validate, Schedule(epochs=4, learning_rate=0.05), tmp_path)
    assert history.loc[history["best"], "epoch"].tolist() == [best]
    assert_same(model, validate.seen[best - 1])
    assert not model.training
    assert history["macc"].tolist() == list(scores)


def test_a_validation_may_answer_numpy_numbers_but_must_answer_the_one_that_selects(tmp_path):
    schedule = Schedule(epochs=1, learning_rate=0.01)
    history = fit(tiny(), a_step, noise(), lambda m: {"macc": np.float64(0.5)}, schedule, tmp_path / "numpy")
    assert history["macc"].tolist() == [0.5]
    for answer in ({"acc": 0.5}, {"macc": float("nan")}):
        with pytest.raises(TrainingError, match="no number 'macc'"):
            fit(tiny(), a_step, noise(), lambda m, answer=answer: answer, schedule, tmp_path / "none")


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "epoch", "batch"), [(0, 1, 1), (6, 1, 7), (19, 1, 20), (20, 1, 21), (21 + 12, 2, 13)])
def test_a_loss_that_is_not_finite_names_its_batch(tmp_path, bad, epoch, batch):
    calls = []

    def step(model, batch):
        calls.append(1)
        loss, logs = a_step(model, batch)
        return (loss * float("inf") if len(calls) == bad + 1 else loss), logs

    with pytest.raises(TrainingError, match=rf"inf in epoch {epoch}, batch {batch}: lower LEARNING_RATE"):
        fit(plain_net(), step, noise(batch_size=1), steady, Schedule(epochs=3, learning_rate=1e-5), tmp_path)
    assert (tmp_path / "last.pt").exists() is (epoch > 1)


def _out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def _too_large(*_):
    return torch.empty(10**15)      # what the CPU's own allocator says


@pytest.mark.parametrize("fails", [_out_of_memory, _too_large])
@pytest.mark.parametrize("where", ["step", "validate"])
def test_lack_of_memory_names_what_to_lower(tmp_path, fails, where):
    step, validate = (fails, steady) if where == "step" else (a_step, fails)
    with pytest.raises(TrainingError, match=r"epoch 1: lower BATCH_SIZE \(now 8\) or IMAGE_SIZE \(now 8\)"):
        fit(tiny(), step, noise(), validate, Schedule(epochs=1, learning_rate=0.01), tmp_path)


def test_other_errors_come_through_as_they_are(tmp_path):
    def step(model, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="cannot be multiplied") as error:
        fit(tiny(), step, noise(), steady, Schedule(epochs=1, learning_rate=0.01), tmp_path)
    assert not isinstance(error.value, TrainingError)


def test_precision_may_change_from_one_training_to_the_next_even_after_a_failure(tmp_path):
    seen = []

    def step(model, batch):
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return a_step(model, batch)

    with pytest.raises(TrainingError):
        fit(tiny(), _out_of_memory, noise(), steady, Schedule(epochs=1, learning_rate=0.01), tmp_path / "0")
    for precision, dtype in (("bf16", torch.bfloat16), ("no", torch.float32)):
        model = tiny()
        fit(model, step, noise(), steady, Schedule(1, 0.01, precision=precision), tmp_path / precision)
        assert set(seen) == {dtype}
        seen.clear()
        # What comes back is a plain float32 network: no autocast stays behind in its forward.
        plain, images = tiny().eval(), torch.randn(4, 3, 8, 8)
        plain.load_state_dict(model.state_dict())
        # Not to the last bit: what training left of a convolution's layout may have another kernel chosen for it.
        with torch.no_grad():
            torch.testing.assert_close(model(images), plain(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("gpu", "cpu", "precision"), [
    (None, {}, "no"), (None, {"amx_bf16": True}, "no"), ((7, 5), {"amx_bf16": True}, "no"), ((8, 0), {}, "bf16"),
    ((10, 3), {}, "bf16")])
def test_auto_precision_never_depends_on_the_model_of_a_cpu(monkeypatch, gpu, cpu, precision):
    """gpu: its compute capability, None where there is none. cpu: what torch says of it."""
    for part in (torch.cuda, torch.accelerator):
        monkeypatch.setattr(part, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    assert pick_precision() == pick_precision("auto") == precision
    assert [pick_precision(asked) for asked in ("no", "bf16", "fp16")] == ["no", "bf16", "fp16"]


def test_auto_precision_of_this_machine_trains(tmp_path):
    assert pick_precision() in ("no", "bf16")
    schedule = Schedule(epochs=1, learning_rate=0.01, precision=pick_precision())
    assert np.isfinite(fit(tiny(), a_step, noise(), steady, schedule, tmp_path)["loss"]).all()


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
    data, model = noise(batch_size=2, indices=rows, augmentation=Augmentation()), _Tagged()
    expected = (data.store.array[rows] / 255 - 0.5).mean(axis=(1, 2)) / 0.25
    for function, factor in ((model, 1), (model.features, 2)):
        answer = predict(function, data)
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, factor * expected, atol=1e-5)
    assert not any(model.grad_enabled)


class _Tasks(_Tagged):
    """Two answers an image, one of them without a class axis."""

    def forward(self, images):
        return {"mean": images.mean(dim=(2, 3)), "brightest": (images.amax(dim=(1, 2, 3)) * self.weight).double()}


def test_predict_joins_each_answer_of_a_network_with_several():
    rows = np.array([5, 2, 19, 7, 11])
    data, model = noise(batch_size=2, indices=rows), _Tasks()
    answer = predict(model, data)
    assert set(answer) == {"mean", "brightest"}
    assert {array.dtype for array in answer.values()} == {np.dtype(np.float32)}
    for place, row in enumerate(rows):
        picture = (data.store.array[row] / 255 - 0.5) / 0.25
        np.testing.assert_allclose(answer["mean"][place], [picture[..., c].mean() for c in range(3)], atol=1e-5)
        assert answer["brightest"][place] == pytest.approx(picture.max(), abs=1e-5)
    assert (answer["mean"].shape, answer["brightest"].shape) == ((5, 3), (5,))
