"""What a notebook uses to say where its results go and what it measured: `run = start_run(...)`.

Under the runner everything lands in a staging folder and is published only if the run is whole. A notebook
opened by hand in Lab writes to results/<dataset>/<profile>/scratch/<run>/ instead and can never be mistaken
for a result.
"""

import csv
import fcntl
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from shoplens.paths import read_json, results_dir, root, write_json

NOT_A_RESULT = {"smoke": "SMOKE: not a result"}
FOLDERS = ("tables", "figures", "artefacts")
FINISHED = "finished.json"


def try_lock(file: TextIO) -> bool:
    """Lock an open file until it is closed here and in every process forked meanwhile; False where it is locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def rows_without_value(path: Path) -> int:
    """Rows of a CSV whose `value` is missing or not finite; text is neither."""

    def bad(text: str) -> bool:
        try:
            return not math.isfinite(float(text))
        except ValueError:
            return not text

    with open(path, newline="", encoding="utf-8") as file:
        return sum(bad(row["value"]) for row in csv.DictReader(file) if "value" in row)


def _device() -> dict[str, object]:
    """The accelerator this kernel uses, asked only of a torch that the notebook has already imported."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {"device": "cpu"}
    return {
        "device": "cuda",
        "gpu": torch.cuda.get_device_name(),
        "gpus": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "gpu_peak_memory_mib": round(torch.cuda.max_memory_allocated() / 2**20),
    }


class Run:
    """One run as its notebook sees it; made by `start_run`."""

    def __init__(self, dataset: str, profile: str, run: str, seed: int):
        self.dataset, self.profile, self.id, self.seed = dataset, profile, run, seed
        self.results = results_dir(dataset, profile)
        staging = os.environ.get("SHOPLENS_STAGING")
        self.by_hand = not staging
        self._folder = Path(staging) if staging else self.results / "scratch" / run
        # By hand nobody compares parameters, so an old checkpoint might belong to another training.
        self._checkpoint = Path(os.environ.get("SHOPLENS_CHECKPOINTS") or self._folder / "checkpoints")
        if self.by_hand:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._earlier = [path.stem for path in sorted((self.results / "notebooks").glob("*.ipynb"))]
        else:
            inputs = json.loads(os.environ.get("SHOPLENS_INPUTS") or "{}")
            self._earlier = [run_id for group in inputs.values() for run_id in group]
        self._metrics: list[dict] = []
        self._provenance: dict[str, object] = {}
        # Held, also by any process forked from this kernel, until it is gone: the next attempt waits for it.
        lock = os.environ.get("SHOPLENS_KERNEL_LOCK")
        self._lock = lock and open(lock, "wb")  # noqa: SIM115 - for the life of the kernel
        if self._lock and not try_lock(self._lock):
            raise RuntimeError("start_run was called twice in one kernel, or another kernel trains this run")

    def path(self, name: str) -> Path:
        """Where to write an output such as "figures/x.png"; its folder is made.

        ValueError unless it lies under tables/, figures/ or artefacts/.
        """
        parts = Path(name).parts
        if len(parts) < 2 or parts[0] not in FOLDERS or ".." in parts:
            raise ValueError(f"an output lies under {', '.join(FOLDERS)}; got {name!r}")
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def artefact(self, name: str) -> Path:
        """Where to write something a later run reads, published as artefacts/<run>/<name>."""
        return self.path(f"artefacts/{name}")

    @property
    def checkpoint(self) -> Path:
        """Folder for checkpoints, made; it survives a killed attempt and belongs to exactly these parameters,
        this code and these inputs."""
        self._checkpoint.mkdir(parents=True, exist_ok=True)
        return self._checkpoint

    def inputs(self, name: str) -> list[str]:
        """Ids of the runs that study.yml's input `name` stands for: one, or one per seed; none where this dataset
        has no such run. By hand: whatever has been published."""
        return _runs_of(name, self._earlier)

    def made_by(self, notebook: str) -> list[str]:
        """Ids of the inputs made by a notebook such as "09_rank_based_learning", in the order of study.yml's inputs."""
        return [run_id for run_id in self._earlier if Path(self.record(run_id)["notebook"]).stem == notebook]

    def input(self, name: str, artefact: str, read_by: str = "") -> Path:
        """An artefact of an earlier run: `run.input("01_catalogue", "catalogue")`. Of several seeds the first counts.

        read_by: id of an earlier run; then it is the artefact that this one read as its own input `name`, whatever seed
        stands for `name` here. FileNotFoundError with the command that makes it; KeyError if study.yml does not list it
        as an input.
        """
        if not read_by:
            return self.artefact_of(next(iter(self.inputs(name)), name), artefact)
        ids = _runs_of(name, self.record(read_by)["inputs"])
        if not ids:
            raise KeyError(f"{name} was not among the inputs of run {read_by}")
        return self._existing(f"artefacts/{ids[0]}/{artefact}", ids[0])

    def artefact_of(self, run_id: str, artefact: str) -> Path:
        """An artefact of one of the runs that an input stands for; errors as for `input`."""
        return self._existing(f"artefacts/{run_id}/{artefact}", self._listed(run_id))

    def table_of(self, run_id: str):
        """The table that an earlier run is named after, as a DataFrame; errors as for `input`."""
        import pandas as pd

        return pd.read_csv(self._existing(f"tables/{run_id}.csv", self._listed(run_id)))

    def earlier_tables(self) -> dict[str, Path]:
        """The CSVs of all runs that may be read, by name without ending."""
        outputs = sorted({name for run_id in self._earlier for name in self.record(run_id)["outputs"]})
        return {Path(name).stem: self.results / name for name in outputs if Path(name).match("tables/*.csv")}

    def record(self, run_id: str) -> dict:
        """The record of an earlier run: parameters, metrics, provenance, wall seconds; FileNotFoundError as `input`."""
        return read_json(self._existing(f"runs/{run_id}.json", run_id))

    def _listed(self, run_id: str) -> str:
        if not self.by_hand and run_id not in self._earlier:
            raise KeyError(f"{run_id} is not among the inputs of run {self.id} in study.yml; add it there")
        return run_id

    def _existing(self, file: str, run_id: str) -> Path:
        path = self.results / file
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; make it with: "
                                    f"make reproduce RUN={run_id} DATASET={self.dataset} PROFILE={self.profile}")
        return path

    def metric(self, name: str, value: float, **labels: object) -> None:
        """Keep a number for the run's record, e.g. `run.metric("acc", 0.81, k=1, split="test")`; ValueError for
        NaN or infinity."""
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"metric {name} {labels or ''} is {value}: find out why before recording it")
        self._metrics.append({"name": name, "value": value, **labels})

    def provenance(self, key: str, value: object) -> None:
        """Keep where something came from: a data or weights hash, a licence, the precision of training."""
        json.dumps(value)       # a value that JSON cannot hold fails here, in the cell that gave it
        self._provenance[key] = value

    def table(self, df, name: str, caption: str = "", readable=None) -> Path:
        """Write `df` as tables/<name>.csv and a readable twin tables/<name>.md; returns the CSV's path.

        `readable`: another DataFrame to show in the twin, such as a pivot of a tidy one. The index is not
        written. ValueError for an empty table, or a missing or infinite number in a column called `value`.
        """
        if df.empty:
            raise ValueError(f"table {name} is empty")
        path = self.path(f"tables/{name}.csv")
        df.to_csv(path, index=False, lineterminator="\n")
        if wrong := rows_without_value(path):
            raise ValueError(f"table {name} holds no finite value in {wrong} rows of {path}")
        body = (df if readable is None else readable).to_markdown(index=False, floatfmt=".4g")
        heading = f"**{caption}**\n\n" if caption else ""
        warning = f" **{NOT_A_RESULT[self.profile]}**" if self.profile in NOT_A_RESULT else ""
        footer = f"Dataset {self.dataset}, profile {self.profile}, seed {self.seed}, run {self.id}.{warning}"
        path.with_suffix(".md").write_text(f"{heading}{body}\n\n{footer}\n", encoding="utf-8")
        return path

    def figure(self, fig, name: str) -> Path:
        """Write a matplotlib figure as figures/<name>.png and .svg, the same bytes each time; returns the PNG."""
        import matplotlib

        path = self.path(f"figures/{name}.png")
        fig.savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})
        with matplotlib.rc_context({"svg.hashsalt": name}):
            fig.savefig(path.with_suffix(".svg"), dpi=150, bbox_inches="tight", metadata={"Date": None})
        return path

    def finish(self) -> None:
        """Say that the run is whole: the last call of every notebook. Prints the outputs."""
        files = sorted(path for kind in FOLDERS for path in (self._folder / kind).rglob("*") if path.is_file())
        write_json(self._folder / FINISHED,
                   {"metrics": self._metrics, "provenance": self._provenance, "hardware": _device()})
        for file in files:
            print(f"{file.relative_to(self._folder)}  {file.stat().st_size / 1024:,.0f} KiB")
        if self.by_hand:
            kept = self._folder.relative_to(root())
            print(f"Run by hand: kept in {kept}; `make reproduce RUN={self.id}` publishes.")


def _runs_of(name: str, ids: Iterable[str]) -> list[str]:
    """Those of the ids that are runs of `name`: itself, or one of its seeds."""
    return [run_id for run_id in ids if re.fullmatch(rf"{re.escape(name)}(-s\d+)?", run_id)]


def start_run(dataset: str, profile: str, run: str, seed: int = 0) -> Run:
    """Open the run of this notebook and print one line about it."""
    started = Run(dataset, profile, run, seed)
    folder = (started._folder if started.by_hand else started.results).relative_to(root())
    device = _device()
    print(f"{run}: {dataset}/{profile}, seed {seed}, {device.get('gpu', device['device'])}, results in {folder}/")
    return started
