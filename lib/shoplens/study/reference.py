"""`make accept-reference`: results of finished runs, of committed code, become results/reference/."""

import shutil
from pathlib import Path

from shoplens.environment import git_state
from shoplens.errors import StudyError
from shoplens.paths import read_json, root
from shoplens.sealed import write_sealed
from shoplens.study.fingerprint import code_files, fingerprints
from shoplens.study.plan import RunSpec, Study, choose, load_study, needed, parse_seeds
from shoplens.study.publish import remove_recorded
from shoplens.study.schedule import assess

TABLES_ALONE = ("smoke",)     # profiles whose numbers mean nothing: kept for `make verify`, without pictures


def accept_reference(dataset: str, profile: str, seeds: str, run_id: str = "") -> None:
    """Copy tables, plots and records to results/reference/<dataset>/<profile>/; sheets of pictures stay behind, and of
    the smoke profile the plots too.

    StudyError, before anything is copied, for a run that is not done, for a network that nobody should judge by (its
    record holds doubts, and it is no ablation), for code that is not committed, be it that of a run these need, and for
    fewer seeds than the reference has. Without `run_id`, what study.yml no longer has goes.
    A done run's fingerprint is that of the files as they are now, so if git has these, the result is theirs, even
    if they were committed only after the run. The accepted record says which commit that is.
    """
    study, asked = load_study(), parse_seeds(seeds)
    runs = study.plan(dataset, profile, asked)
    asked = asked or study.seeds_of(dataset, profile)
    reference = root() / "results" / "reference" / dataset / profile
    gone = [] if run_id else _no_longer_planned(reference, study, runs, asked)
    found = assess(runs, fingerprints(runs))
    chosen = [choose(runs, run_id)] if run_id else list(runs.values())
    for run in chosen:
        if found[run.id].state != "done":
            why = "; ".join(found[run.id].reasons) or "make reproduce"
            raise StudyError(f"cannot accept {run.id}: it is {found[run.id].state} ({why})")
        doubts = found[run.id].record["provenance"].get("doubts")
        if doubts and not run.ablation and profile not in TABLES_ALONE:
            raise StudyError(f"cannot accept {run.id}: it is not trained well enough to judge by ({'; '.join(doubts)})")
    behind = needed(runs, run_id) if run_id else runs
    git = git_state(sorted({file for run in behind.values() for file in code_files(run)}))
    what = run_id or f"{dataset}/{profile}"
    if git["sha"] is None:
        raise StudyError(f"cannot accept {what}: there is no commit it could belong to")
    if git["dirty"]:
        raise StudyError(f"cannot accept {what}: commit {', '.join(git['dirty'])} first")
    for record in gone:
        remove_recorded(record)
    for run in chosen:
        _copy_to_reference(run, found[run.id].record, reference, git["sha"])
    print(f"Accepted {len(chosen)} runs into {reference.relative_to(root())}; look at `git diff` before committing.")
    if profile in TABLES_ALONE:
        print(f"PROFILE={profile} is for tests: tables alone, for `make verify`; their numbers are no results.")


def _no_longer_planned(reference: Path, study: Study, runs: dict[str, RunSpec], asked: tuple[int, ...]) -> list[Path]:
    """Accepted records of runs that study.yml has no more, whatever the seeds. StudyError where runs of other seeds
    than `asked` would stay beside new tables that know nothing of them."""
    dataset, profile = reference.parts[-2:]
    outside = [file for file in sorted((reference / "runs").glob("*.json")) if file.stem not in runs]
    seeds = tuple(sorted({read_json(file)["seed"] for file in outside}.union(asked)))
    whole = study.plan(dataset, profile, seeds)
    if left := [file.stem for file in outside if file.stem in whole]:
        named = f"{left[0]} and {len(left) - 1} more" if len(left) > 1 else left[0]
        raise StudyError(
            f"cannot accept {dataset}/{profile}: of its reference, {named} would stay beside runs of fewer seeds; "
            f'give SEEDS="{" ".join(map(str, seeds))}", or remove {reference.relative_to(root())} first'
        )
    return outside


def _copy_to_reference(run: RunSpec, record: dict, reference: Path, sha: str) -> None:
    accepted = reference / "runs" / f"{run.id}.json"
    remove_recorded(accepted)
    kept = [name for name in record["outputs"] if _belongs_in_git(run, name)]
    for name in kept:
        (reference / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.results / name, reference / name)
    hashes = {name: known for name, known in record["files"].items() if name in kept}
    write_sealed(accepted, record | {"outputs": kept, "files": hashes, "accepted_commit": sha})


def _belongs_in_git(run: RunSpec, name: str) -> bool:
    """Tables of every run; figures once, as PNG, of the first seed alone: a hundred runs draw a lot."""
    if name.startswith("tables/"):
        return True
    return (name.startswith("figures/") and name.endswith(".png") and run.id == run.name
            and run.profile not in TABLES_ALONE and not shows_pictures(run.results / name))


def shows_pictures(file: Path) -> bool:
    """Whether a figure is a sheet of pictures: those stay out of git, as the pictures themselves do."""
    drawing = file.with_suffix(".svg")
    return drawing.exists() and drawing.read_text(encoding="utf-8").count("<image") > 1
