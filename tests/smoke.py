"""What the end-to-end tests share: a copy of the study, the commands a user types, and a smaller plan."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from shoplens import paths
from shoplens.study.plan import load_study

REPOSITORY = paths.root()
GIVEN_BY_RUNNER = ("DATASET", "PROFILE", "RUN", "SEED")


def copy_of_sources(folder: Path) -> Path:
    """What a clone would hold, and nothing that earlier runs left behind."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, capture_output=True,
                            text=True, check=True)
    for name in listed.stdout.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def environment() -> dict[str, str]:
    """Variables of a user's terminal. STUDY_DATA is kept out: these studies must work with no data but what they draw
    or what a test lays down."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("STUDY_", "MAKE", "MFLAGS", "SHOPLENS_"))}
    return kept | {"OMP_NUM_THREADS": "1"}


def make(folder: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess:
    """`make <words>`; with the path of tests/warm_python.py's command as `python`, runs start in a fraction."""
    return subprocess.run(["make", *words, f"PYTHON={python}"], cwd=folder, capture_output=True, text=True,
                          env=environment(), timeout=1200)


def reproduce(folder: Path, *words: str, python: str = sys.executable) -> None:
    """`make reproduce PROFILE=smoke`, two runs at a time, which must succeed."""
    result = make(folder, "-j2", "reproduce", "PROFILE=smoke", *words, python=python)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


def metrics_of(folder: Path, run: str, dataset: str = "bazaar") -> list[dict]:
    return json.loads((folder / f"results/{dataset}/smoke/runs/{run}.json").read_text())["metrics"]


def edit_study(folder: Path, change) -> None:
    """Rewrite study.yml after `change(its content)`."""
    file = folder / "study.yml"
    study = yaml.safe_load(file.read_text())
    change(study)
    file.write_text(yaml.safe_dump(study, sort_keys=False))


def keep_runs(folder: Path, dataset: str, names: set[str]) -> None:
    """Rewrite study.yml: of a dataset's smoke runs these alone, as they are planned, without inputs that are gone."""
    plan = load_study(folder / "study.yml").plan(dataset, "smoke")
    assert names <= set(plan), f"study.yml has no {sorted(names - set(plan))}"

    def trim(study: dict) -> None:
        study["runs"] = {
            run.name: {
                "title": run.title, "notebook": run.notebook.stem, "sources": run.sources, "files": list(run.files),
                "inputs": [name for name in run.inputs if name in names],
                "parameters": {"all": {k: v for k, v in run.parameters().items() if k not in GIVEN_BY_RUNNER}},
                "outputs": list(run.outputs), "optional": list(run.optional),
            } for run in plan.values() if run.name in names
        }  # fmt: skip
    edit_study(folder, trim)
