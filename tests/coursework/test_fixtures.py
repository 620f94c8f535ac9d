"""What exercises show of a catalogue: leaves from the largest to the smallest."""

import pandas as pd
import pytest

from shoplens.coursework import fixtures
from shoplens.coursework.course import folder, load_course, numbers_of
from shoplens.data.catalogue import Catalogue
from shoplens.errors import StudyError


def test_leaves_at_even_steps_from_the_largest_to_the_smallest():
    leaves = [f"leaf{size}" for size in range(1, 10) for _ in range(size)]
    table = pd.DataFrame({"image_id": [f"{i}" for i in range(len(leaves))], "path": "x", "leaf": leaves})
    table["classify"] = table["leaf"] != "leaf9"        # not among P1's images
    catalogue = Catalogue.build("toy", ".", table, layers=["leaf"], attributes=[], licence="none")
    assert fixtures.of_catalogue(catalogue) == {"names": ["leaf8", "leaf6", "leaf4", "leaf3", "leaf1"],
                                                "images": [8, 6, 4, 3, 1]}


@pytest.mark.parametrize("file", sorted((folder() / "fixtures").glob("*.json")), ids=lambda file: file.stem)
def test_committed_fixtures_can_be_shown(file):
    shown = numbers_of(load_course()["01"], file.stem)
    assert len(shown["LEAVES"]) == len(shown["IMAGES"]) == fixtures.SHOWN
    assert shown["IMAGES"] == sorted(shown["IMAGES"], reverse=True)


def test_a_catalogue_that_was_not_made_is_named(scratch_root):
    with pytest.raises(StudyError, match="make reproduce DATASET=grocery PROFILE=laptop RUN=01_catalogue"):
        fixtures.main("grocery")
    assert not list(scratch_root.rglob("*.json"))
