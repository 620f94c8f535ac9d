"""Fingerprints: what counts as a change, and what is said of it."""

import json
import shutil

from throwaway import PARAMETERS, plan

from shoplens.study import fingerprint


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


def test_raw_data_count_by_name_and_content(tmp_path):
    """A table edited, a picture added or replaced is new data; a copy is not."""
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
