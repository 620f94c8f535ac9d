"""What the tests of the coursework share."""

import importlib.util
import json

import pytest

from shoplens.coursework.checking import load_tasks
from shoplens.coursework.course import load_course, numbers_of
from shoplens.coursework.versions import make

COURSE = load_course()
collect_ignore = [] if importlib.util.find_spec("nbgrader") else ["test_nbgrader.py"]


@pytest.fixture(params=COURSE.values(), ids=COURSE)
def sheet(request):
    """Each notebook of exercises."""
    return request.param


@pytest.fixture(scope="session")
def made():
    """(version, notebook, **options of `make`) → the notebook, each cell's text as one string."""
    def one(version, name, **options):
        sheet = COURSE[name]
        numbers = options.pop("numbers", None) or numbers_of(sheet, "bazaar")
        book = json.loads(make(version, sheet, load_tasks(name), numbers, **options))
        for cell in book["cells"]:
            cell["source"] = "".join(cell["source"])
        return book
    return one
