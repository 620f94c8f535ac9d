"""Earlier runs as a later one finds them, for tests: a record and weights under a throwaway root."""

import json

import torch

from shoplens import paths
from shoplens.study.notebook_run import Run


def open_run(monkeypatch, inputs: dict[str, list[str]]) -> Run:
    """A run as under the runner. inputs: what study.yml calls an input → ids of the runs it stands for."""
    monkeypatch.setenv("SHOPLENS_STAGING", str(paths.root() / "staging"))
    monkeypatch.setenv("SHOPLENS_INPUTS", json.dumps(inputs))
    monkeypatch.delenv("SHOPLENS_KERNEL_LOCK", raising=False)
    return Run("toy", "laptop", "10_toy", 0)


def publish(run: Run, run_id: str, record: dict, weights: dict | None = None) -> None:
    """Put the record of an earlier run, and its model.pt, where `run` looks for them."""
    file = run.results / "runs" / f"{run_id}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))
    if weights is not None:
        model = run.results / "artefacts" / run_id / "model.pt"
        model.parent.mkdir(parents=True, exist_ok=True)
        torch.save(weights, model)
