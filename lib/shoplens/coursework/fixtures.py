"""`python -m shoplens.coursework.fixtures DATASET`: what the exercises show of a catalogue, from its notebook 01.

Five leaf categories, from the largest to the smallest, and how many of P1's images each has.
"""

import sys

import numpy as np

from shoplens import paths
from shoplens.coursework.course import folder
from shoplens.data.catalogue import Catalogue
from shoplens.errors import StudyError

SHOWN = 5


def of_catalogue(catalogue: Catalogue) -> dict[str, list]:
    """`names` and `images` of leaves at even steps from the largest to the smallest."""
    rows = catalogue.images[catalogue.images["classify"].astype(bool)]
    counts = sorted(rows[catalogue.hierarchy.leaf].value_counts().items(), key=lambda pair: (-pair[1], pair[0]))
    chosen = [counts[i] for i in np.unique(np.linspace(0, len(counts) - 1, SHOWN).round().astype(int))]
    return {"names": [str(name) for name, _ in chosen], "images": [int(count) for _, count in chosen]}


def main(dataset: str, profile: str = "laptop") -> None:
    """Write coursework/fixtures/DATASET.json. StudyError where notebook 01 has not run."""
    saved = paths.results_dir(dataset, profile) / "artefacts" / "01_catalogue" / "catalogue"
    if not saved.exists():
        raise StudyError(f"there is no catalogue of {dataset} at {profile} size: first "
                         f"`make reproduce DATASET={dataset} PROFILE={profile} RUN=01_catalogue`")
    paths.write_json(folder() / "fixtures" / f"{dataset}.json", of_catalogue(Catalogue.load(saved)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except StudyError as error:
        sys.exit(f"error: {error}")
