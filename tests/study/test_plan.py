"""study.yml, parameters and fingerprints: what is asked for, what is refused, what counts as a change."""

import json
import shutil

import pytest
from throwaway import PARAMETERS, Throwaway, cell

from shoplens.errors import StudyError
from shoplens.study import fingerprint, parameters
from shoplens.study.plan import load_study, needed, parse_seeds


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    return Throwaway(tmp_path)


def plan(seeds=(0,), dataset="toy", profile="smoke"):
    return load_study().plan(dataset, profile, seeds)


def test_most_specific_parameter_wins(toy):
    layers = {
        "toy/smoke": {"EPOCHS": 1}, "toy": {"EPOCHS": 20, "RATE": 2}, "smoke": {"EPOCHS": 30}, "all": {"RATE": 9.0},
    }  # fmt: skip
    toy.run("a", parameters=layers)
    smoke, laptop = plan()["a"].parameters(), plan(profile="laptop")["a"].parameters()
    assert (smoke["EPOCHS"], smoke["RATE"]) == (1, 2.0)
    assert isinstance(smoke["RATE"], float), "an int given for a float becomes one"
    assert (laptop["EPOCHS"], laptop["RATE"]) == (20, 2.0)
    assert plan(dataset="plain")["a"].parameters()["EPOCHS"] == 30
    given = {"DATASET": "toy", "PROFILE": "smoke", "RUN": "a", "SEED": 0}
    assert {name: smoke[name] for name in given} == given


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"EPOCH": 1}, "01.ipynb has no parameter EPOCH; it has: EPOCHS, RATE"),
        ({"EPOCHS": 1.5}, "EPOCHS must be a int like its default 3, got float 1.5"),
        ({"EPOCHS": True}, "EPOCHS must be a int like its default 3, got bool True"),
        ({"RATE": "fast"}, "RATE must be a float like its default 0.1, got str 'fast'"),
        ({"SEED": 3}, "SEED is set by the runner"),
    ],
)
def test_wrong_override_is_named(toy, overrides, said):
    toy.run("01", parameters={"all": overrides})
    with pytest.raises(StudyError, match="study.yml, 01, parameters of `all`") as error:
        plan()["01"].parameters()
    assert said in str(error.value)


@pytest.mark.parametrize(("written", "right"), [("1e-4", "1.0e-4"), ("-2E3", "-2.0e+3"), ("1.5e3", "1.5e+3")])
@pytest.mark.parametrize("place", ["{RATE: %s}", "{RATE: [1, %s]}", "{RATE: {inside: %s}}"])
def test_yaml_really_reads_1e_4_as_text(toy, written, right, place):
    toy.run("01")
    text = (toy.root / "study.yml").read_text()
    line = text.count("\n") + 2
    (toy.root / "study.yml").write_text(f"{text}    parameters:\n      all: {place % written}\n")
    with pytest.raises(StudyError) as error:
        load_study()
    assert str(error.value) == f"study.yml, line {line}: {written} is text to YAML, not a number; write {right}"
    (toy.root / "study.yml").write_text(f"{text}    parameters:\n      all: {{NOTE: '{written}', RATE: {right}}}\n")
    assert load_study().runs["01"]["parameters"]["all"] == {"NOTE": written, "RATE": float(written)}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("A, B = 1, 2", "one `NAME = literal"),
        ("WIDTH: int | None = None", "one `NAME = literal"),
        ("STEPS = EPOCHS * 2", "must be a literal"),
        ("RATE = 0.2", "RATE is given twice"),
        ("LIMIT = None", "has no type to check"),
    ],
)
def test_parameters_cell_takes_only_typed_literals(toy, extra, said):
    path = toy.notebook("n", parameters=f"{PARAMETERS}\n{extra}")
    with pytest.raises(StudyError, match="n.ipynb") as error:
        parameters.defaults(path)
    assert said in str(error.value)


def test_parameters_tag_missing_or_doubled(toy):
    with pytest.raises(StudyError, match="n.ipynb: no code cell is tagged `parameters`"):
        parameters.defaults(toy.notebook("n", tag="setup"))
    twice = toy.write("m", [cell(PARAMETERS, "parameters"), cell("X = 1", "parameters")])
    with pytest.raises(StudyError, match="cells 1, 2 are all tagged"):
        parameters.defaults(twice)
    with pytest.raises(StudyError, match="must declare DATASET, PROFILE, RUN"):
        parameters.defaults(toy.notebook("k", parameters="SEED = 0"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(1)", "parameter WIDTH is never read"),
        ("WIDTH = 5\nprint(WIDTH)", "`WIDTH = 5` binds the parameter WIDTH anew"),
        ("def f(WIDTH):\n    return WIDTH", "never read"),
        ("def f():\n    return WIDTH", None),
        ("WIDTH += 1", None),
        ("print([WIDTH for _ in range(2)])", None),
        ("%timeit f(WIDTH)", None),
        ("!echo $WIDTH", None),
    ],
)
def test_every_parameter_is_read(toy, code, said):
    path = toy.notebook("n", code, parameters=f"{PARAMETERS}\nWIDTH = 4  # unused?")
    if said is None:
        parameters.check_used(path)
    else:
        with pytest.raises(StudyError) as error:
            parameters.check_used(path)
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"output": []}, "run a: unknown key output"),
        ({"inputs": ["zero"]}, "inputs names zero"),
        ({"inputs": ["zero_*"]}, "inputs names zero_*"),
        ({"datasets": ["toys"]}, "datasets names toys"),
        ({"needs": ["masks"]}, "needs names masks"),
        ({"parameters": {"paper": {}}}, "parameters names paper"),
        ({"outputs": ["x.csv"]}, "output x.csv must lie under"),
        ({"inputs": ["a"]}, "need each other in a circle: a > a"),
        ({"inputs": "zero"}, "inputs must be array"),
        ({"title": ["A"]}, "title must be string"),
        ({"outputs": []}, "outputs is missing"),
        ({"{colour}": 1}, "run a: unknown key {colour}; known: datasets"),
    ],
)
def test_mistakes_in_the_study_are_named(toy, keys, said):
    toy.run("a", **keys)
    with pytest.raises(StudyError) as error:
        load_study()
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"capabilities": "attributes"}, "capabilities is a list such as [hierarchy, search], got attributes"),
        ({"capabilities": ["attributes", "serach"]}, "capabilities names serach, which is none of: hierarchy"),
        ({"capabilities": [["search"]]}, "capabilities names ['search'], which is none of"),
        ({"capabilites": ["search"]}, "unknown key capabilites; known: capabilities, raw, title"),
        ("a shop", "expected keys such as title:"),
    ],
)
def test_mistakes_in_a_dataset_are_named(toy, keys, said):
    toy.study["datasets"]["shop"] = keys
    toy.run("a", needs=["attributes"])
    with pytest.raises(StudyError, match="study.yml, dataset shop: ") as error:
        load_study()
    assert said in str(error.value)


AXES = {
    "part": {"whole": {"name": "", "title": ""}, "half": {"name": "_half", "title": ", half", "needs": ["attributes"],
                                                          "parameters": {"all": {"EPOCHS": 2}}}},
    "rate": {"slow": {"parameters": {"all": {"RATE": 0.5}}},
             "fast": {"parameters": {"all": {"RATE": 2}, "toy/smoke": {"RATE": 3}}, "seeds": "first"}},
}  # fmt: skip


def test_matrix_is_a_run_per_combination(toy):
    """Entry, variant and values add up; the last axis changes fastest; patterns stand for the runs that fit."""
    toy.run("a")
    toy.study["axes"] = AXES
    varied = {"matrix": {"part": ["whole", "half"], "rate": ["slow", "fast"]}, "inputs": ["a"]}
    again = {"matrix": {"rate": "slow"}, "title": "Again, {rate}"}
    toy.run("b", title="{rate}{part}", seeds=True, parameters={"all": {"EPOCHS": 1}},
            variants={"b_{rate}{part}": varied, "b_again": again})
    toy.run("c", inputs=["b_*_half", "b_slow"])
    runs = plan(seeds=(0, 1))
    assert list(runs) == ["a", "b_slow", "b_slow-s1", "b_fast", "b_slow_half", "b_slow_half-s1", "b_fast_half",
                          "b_again", "b_again-s1", "c"]
    assert {run.title for run in runs.values()} == {"", "slow", "fast", "slow, half", "fast, half", "Again, slow"}
    assert {name: (run.parameters()["EPOCHS"], run.parameters()["RATE"]) for name, run in runs.items()} == {
        "a": (3, 0.1), "b_slow": (1, 0.5), "b_slow-s1": (1, 0.5), "b_fast": (1, 3.0),
        "b_slow_half": (2, 0.5), "b_slow_half-s1": (2, 0.5), "b_fast_half": (2, 3.0),
        "b_again": (1, 0.5), "b_again-s1": (1, 0.5), "c": (3, 0.1),
    }  # fmt: skip
    assert list(runs["c"].inputs) == ["b_slow_half", "b_fast_half", "b_slow"]
    assert runs["b_slow_half-s1"].upstream == ["a"]
    assert runs["b_slow_half-s1"].outputs == ("tables/b_slow_half-s1.csv", "artefacts/model.txt")
    assert {run.notebook.stem for run in runs.values()} == {"a", "b", "c"}
    assert "b_slow_half" not in plan(dataset="plain"), "plain has no attributes"


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ({"b_{part}": {"matrix": {"colour": ["red"]}}}, "run b_{part}: matrix names colour, which is none of: part, r"),
        ({"b_{rate}": {"matrix": {"rate": ["slow", "flat"]}}}, "run b_{rate}: rate names flat, which is none of: slow"),
        ({"b_{colour}": {"matrix": {"rate": "slow"}}}, "run b_{colour}: {colour} in `b_{colour}` is no axis of its"),
        ({"b": {"inputs": ["a{part}"]}}, "run b: {part} in `a{part}` is no axis of its matrix"),
        ({"b": {"title": "{rate}"}}, "run b: {rate} in `{rate}` is no axis"),
        ({"b{part}": {"matrix": {"part": "half", "rate": ["slow", "fast"]}}}, "run b_half: is there twice"),
        ({"b_{part}": {"seed": True}}, "run b_{part}: unknown key seed; known: datasets"),
        ({"b/c": {}}, "run b/c: a run's name may hold letters"),
    ],
)
def test_mistakes_in_a_matrix_are_named(toy, variants, said):
    toy.study["axes"] = AXES
    toy.run("b", variants=variants)
    with pytest.raises(StudyError) as error:
        load_study()
    assert said in str(error.value)


def test_mistakes_in_an_axis_are_named(toy):
    toy.study["axes"] = AXES | {"size": {"small": {"parameter": {}}}}
    toy.run("a")
    with pytest.raises(StudyError, match="study.yml, axis size, small: unknown key parameter; known: datasets, inputs"):
        load_study()


P1_FULL = ("02_bcnn 02_bcnn_root 03_sscnn 03_sscnn_root 04_bcnn_mcr 04_sscnn_mcr 04_mcr_on_validation 05_bmtl_rl "
           "05_ssmtl_rl 06b_long_tail")
P1_MIDDLE = "02_bcnn_middle 03_sscnn_middle"
P1_CORE = ("02_bcnn_core 02_bcnn_root_core 03_sscnn_core 03_sscnn_root_core 04_bcnn_mcr_core 04_sscnn_mcr_core "
           "05_bmtl_rl_core 05_ssmtl_rl_core 06_bmtl_ca 06_bmtl_ca_core 06_ssmtl_ca 06_ssmtl_ca_core 06_parallel_core "
           "06b_long_tail_core")
ABLATIONS = "03_sscnn_gaussian 03_sscnn_template 06_single_colour 06_single_pattern 06_single_sleeve_length"
P2_ITEMS = ("08_netvlad 09_global_closest 09_global_20th 09_global_pos10 09_local_closest 09_local_20th 09_local_pos10 "
            "09_norm_pos10 09_gem_pos10 09_global_again 09_global_plain")
RUNS = {
    "bazaar": f"{P1_FULL} {P1_CORE} {ABLATIONS} 06_single_shape 06_single_pants_length {P2_ITEMS} "
              "09_global_20th_interval 09_global_12th 10_search_analysis 12_explore",
    "fashion": f"{P1_FULL} {P1_MIDDLE} {P1_CORE} 02_bcnn_middle_core 03_sscnn_middle_core {ABLATIONS} 06_single_neck "
               "06_single_length",
    "grocery": f"{P1_FULL} {P1_MIDDLE} 08_netvlad_unseen 08_netvlad_iconic 08_netvlad_known 08_netvlad_elsewhere "
               "09_unseen_global_closest 09_unseen_global_20th 09_unseen_global_pos10 09_unseen_local_closest "
               "09_unseen_local_20th 09_unseen_local_pos10 09_unseen_norm_pos10 09_unseen_gem_pos10 "
               "09_unseen_global_again 09_known_global_pos10 09_known_local_pos10 09_known_gem_pos10 "
               "09_iconic_global_closest 09_iconic_local_closest 09_elsewhere_global_pos10 10_search_analysis "
               "12_explore",
    "deepfashion": f"{P1_FULL} {P2_ITEMS} 10_search_analysis 12_explore",
    "folder": "02_bcnn 03_sscnn 06b_long_tail",
}  # fmt: skip
EVERYWHERE = ("01_catalogue", "07_classification_analysis", "11_report")


@pytest.mark.parametrize("dataset", RUNS)
def test_the_runs_of_every_dataset(dataset):
    """study.yml's matrices make these runs: a name that changes parts a run from its results."""
    study = load_study()
    assert list(study.datasets) == list(RUNS)
    for profile in study.profiles:
        assert sorted(study.plan(dataset, profile)) == sorted([*EVERYWHERE, *RUNS[dataset].split()])
        repeated = study.plan(dataset, profile, (0, 1, 2)).values()
        assert {run.seed for run in repeated if run.notebook.stem in ("02_bcnn", "03_sscnn", "04_mcr")} == {0, 1, 2}
    bazaar = study.plan("bazaar", "laptop", (0, 1, 2))
    assert len([run for run in bazaar.values() if run.notebook.stem == "09_rank_based_learning"]) == 9 * 3 + 3


def test_a_profile_names_its_seeds(toy):
    toy.run("a", seeds=True)
    toy.study["profiles"]["laptop"] = {"about": "a CPU", "seeds": [3, 0]}
    toy.save()
    assert load_study().profiles == {"smoke": "tests", "laptop": "a CPU"}
    assert list(plan(seeds=parse_seeds(""), profile="laptop")) == ["a-s3", "a"]
    assert list(plan(seeds=parse_seeds("1"), profile="laptop")) == ["a-s1"]
    assert list(plan(seeds=parse_seeds(" "))) == ["a"], "a profile that says nothing has seed 0"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"about": "a CPU", "seeds": []}, "profile laptop: seeds must contain at least 1 items"),
        ({"about": "a CPU", "seeds": [1, 1]}, "profile laptop: seeds must contain unique items"),
        ({"about": "a CPU", "seeds": [-1]}, "must be bigger than or equal to 0"),
        ({"seeds": [0]}, "profile laptop: expected keys about: and perhaps seeds:"),
        ({"about": "a CPU", "seed": [0]}, "profile laptop: unknown key seed; known: about, seeds"),
        (3, "profile laptop: expected keys about:"),
    ],
)
def test_mistakes_in_a_profile_are_named(toy, profile, said):
    toy.study["profiles"]["laptop"] = profile
    toy.run("a")
    with pytest.raises(StudyError) as error:
        load_study()
    assert said in str(error.value)


def test_a_dataset_may_be_capable_of_what_a_run_needs_or_of_nothing(toy):
    toy.study["datasets"] |= {"shop": {"capabilities": ["prices", "masks"]}, "bare": None,
                              "empty": {"capabilities": None}}
    toy.run("a", needs=["prices"])
    assert [list(plan(dataset=name)) for name in ("shop", "bare", "empty")] == [["a"], [], []]


def test_run_listed_twice_is_an_error(toy):
    toy.run("a")
    text = (toy.root / "study.yml").read_text()
    (toy.root / "study.yml").write_text(text + "  a: {notebook: a, outputs: [tables/b.csv]}\n")
    with pytest.raises(StudyError, match="`a` is given twice"):
        load_study()


def test_names_are_listed_when_wrong(toy):
    toy.run("a")
    with pytest.raises(StudyError, match="DATASET=bazar is not in study.yml; choose one of: toy, plain"):
        plan(dataset="bazar")
    with pytest.raises(StudyError, match="PROFILE=big .* smoke, laptop"):
        plan(profile="big")
    with pytest.raises(StudyError, match="RUN=b is no run of toy/smoke; choose one of: a"):
        needed(plan(), "b")
    for wrong in ("0 0", "-1", "x", "1.0", "0 x"):
        with pytest.raises(StudyError, match="distinct whole numbers"):
            parse_seeds(wrong)


def test_dataset_without_the_capability_has_no_such_run(toy):
    toy.run("a")
    toy.run("b", needs=["attributes"])
    toy.run("c", inputs=["a", "b"])
    assert list(plan()) == ["a", "b", "c"]
    assert plan()["c"].upstream == ["a", "b"]
    assert list(plan(dataset="plain")) == ["a", "c"]
    assert plan(dataset="plain")["c"].upstream == ["a"]


def test_seeds_multiply_runs_and_meet_their_own_inputs(toy):
    toy.run("a")
    toy.run("b", inputs=["a"], seeds=True)
    toy.run("c", inputs=["b"], seeds=True)
    toy.run("d", inputs=["b", "c"])
    runs = plan(seeds=(0, 1))
    assert list(runs) == ["a", "b", "b-s1", "c", "c-s1", "d"]
    assert runs["c-s1"].upstream == ["b-s1"]
    assert runs["d"].inputs == {"b": ("b", "b-s1"), "c": ("c", "c-s1")}
    assert runs["b-s1"].outputs == ("tables/b-s1.csv", "artefacts/model.txt")
    assert runs["b-s1"].parameters()["SEED"] == 1
    assert list(needed(runs, "c-s1")) == ["a", "b-s1", "c-s1"]


def test_seeds_first_appears_once_for_the_first_seed_asked(toy):
    toy.run("a", seeds=True)
    toy.run("b", inputs=["a"], seeds="first")
    toy.run("c", inputs=["b"])
    toy.run("d", inputs=["a", "b"], seeds=True)
    toy.run("e", inputs=["b"], seeds="first")
    runs = plan(seeds=(2, 0, 1))
    assert list(runs) == ["a-s2", "a", "a-s1", "b-s2", "c", "d-s2", "d", "d-s1", "e-s2"]
    assert runs["b-s2"].parameters()["SEED"] == 2
    assert runs["b-s2"].inputs == {"a": ("a-s2",)}
    assert runs["c"].inputs == {"b": ("b-s2",)}
    assert runs["e-s2"].inputs == {"b": ("b-s2",)}
    # Its own seed of `a`; of `b` there is only one.
    assert [runs[i].upstream for i in ("d-s2", "d", "d-s1")] == [["a-s2", "b-s2"], ["a", "b-s2"], ["a-s1", "b-s2"]]
    assert list(needed(runs, "d-s1")) == ["a-s2", "a-s1", "b-s2", "d-s1"]
    assert list(plan()) == ["a", "b", "c", "d", "e"]


def test_seeds_is_yes_no_or_first(toy):
    for known in (True, False, "first"):
        toy.run("a", seeds=known)
        load_study()
    for unknown in ("sometimes", "", 2):
        toy.run("a", seeds=unknown)
        with pytest.raises(StudyError, match=f"run a: seeds is true, false or first, got {unknown}"):
            load_study()


def test_two_runs_cannot_own_one_file(toy):
    toy.run("a", seeds=True, outputs=["tables/scores.csv"])
    plan()
    with pytest.raises(StudyError, match="a and a-s1 both declare tables/scores.csv"):
        plan(seeds=(0, 1))


def changes(toy, edit):
    """{run: reasons} after an edit of the study with runs a > b > c (only b imports shoplens.plots)."""
    toy.module("plots", '"""Plots."""\nfrom shoplens import colours\nSIZE = 1\n')
    toy.module("colours", "RED = 1\n")
    toy.run("a", sources=True)
    toy.run("b", "def f():\n    from shoplens.plots import SIZE", inputs=["a"])
    toy.run("c", inputs=["b"], parameters={"all": {"EPOCHS": 3}})
    old = fingerprint.fingerprints(plan())
    edit()
    toy.save()
    new = fingerprint.fingerprints(plan())
    said = {run: fingerprint.differences(old[run]["components"], new[run]["components"]) for run in old}
    assert all((old[run] == new[run]) == (not said[run]) for run in old)
    return {run: reasons for run, reasons in said.items() if reasons}


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_prose_comments_and_docstrings_change_nothing(toy):
    def edit():
        rewrite(toy.root / "notebooks" / "a.ipynb", "# a", "# A title")
        rewrite(toy.root / "notebooks" / "b.ipynb", "print(EPOCHS, RATE)", "print(EPOCHS,  RATE)  # said")
        toy.module("plots", '"""Figures."""\n# sizes\nfrom shoplens import colours\nSIZE = 1\n')

    assert changes(toy, edit) == {}


def test_code_edit_reaches_descendants(toy):
    said = changes(toy, lambda: rewrite(toy.root / "notebooks" / "b.ipynb", "print(EPOCHS", "print(-EPOCHS"))
    assert said == {"b": ["notebook code changed"], "c": ["input b changed"]}


def test_module_edit_reaches_importers_through_modules_and_functions(toy):
    said = changes(toy, lambda: toy.module("colours", "RED = 2\n"))
    assert said == {"b": ["module shoplens.colours changed"], "c": ["input b changed"]}


def test_source_edit_reaches_runs_that_prepare_it(toy):
    said = changes(toy, lambda: toy.module("data/sources/toy", "LICENCE = 'mine'\n"))
    assert said["a"] == ["module shoplens.data.sources.toy changed"]


def test_source_as_a_package_counts_whole(toy):
    file = toy.root / "lib" / "shoplens" / "data" / "sources" / "toy.py"
    file.unlink()
    file.with_suffix("").mkdir()
    toy.module("data/sources/toy/__init__", "")
    toy.module("data/sources/toy/draw", "X = 1")
    said = changes(toy, lambda: toy.module("data/sources/toy/draw", "X = 2"))
    assert said["a"] == ["module shoplens.data.sources.toy.draw changed"]


def test_parameter_change_is_said_with_both_values(toy):
    said = changes(toy, lambda: toy.study["runs"]["c"].update(parameters={"all": {"EPOCHS": 5}}))
    assert said == {"c": ["parameter EPOCHS 3 -> 5"]}


def test_declared_file_counts(toy):
    toy.study["runs"] = {}
    (toy.root / "numbers.csv").write_text("1")
    toy.run("z", files=["*.csv"])
    said = changes(toy, lambda: (toy.root / "numbers.csv").write_text("2"))
    assert said == {"z": ["file numbers.csv changed"]}


def test_accepted_results_count_for_the_other_data_sets_and_are_no_code(toy):
    accepted = {name: toy.root / "results" / "reference" / name / "laptop" / "claims.csv" for name in ("toy", "plain")}

    def accept():
        for file in accepted.values():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(file.read_text() + "2" if file.exists() else "1")

    accept()
    toy.run("z", files=["results/reference/*/laptop/claims.csv"])
    assert changes(toy, accept) == {"z": ["file results/reference/plain/laptop/claims.csv changed"]}
    assert not [file for file in fingerprint.code_files(plan()["z"]) if "reference" in file.parts]
    accepted["plain"].unlink()
    assert "file results/reference/toy/laptop/claims.csv" not in fingerprint.components(plan()["z"], {})


def test_relative_imports_are_followed(toy):
    toy.module("data/sources/toy", "from ...colours import RED\nfrom . import shared\n")
    toy.module("data/sources/shared", "")
    toy.module("colours", "RED = 1\n")
    assert set(fingerprint.closure({"shoplens.data.sources.toy"})) == {
        "shoplens", "shoplens.colours", "shoplens.data", "shoplens.data.sources", "shoplens.data.sources.shared",
        "shoplens.data.sources.toy",
    }  # fmt: skip


def test_fingerprints_are_stable_json(toy):
    toy.run("a")
    first, second = (json.dumps(fingerprint.fingerprints(plan())) for _ in range(2))
    assert first == second


def test_raw_data_count_by_name_size_and_table_content(tmp_path):
    """A table edited, a picture added or replaced by one of another size is new data; a copy is not."""
    first = tmp_path / "first"
    (first / "images").mkdir(parents=True)
    (first / "products.csv").write_text("image,layer:leaf\na.png,boot\n")
    (first / "images" / "a.png").write_bytes(b"1234")
    as_it_was = fingerprint.raw_hash(first)
    assert fingerprint.raw_hash(shutil.copytree(first, tmp_path / "copy")) == as_it_was
    (first / "products.csv").write_text("image,layer:leaf\na.png,shoe\n")
    edited = fingerprint.raw_hash(first)
    (first / "images" / "b.png").write_bytes(b"")
    added = fingerprint.raw_hash(first)
    (first / "images" / "a.png").write_bytes(b"12345")
    assert len({as_it_was, edited, added, fingerprint.raw_hash(first), fingerprint.raw_hash(tmp_path / "nowhere")}) == 5


def test_own_data_elsewhere_counts(toy):
    """A CSV and images that SOURCE names are raw data wherever they lie; from the root, where the path is relative."""
    toy.study["datasets"]["toy"]["raw"] = "toy"
    toy.run("a", sources=True, notebook={"parameters": f"{PARAMETERS}\nSOURCE = {{}}  # of the source"})
    plain = fingerprint.components(plan()["a"], {})
    toy.run("a", sources=True, notebook={"parameters": f"{PARAMETERS}\nSOURCE = {{}}  # of the source"},
            parameters={"all": {"SOURCE": {"csv": "mine/shop.csv", "images": str(toy.root / "pictures")}}})
    as_it_was = fingerprint.components(plan()["a"], {})
    assert set(as_it_was) - set(plain) == {"raw data csv", "raw data images"}
    (toy.root / "mine").mkdir()
    (toy.root / "mine" / "shop.csv").write_text("image\n")
    (toy.root / "pictures").mkdir()
    there = fingerprint.components(plan()["a"], {})
    assert fingerprint.differences(as_it_was, there) == ["raw data csv changed", "raw data images changed"]
    (toy.root / "mine" / "shop.csv").write_text("image\na.png\n")
    assert fingerprint.differences(there, fingerprint.components(plan()["a"], {})) == ["raw data csv changed"]
