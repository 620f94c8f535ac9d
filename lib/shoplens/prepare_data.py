"""`make data DATASET=…`: find or download the raw data, check it, and print what is there."""

import argparse
import sys

from shoplens.data import registry
from shoplens.data.catalogue import SPLITS, Catalogue, CatalogueError
from shoplens.data.sources.fetch import DataError
from shoplens.errors import StudyError
from shoplens.study.plan import load_study


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 where the data is there and usable; 1, with what to do on stderr, where not."""
    parser = argparse.ArgumentParser(prog="python -m shoplens.prepare_data", description=__doc__)
    parser.add_argument("--dataset", required=True, help=", ".join(registry.names()))
    parser.add_argument("--profile", default="", help="of study.yml, whose parameters of the source are taken")
    given = parser.parse_args(arguments)
    try:
        parameters = source_parameters(given.dataset, given.profile) if given.profile else {}
        print(summary(registry.prepare(given.dataset, **parameters)))
    except (DataError, CatalogueError, StudyError, ValueError) as error:
        print(f"make data: {error}", file=sys.stderr)
        return 1
    return 0


def source_parameters(dataset: str, profile: str) -> dict:
    """SOURCE of the run that prepares this data set; empty for a data set that is not in study.yml yet.

    Raises StudyError for a profile that study.yml does not know and for a mistake in it.
    """
    study = load_study()
    runs = study.plan(dataset, profile).values() if dataset in study.datasets else ()
    return next((run.parameters().get("SOURCE", {}) for run in runs if run.sources), {})


def summary(catalogue: Catalogue) -> str:
    """A few lines: where the images are, how many there are of what, what was left out, the licence."""
    classes = catalogue.hierarchy.classes
    lines = [f"{catalogue.name}: {len(catalogue):,} images in {catalogue.folder}",
             "classes: " + " > ".join(f"{len(classes[layer])} {layer}" for layer in catalogue.hierarchy.layers),
             "split: " + ", ".join(f"{len(catalogue.rows(split)):,} {split}" for split in SPLITS)]
    for name, states in catalogue.attributes.items():
        lines.append(f"attribute {name}: {len(states)} states on {(catalogue.states(name) > 0).sum():,} images")
    lines += [f"{n:,} rows {why}" for why, n in catalogue.provenance.get("irregular", {}).items()]
    if ignored := catalogue.provenance.get("ignored_columns"):
        lines.append(f"columns left alone: {', '.join(ignored)}")
    return "\n".join([*lines, f"licence: {catalogue.licence}"])


if __name__ == "__main__":
    sys.exit(main())
