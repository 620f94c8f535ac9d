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
        ({"RATE": "1e-4"}, "RATE = 1e-4 is text to YAML, not a number; write 1.0e-4"),
        ({"SEED": 3}, "SEED is set by the runner"),
    ],
)
def test_wrong_override_is_named(toy, overrides, said):
    toy.run("01", parameters={"all": overrides})
    with pytest.raises(StudyError, match="study.yml, 01, parameters of `all`") as error:
        plan()["01"].parameters()
    assert said in str(error.value)


def test_yaml_really_reads_1e_4_as_text(toy):
    toy.run("01")
    text = (toy.root / "study.yml").read_text()
    (toy.root / "study.yml").write_text(text + "    parameters:\n      all: {RATE: 1e-4}\n")
    with pytest.raises(StudyError, match=r"write 1\.0e-4"):
        plan()["01"].parameters()


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


def test_source_notebook_checks(toy):
    toy.run("good")
    assert parameters.check_source(toy.root / "notebooks" / "good.ipynb") == []
    executed = cell("print(1)") | {"execution_count": 4}
    path = toy.write("bad", [cell(PARAMETERS.replace("  # learning rate", ""), "parameters"), executed,
                             cell("print(DATASET, PROFILE, RUN, SEED, EPOCHS, RATE)")])  # fmt: skip
    said = "\n".join(parameters.check_source(path))
    assert "cell 2: clear its outputs" in said
    assert "`RATE = 0.1` wants a comment" in said


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"output": []}, "run a: unknown key output"),
        ({"inputs": ["zero"]}, "inputs names zero"),
        ({"datasets": ["toys"]}, "datasets names toys"),
        ({"needs": ["masks"]}, "needs names masks"),
        ({"parameters": {"paper": {}}}, "parameters names paper"),
        ({"outputs": ["x.csv"]}, "output x.csv must lie under"),
        ({"inputs": ["a"]}, "need each other in a circle: a > a"),
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
    with pytest.raises(StudyError, match="distinct whole numbers"):
        parse_seeds("0 0")


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
