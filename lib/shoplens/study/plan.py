"""The plan: which runs one dataset and profile have, in which order, and what each reads and must write.

study.yml is the only list of runs; the Make fragment, the runner and the report all ask here.
"""

from dataclasses import dataclass, field
from pathlib import Path

from shoplens.errors import StudyError
from shoplens.paths import results_dir, root
from shoplens.study.parameters import resolve
from shoplens.study.study_file import read_study


@dataclass(frozen=True)
class RunSpec:
    """One execution of a notebook: `id` is `name`, or `name-s<seed>` for a seed other than 0.

    outputs: what it must write. optional: what it may write besides, where the data has something to show. ablation:
    it shows what a poorer way does, so doubts about its network do not keep it from being accepted.
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
    ablation: bool = False

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
        """Where a declared output lies after publication: artefacts have a folder per run."""
        kind, rest = output.split("/", 1)
        return self.results / kind / self.id / rest if kind == "artefacts" else self.results / output


@dataclass(frozen=True)
class Study:
    """study.yml, checked and expanded: `profiles` {name: what it is about}, `seeds` {profile: its default seeds},
    `datasets` {name: {title, capabilities, raw, seeds}}, `runs` {name: {notebook, inputs, outputs, …}}."""

    profiles: dict[str, str]
    seeds: dict[str, tuple[int, ...]]
    datasets: dict[str, dict]
    runs: dict[str, dict]

    def plan(self, dataset: str, profile: str, seeds: tuple[int, ...] = ()) -> dict[str, RunSpec]:
        """Runs of one dataset and profile by id, each after the runs it needs. Without `seeds`, the profile's.

        A run with `seeds: true` appears once per seed, one with `seeds: first` for the first only. An input that this
        dataset has no run for is left out: an analysis reads what there is. An input with seeds is the run of the
        same seed to a run with seeds, and all of them to any other.
        """
        for kind, value, known in (("DATASET", dataset, self.datasets), ("PROFILE", profile, self.profiles)):
            if value not in known:
                raise StudyError(f"{kind}={value} is not in study.yml; choose one of: {', '.join(known)}")
        seeds = seeds or self.seeds_of(dataset, profile)
        capable = set(self.datasets[dataset].get("capabilities") or ())
        repeated = {name: self._seeds_of(name, seeds) for name, run in self.runs.items()
                    if dataset in run.get("datasets", self.datasets) and capable.issuperset(run["needs"])}
        runs = [self._run(name, dataset, profile, seed, repeated) for name in repeated for seed in repeated[name]]
        _check_outputs(runs)
        return {run.id: run for run in runs}

    def seeds_of(self, dataset: str, profile: str) -> tuple[int, ...]:
        """Seeds of repeated runs where none are asked for: the dataset's own for this profile, or the profile's."""
        return tuple(self.datasets[dataset].get("seeds", {}).get(profile, self.seeds[profile]))

    def _seeds_of(self, name: str, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Seeds a run is repeated for: all, with `seeds: first` the first that is asked for, else 0."""
        wanted = self.runs[name].get("seeds")
        return seeds[:1] if wanted == "first" else seeds if wanted else (0,)

    def _run(self, name: str, dataset: str, profile: str, seed: int, repeated: dict[str, tuple[int, ...]]) -> RunSpec:
        """One run of those that the dataset has, each with the seeds it is repeated for."""
        run, run_id = self.runs[name], _with_seed(name, seed)
        inputs = {needed: repeated[needed] for needed in run["inputs"] if needed in repeated}
        if run.get("seeds"):
            inputs = {needed: (seed,) if seed in seeds else seeds for needed, seeds in inputs.items()}
        outputs = [*run["outputs"], *run.get("outputs_for", {}).get(dataset, ())]
        places = ("all", profile, dataset, f"{dataset}/{profile}")
        return RunSpec(
            id=run_id, name=name, title=run["title"], dataset=dataset, profile=profile, seed=seed,
            notebook=root() / "notebooks" / f"{run['notebook']}.ipynb",
            inputs={needed: tuple(_with_seed(needed, each) for each in seeds) for needed, seeds in inputs.items()},
            outputs=tuple(output.replace("{run}", run_id) for output in outputs),
            layers=[(f"study.yml, {name}, parameters of `{place}`", run["parameters"][place])
                    for place in places if place in run["parameters"]],
            sources=run.get("sources", False),
            raw=self.datasets[dataset].get("raw", ""),
            optional=tuple(output.replace("{run}", run_id) for output in run.get("optional", ())),
            files=tuple(run.get("files", ())),
            ablation=run.get("ablation", False),
        )  # fmt: skip


def _with_seed(name: str, seed: int) -> str:
    return name if seed == 0 else f"{name}-s{seed}"


def _check_outputs(runs: list[RunSpec]) -> None:
    owner: dict[Path, str] = {}
    for run in runs:
        for output in run.outputs:
            other = owner.setdefault(run.published(output), run.id)
            if other != run.id:
                raise StudyError(f"study.yml: {other} and {run.id} both declare {output}; write {{run}} into the name "
                                 "where a run is repeated, e.g. tables/scores-{run}.csv")


def load_study(path: Path | None = None) -> Study:
    """Read and check study.yml (default: at the root of the study); StudyError names line, run or key."""
    profiles, datasets, runs = read_study(path or root() / "study.yml")
    seeds = {name: tuple(profile.get("seeds", (0,))) for name, profile in profiles.items()}
    return Study({name: profile["about"] for name, profile in profiles.items()}, seeds, datasets, runs)


def parse_seeds(text: str) -> tuple[int, ...]:
    """`"0 1 2"` as (0, 1, 2), an empty text as (), which a plan takes for the profile's own seeds.

    StudyError for anything but distinct whole numbers.
    """
    items = text.replace(",", " ").split()
    seeds = tuple(int(item) for item in items if item.isdecimal())
    if len(set(seeds)) < len(items):
        raise StudyError(f'SEEDS="{text}" must be distinct whole numbers from 0, such as SEEDS="0 1 2"')
    return seeds


def choose(runs: dict[str, RunSpec], run_id: str) -> RunSpec:
    """The run of that id; StudyError lists the ids there are."""
    if run_id not in runs:
        of = next((f"{run.dataset}/{run.profile}" for run in runs.values()), "this dataset and profile")
        raise StudyError(f"RUN={run_id} is no run of {of}; choose one of: {', '.join(runs)} "
                         '(more seeds: SEEDS="0 1 2")')
    return runs[run_id]


def needed(runs: dict[str, RunSpec], run_id: str) -> dict[str, RunSpec]:
    """The run of that id and all it needs, inputs first."""
    wanted = {choose(runs, run_id).id}
    for run in reversed(runs.values()):
        if run.id in wanted:
            wanted.update(run.upstream)
    return {name: run for name, run in runs.items() if name in wanted}
