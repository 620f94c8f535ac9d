"""The study as data: reads study.yml and expands it into the runs of one dataset and profile.

study.yml is the only list of runs; the Make fragment, the runner and the report all ask here. A mistake in it
is a StudyError in one line that names the run and the key.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from shoplens.errors import StudyError
from shoplens.paths import results_dir, root
from shoplens.strict_yaml import read_yaml
from shoplens.study.parameters import resolve

RUN_KEYS = {
    "title", "notebook", "datasets", "needs", "profiles", "inputs", "sources", "files", "parameters", "outputs",
    "outputs_for", "optional", "seeds",
}  # fmt: skip
DATASET_KEYS = {"title", "capabilities", "raw"}
CAPABILITIES = ("hierarchy", "three_layers", "attributes", "search", "masks")     # what a run `needs` is one, too
FOLDERS = ("tables", "figures", "artefacts")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class RunSpec:
    """One execution of a notebook: `id` is `name`, or `name-s<seed>` for a seed other than 0.

    outputs: what it must write. optional: what it may write besides, where the data has something to show.
    """

    id: str
    name: str
    title: str
    notebook: Path
    dataset: str
    profile: str
    seed: int
    inputs: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    layers: list[tuple[str, dict]] = field(repr=False)
    sources: bool = False
    raw: str = ""
    optional: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def upstream(self) -> list[str]:
        """Ids of the runs this one needs, in the order of study.yml."""
        return [run for runs in self.inputs.values() for run in runs]

    @property
    def results(self) -> Path:
        return results_dir(self.dataset, self.profile)

    @property
    def target(self) -> Path:
        return self.results / "notebooks" / f"{self.id}.ipynb"

    @property
    def record_file(self) -> Path:
        return self.results / "runs" / f"{self.id}.json"

    def parameters(self) -> dict[str, object]:
        """Checked parameters, including the four the runner sets; StudyError names notebook and parameter."""
        given = {"DATASET": self.dataset, "PROFILE": self.profile, "RUN": self.id, "SEED": self.seed}
        return resolve(self.notebook, self.layers, given)

    def published(self, output: str) -> Path:
        """Where a declared output lies after publication: artefacts have a folder a run."""
        kind, rest = output.split("/", 1)
        return self.results / kind / self.id / rest if kind == "artefacts" else self.results / output


@dataclass(frozen=True)
class Study:
    """study.yml, checked. `profiles` {name: meaning}, `datasets` {name: {title, capabilities, raw}}, `runs` raw."""

    profiles: dict[str, str]
    datasets: dict[str, dict]
    runs: dict[str, dict]

    def serves(self, name: str, dataset: str, profile: str) -> bool:
        """Whether this dataset and profile have the run: listed, and capable of what it needs."""
        run = self.runs[name]
        capable = set(self.datasets[dataset].get("capabilities") or ())
        return (
            dataset in run.get("datasets", self.datasets)
            and profile in run.get("profiles", self.profiles)
            and set(run.get("needs", ())) <= capable
        )

    def plan(self, dataset: str, profile: str, seeds: tuple[int, ...] = (0,)) -> dict[str, RunSpec]:
        """Runs of one dataset and profile by id, each after the runs it needs.

        A run with `seeds: true` appears once a seed, one with `seeds: first` for the first only. An input that this
        dataset has no run for is left out: an analysis reads what there is. An input with seeds is the run of the
        same seed to a run with seeds, and all of them to any other.
        """
        for kind, value, known in (("DATASET", dataset, self.datasets), ("PROFILE", profile, self.profiles)):
            if value not in known:
                raise StudyError(f"{kind}={value} is not in study.yml; choose one of: {', '.join(known)}")
        names = [name for name in self._ordered() if self.serves(name, dataset, profile)]
        runs: dict[str, RunSpec] = {}
        for name in names:
            for seed in self._seeds_of(name, seeds):
                run = self._run(name, dataset, profile, seed, seeds, names)
                runs[run.id] = run
        _check_outputs(runs)
        return runs

    def _seeds_of(self, name: str, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Seeds a run is repeated for: all, with `seeds: first` the first that is asked for, else 0."""
        wanted = self.runs[name].get("seeds")
        return seeds[:1] if wanted == "first" else seeds if wanted else (0,)

    def _ordered(self) -> list[str]:
        """Run names, inputs first; StudyError for a circle."""
        done: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise StudyError(f"study.yml: these runs need each other in a circle: {' > '.join((*path, name))}")
            if name not in done:
                for needed in self.runs[name].get("inputs", ()):
                    visit(needed, (*path, name))
                done.append(name)

        for name in self.runs:
            visit(name, ())
        return done

    def _run(self, name, dataset, profile, seed, seeds, names) -> RunSpec:
        raw = self.runs[name]
        run_id = _with_seed(name, seed)
        inputs = {}
        for needed in [item for item in raw.get("inputs", ()) if item in names]:
            has = self._seeds_of(needed, seeds)
            same = raw.get("seeds") and seed in has and self.runs[needed].get("seeds")
            inputs[needed] = tuple(_with_seed(needed, s) for s in ([seed] if same else has))
        outputs = [*raw["outputs"], *(raw.get("outputs_for") or {}).get(dataset, ())]
        keys = ("all", profile, dataset, f"{dataset}/{profile}")
        given = raw.get("parameters") or {}
        layers = [(f"study.yml, {name}, parameters of `{key}`", given[key] or {}) for key in keys if key in given]
        return RunSpec(
            id=run_id, name=name, title=raw.get("title", ""), dataset=dataset, profile=profile, seed=seed,
            notebook=root() / "notebooks" / f"{raw['notebook']}.ipynb", inputs=inputs,
            outputs=tuple(output.replace("{run}", run_id) for output in outputs), layers=layers,
            sources=bool(raw.get("sources")), raw=self.datasets[dataset].get("raw", ""),
            optional=tuple(output.replace("{run}", run_id) for output in raw.get("optional", ())),
            files=tuple(raw.get("files", ())),
        )  # fmt: skip


def _with_seed(name: str, seed: int) -> str:
    return name if seed == 0 else f"{name}-s{seed}"


def _check_outputs(runs: dict[str, RunSpec]) -> None:
    owner: dict[Path, str] = {}
    for run in runs.values():
        for output in run.outputs:
            other = owner.setdefault(run.published(output), run.id)
            if other != run.id:
                raise StudyError(
                    f"study.yml: {other} and {run.id} both declare {output}; "
                    "write {run} into the name where a run is repeated, e.g. tables/scores-{run}.csv"
                )


def _check_dataset(name: str, study: Study) -> None:
    where, dataset = f"study.yml, dataset {name}", study.datasets[name]
    if not isinstance(dataset, dict):
        raise StudyError(f"{where}: expected keys such as title: and capabilities:")
    unknown = [str(key) for key in dataset if key not in DATASET_KEYS]
    if unknown:
        raise StudyError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(DATASET_KEYS))}")
    capabilities = dataset.get("capabilities") or []
    if not isinstance(capabilities, list):
        raise StudyError(f"{where}: capabilities is a list such as [hierarchy, search], got {capabilities}")
    needed = [item for run in study.runs.values() if isinstance(run, dict) for item in run.get("needs") or ()]
    known = dict.fromkeys([*CAPABILITIES, *map(str, needed)])
    wrong = [str(item) for item in capabilities if str(item) not in known]
    if wrong:
        raise StudyError(f"{where}: capabilities names {wrong[0]}, which is none of: {', '.join(known)}")


def _check_run(name: str, run: dict, study: Study) -> None:
    where = f"study.yml, run {name}"
    if not NAME.fullmatch(name):
        raise StudyError(f"{where}: a run's name may hold letters, digits, `_`, `.` and `-` only")
    unknown = sorted(set(run) - RUN_KEYS)
    if unknown:
        raise StudyError(f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(RUN_KEYS))}")
    if not isinstance(run.get("seeds", False), bool) and run["seeds"] != "first":
        raise StudyError(f"{where}: seeds is true, false or first, got {run['seeds']}")
    missing = [key for key in ("notebook", "outputs") if not run.get(key)]
    if missing:
        raise StudyError(f"{where}: {missing[0]} is missing; every run names its notebook and what it must emit")
    capabilities = {item for dataset in study.datasets.values() for item in dataset.get("capabilities") or ()}
    places = {"all", *study.profiles, *study.datasets}
    places |= {f"{dataset}/{profile}" for dataset in study.datasets for profile in study.profiles}
    for key, known in (
        ("datasets", study.datasets), ("profiles", study.profiles), ("needs", capabilities),
        ("inputs", study.runs), ("parameters", places), ("outputs_for", study.datasets),
    ):  # fmt: skip
        wrong = [str(item) for item in run.get(key) or () if item not in known]
        if wrong:
            raise StudyError(f"{where}: {key} names {wrong[0]}, which is none of: {', '.join(sorted(known))}")
    extra = [output for outputs in (run.get("outputs_for") or {}).values() for output in outputs]
    for output in [*run["outputs"], *run.get("optional", ()), *extra]:
        parts = Path(output).parts
        if len(parts) < 2 or parts[0] not in FOLDERS or ".." in parts:
            raise StudyError(f"{where}: output {output} must lie under tables/, figures/ or artefacts/")


def load_study(path: Path | None = None) -> Study:
    """Read and check study.yml (default: at the root of the study); StudyError names line, run or key."""
    path = path or root() / "study.yml"
    raw = read_yaml(path, "it lists the datasets, profiles and runs")
    for key in ("profiles", "datasets", "runs"):
        if not isinstance(raw, dict) or not isinstance(raw.get(key), dict):
            raise StudyError(f"study.yml: `{key}:` is missing or not a mapping")
    both = set(raw["profiles"]) & set(raw["datasets"])
    if both:
        raise StudyError(f"study.yml: {', '.join(sorted(both))} is both a profile and a dataset; rename one")
    study = Study(raw["profiles"], {k: v or {} for k, v in raw["datasets"].items()}, raw["runs"])
    for name in study.datasets:
        _check_dataset(name, study)
    for name, run in study.runs.items():
        if not isinstance(run, dict):
            raise StudyError(f"study.yml, run {name}: expected keys such as notebook: and outputs:")
        _check_run(name, run, study)
    study._ordered()
    return study


def parse_seeds(text: str) -> tuple[int, ...]:
    """`"0 1 2"` as (0, 1, 2), nothing as (0,); StudyError for anything but distinct whole numbers."""
    if not text.strip():
        return (0,)
    try:
        seeds = tuple(int(item) for item in text.replace(",", " ").split())
    except ValueError:
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise StudyError(f'SEEDS="{text}" must be distinct whole numbers from 0, such as SEEDS="0 1 2"')
    return seeds


def choose(runs: dict[str, RunSpec], run_id: str) -> RunSpec:
    """The run of that id; StudyError lists the ids there are."""
    if run_id not in runs:
        some = next(iter(runs.values()), None)
        of = f"{some.dataset}/{some.profile}" if some else "this dataset and profile"
        raise StudyError(
            f"RUN={run_id} is no run of {of}; choose one of: {', '.join(runs)} (more seeds: SEEDS=\"0 1 2\")"
        )
    return runs[run_id]


def needed(runs: dict[str, RunSpec], run_id: str) -> dict[str, RunSpec]:
    """The run of that id and all it needs, inputs first."""
    wanted = {choose(runs, run_id).id}
    for run in reversed(runs.values()):
        if run.id in wanted:
            wanted.update(run.upstream)
    return {name: run for name, run in runs.items() if name in wanted}
