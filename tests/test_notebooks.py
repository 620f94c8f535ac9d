"""Static checks of every notebook of the study: what a student, papermill or git would trip over."""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest

from shoplens import paths
from shoplens.study.parameters import check_used, defaults
from shoplens.study.plan import load_study

NOTEBOOKS = sorted((paths.root() / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 40       # lines; a screen holds text, code and output
MOST_CODE = 450         # lines per notebook


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    book = nbformat.read(request.param, as_version=4)
    nbformat.validate(book)
    book.path = request.param
    return book


def code(book):
    return [c for c in book.cells if c.cell_type == "code"]


def test_there_are_notebooks():
    assert [p.stem[:2] for p in NOTEBOOKS][:2] == ["01", "02"]


def executed(book) -> list[int]:
    """Numbers of the code cells that hold outputs or an execution count."""
    return [i for i, c in enumerate(code(book), start=1) if c.outputs or c.execution_count is not None]


def undocumented(book) -> list[str]:
    """Lines of the parameters cell that are not `NAME = literal  # meaning`."""
    tagged = [c for c in code(book) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    # papermill's own inspection stops at a second "=" in the comment.
    return [line for line in tagged[0].source.splitlines() if not re.fullmatch(r"[A-Z][A-Z0-9_]* = [^#]+#[^=]+", line)]


def absent(source: str) -> list[str]:
    """Names that code takes from the library and that are not there: imported ones, and attributes of its modules."""
    tree, modules, missing = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shoplens"):
            for alias in node.names:
                try:
                    modules[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                except ModuleNotFoundError:
                    if not hasattr(importlib.import_module(node.module), alias.name):
                        missing.append(f"{node.module}.{alias.name}")
    used = [(node.value.id, node.attr) for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules]
    return missing + [f"{module}.{name}" for module, name in used if not hasattr(modules[module], name)]


def test_everything_taken_from_the_library_is_there(notebook):
    """A rename would else show only where the cell is run, which takes every notebook's training."""
    assert absent("\n".join(c.source for c in code(notebook))) == []


def test_source_checks_find_what_they_look_for():
    lines = ["EPOCHS = 3  # passes over the data", "RATE = 0.1", "width = 2  # of a layer", "SIZE = 4  # a = b"]
    parameters = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["parameters"]})
    cells = [parameters, nbformat.v4.new_code_cell("print(1)", execution_count=4)]
    book = nbformat.v4.new_notebook(cells=cells)
    assert executed(book) == [2]
    assert undocumented(book) == lines[1:]
    gone = "from shoplens.search import scoring\nfrom shoplens.paths import rout\nscoring.judged([])\nscoring.score"
    assert absent(gone) == ["shoplens.paths.rout", "scoring.judged"]


def test_source_holds_no_outputs(notebook):
    assert not executed(notebook), "strip: .venv/bin/jupyter nbconvert --clear-output --inplace notebooks/*.ipynb"


def test_kernel_is_python3_and_cell_ids_are_unique(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [c.id for c in notebook.cells]
    assert len(set(ids)) == len(ids)


def test_one_parameters_cell_of_commented_literals(notebook):
    assert undocumented(notebook) == []
    assert defaults(notebook.path)


def test_every_parameter_is_read(notebook):
    check_used(notebook.path)


def test_cells_are_short(notebook):
    lengths = [len(c.source.splitlines()) for c in code(notebook)]
    assert max(lengths) <= LONGEST_CELL
    assert sum(lengths) <= MOST_CODE


def test_anatomy(notebook):
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert notebook.cells[0].cell_type == "markdown"
    assert re.match(r"# \d\db? · ", notebook.cells[0].source)
    assert re.search(r"\*\*P[12]\*\* §", prose) or notebook.path.stem.startswith("01"), "names no section of a paper"
    for part in ("§", "Afterwards you will be able to", "## Parameters", "$$" if "01" not in notebook.path.stem
                 else "$", "## Exercises", "## References"):
        assert part in prose, f"{part!r} is missing"
    source = "\n".join(c.source for c in code(notebook))
    assert "assert" in source, "nothing is proved equal to the library"
    assert "show_source" in source, "the library's source is not shown"
    assert code(notebook)[-1].source.rstrip().endswith("run.finish()")


def test_no_measured_number_in_prose(notebook):
    """Percentages and decimals in prose go stale; numbers quoted from a paper stand on a line that cites it."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "## References" not in cell.source:
            for line in re.sub(r"\$[^$]*\$|`[^`]*`", "", cell.source).splitlines():
                if re.search(r"\d\s?%|\b\d+\.\d+\b", re.sub(r"(§|Eq\.|Fig\.|Table)\s?[\d.–]+", "", line)):
                    assert re.search(r"P[12]|paper|§", line), line


def test_code_is_portable(notebook):
    source = "\n".join(c.source for c in code(notebook))
    assert not re.search(r"(?m)^\s*[!%]", source), "no shell or magic: papermill and pytest read it as Python"
    assert not re.search(r"""["'](/|~/|[A-Z]:\\)""", source), "no absolute path"
    assert not re.search(r"PROFILE\s*==|PROFILE\s+in\b", source), "no branch on the profile"
    assert "Dataset(" not in source


def test_every_run_of_every_dataset_and_profile_resolves():
    """Each override names a declared parameter of the right type."""
    study = load_study()
    assert {run["notebook"] for run in study.runs.values()} == {p.stem for p in NOTEBOOKS}
    for dataset in study.datasets:
        for profile in study.profiles:
            plan = study.plan(dataset, profile, (0, 1))
            assert plan
            for run in plan.values():
                parameters = run.parameters()
                assert (parameters["DATASET"], parameters["PROFILE"]) == (dataset, profile)


def test_declared_outputs_are_written_in_the_notebook():
    """The name of each declared output stands in the notebook's code."""
    for dataset in load_study().datasets:
        for run in load_study().plan(dataset, "smoke").values():
            source = "\n".join(c.source for c in code(nbformat.read(run.notebook, as_version=4)))
            for output in run.outputs:
                stem = Path(output).stem.replace(run.id, "").strip("_")
                assert stem in source, f"{run.id}: {output}"
