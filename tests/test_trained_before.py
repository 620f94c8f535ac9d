"""A training that was finished is not done again, and nobody can tell from what comes after."""

import pytest
import torch
from trainings import ScriptedValidation, a_step, assert_same, noise, tiny

from shoplens import checkpoints
from shoplens.training import Schedule, TrainingError, fit

SCHEDULE = Schedule(epochs=3, learning_rate=0.05)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Folder of finished trainings."""
    monkeypatch.setenv("SHOPLENS_TRAININGS", str(tmp_path / "trainings"))
    return tmp_path / "trainings"


def train(folder, schedule=SCHEDULE, validate=None, **batches):
    """The network, its history, and a number drawn afterwards."""
    model = tiny()
    history = fit(model, a_step, noise(**batches), validate or ScriptedValidation(0.1, 0.3, 0.2), schedule, folder)
    return model, history, torch.rand(1).item()


def test_the_second_time_nothing_is_trained(kept, tmp_path, capsys):
    first, history, drawn = train(tmp_path / "first")
    assert "trained before" not in capsys.readouterr().out
    again, same, drawn_again = train(tmp_path / "second")
    assert "trained before, by the same code" in capsys.readouterr().out
    assert_same(again, first.state_dict())
    assert same.equals(history)
    assert drawn == drawn_again
    assert not (tmp_path / "second").exists()
    assert not again.training


@pytest.mark.parametrize("change", [{"schedule": Schedule(epochs=3, learning_rate=0.06)}, {"batch_size": 4},
                                    {"validate": ScriptedValidation(0.1, 0.2, 0.3)}])
def test_another_training_is_another_one(kept, tmp_path, capsys, change):
    train(tmp_path / "first")
    train(tmp_path / "second", **change)
    assert "trained before" not in capsys.readouterr().out
    assert len(list(kept.iterdir())) == 2


def test_a_damaged_one_is_done_again(kept, tmp_path, capsys):
    first, _, _ = train(tmp_path / "first")
    [file] = kept.rglob("last.pt")
    file.write_bytes(file.read_bytes()[:-1])
    again, _, _ = train(tmp_path / "second")
    assert "last.pt is not as it was written" in capsys.readouterr().out
    assert_same(again, first.state_dict())
    assert file.exists()


def test_one_that_failed_or_is_large_is_not_kept(kept, tmp_path, monkeypatch):
    with pytest.raises(TrainingError):
        train(tmp_path / "failed", validate=lambda model: {"other": 1.0})
    monkeypatch.setattr(checkpoints, "MOST_KEPT", 1000)
    train(tmp_path / "large")
    assert not list(kept.rglob("*.pt*"))


def test_without_the_runner_none_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SHOPLENS_TRAININGS", raising=False)
    for name in ("first", "second"):
        train(tmp_path / name)
    assert "trained before" not in capsys.readouterr().out
