"""Throwaway studies for the tests of the runner: a root of their own, tiny notebooks, no torch."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from shoplens.study.plan import load_study

REPOSITORY = Path(__file__).parents[1]
MODULES = ("__init__.py", "environment.py", "errors.py", "modules.py", "paths.py", "processes.py", "sealed.py",
           "strict_yaml.py", "syntax.py")
REPORT = """
import sys
from shoplens.paths import results_dir
folder = results_dir(sys.argv[2], sys.argv[4])
(folder / "index.html").write_text("report of " + " ".join(sorted(p.stem for p in (folder / "notebooks").glob("*"))))
"""
# Stands in for papermill where Make is tested, not the kernel: runs the cells in this process, in a fifth of the time.
IN_PROCESS = """
import json

def execute_notebook(source, output, parameters, **_):
    notebook = json.load(open(source))
    names = {}
    try:
        for count, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), start=1):
            exec(cell["source"], names)
            if "parameters" in cell["metadata"]["tags"]:
                names |= parameters
            cell |= {"execution_count": count}
            cell["metadata"]["execution"] = {"shell.execute_reply": "now"}
    finally:
        notebook["metadata"]["papermill"] = {}
        json.dump(notebook, open(output, "w"))
"""
PARAMETERS = """DATASET = "toy"  # catalogue
PROFILE = "laptop"  # size
RUN = "{run}"  # id of this run
SEED = 0  # random seed
EPOCHS = 3  # passes over the data
RATE = 0.1  # learning rate"""
OPEN = """from shoplens.study.notebook_run import start_run
run = start_run(DATASET, PROFILE, RUN, SEED)
print(EPOCHS, RATE)"""
MODEL = "run.artefact('model.txt').write_text('x')"
WRITE = f"import pandas as pd\nrun.table(pd.DataFrame({{'value': [1.0]}}), RUN)\n{MODEL}"
WRITE_PLAIN = f"run.path(f'tables/{{RUN}}.csv').write_text('value\\n1\\n')\n{MODEL}"


def cell(source: str, *tags: str) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}, "outputs": [],
            "execution_count": None, "id": f"c{abs(hash(source)) % 10**10}"}  # fmt: skip


def prose(text: str) -> dict:
    return {"cell_type": "markdown", "source": text, "metadata": {}, "id": f"m{abs(hash(text)) % 10**10}"}


class Throwaway:
    """A study root with the real runner and Makefile, a toy dataset, and whatever notebooks a test adds."""

    def __init__(self, root: Path, in_process: bool = False):
        self.root = root
        self.study = {
            "profiles": {"smoke": "tests", "laptop": "a CPU"},
            "datasets": {"toy": {"title": "toy", "capabilities": ["attributes"]}, "plain": {"title": "plain"}},
            "runs": {},
        }
        package = root / "lib" / "shoplens"
        (package / "data" / "sources").mkdir(parents=True)
        (package / "report").mkdir()
        (root / "notebooks").mkdir()
        for name in MODULES:
            shutil.copy(REPOSITORY / "lib" / "shoplens" / name, package)
        shutil.copytree(REPOSITORY / "lib" / "shoplens" / "study", package / "study",
                        ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "Makefile", root)
        if in_process:
            (root / "lib" / "papermill.py").write_text(IN_PROCESS)
        (package / "report" / "index_page.py").write_text(REPORT)
        for name in ("report", "data", "data/sources"):
            (package / name / "__init__.py").write_text("")
        (package / "data" / "registry.py").write_text("")
        for name in ("toy", "plain"):
            (package / "data" / "sources" / f"{name}.py").write_text('LICENCE = "none"\n')

    @property
    def results(self) -> Path:
        return self.root / "results" / "toy" / "smoke"

    def module(self, name: str, text: str) -> None:
        (self.root / "lib" / "shoplens" / f"{name}.py").write_text(text)

    def notebook(self, name: str, *sources: str, parameters: str = PARAMETERS, tag: str = "parameters") -> Path:
        """Parameters, the usual opening, then `sources` as code cells."""
        cells = [prose(f"# {name}"), cell(parameters.replace("{run}", name), tag), *map(cell, (OPEN, *sources))]
        return self.write(name, cells)

    def write(self, name: str, cells: list[dict]) -> Path:
        path = self.root / "notebooks" / f"{name}.ipynb"
        kernel = {"kernelspec": {"name": "no-such-kernel", "display_name": "x", "language": "python"}}
        path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
        return path

    def run(self, name: str, *sources: str, notebook: dict | None = None, **keys) -> None:
        """Add a run and its notebook: it writes a table and an artefact, unless `sources` say otherwise."""
        self.notebook(name, *(sources or (WRITE_PLAIN, "run.finish()")), **(notebook or {}))
        self.study["runs"][name] = {"notebook": name, "outputs": ["tables/{run}.csv", "artefacts/model.txt"]} | keys
        self.save()

    def save(self) -> None:
        (self.root / "study.yml").write_text(yaml.safe_dump(self.study, sort_keys=False))

    def _environment(self) -> dict[str, str]:
        mine = ("STUDY_", "SHOPLENS_", "MAKE", "MFLAGS")
        chosen = ("DATASET", "PROFILE", "RUN", "SEEDS", "PYTHON", "PY", "GNUMAKEFLAGS", "NUM_PROCESSES")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(mine) and k not in chosen}
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        path = {"STUDY_ROOT": str(self.root), "PYTHONPATH": str(self.root / "lib"), "HOME": str(home)}
        return kept | path

    def start(self, *command: str) -> subprocess.Popen:
        """`python -m shoplens.study <command>` for the toy dataset in the smoke profile."""
        arguments = [sys.executable, "-m", "shoplens.study", *command, "--dataset", "toy", "--profile", "smoke"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A suite in the background of a shell ignores SIGINT, and its children would too.
        return subprocess.Popen(arguments, env=self._environment(), cwd=self.root, **pipes,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def execute(self, run: str) -> subprocess.CompletedProcess:
        process = self.start("execute", "--run", run)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def make(self, *arguments: str) -> subprocess.CompletedProcess:
        """The real Makefile in this root, with the interpreter of the tests."""
        process = self.start_make(*arguments)
        out, err = process.communicate(timeout=180)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_make(self, *arguments: str, **how) -> subprocess.Popen:
        command = ["make", f"PYTHON={sys.executable}", "DATASET=toy", "PROFILE=smoke", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self._environment(), cwd=self.root, **pipes, **how)

    def record(self, run: str) -> dict:
        return json.loads((self.results / "runs" / f"{run}.json").read_text())

    def target(self, run: str) -> Path:
        return self.results / "notebooks" / f"{run}.ipynb"


def plan(seeds=(0,), dataset="toy", profile="smoke"):
    """The runs of the study that STUDY_ROOT points to."""
    return load_study().plan(dataset, profile, seeds)
