"""The three versions of each notebook: what students get, what they must not get, and that two builds are one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from shoplens import paths
from shoplens.coursework import build, prose
from shoplens.coursework.course import Sheet, choose, load_course, numbers_of, read_roster
from shoplens.coursework.prose import Study, expand
from shoplens.coursework.versions import SOLUTION, VERSIONS, read_source, rubric, write
from shoplens.errors import StudyError

COURSE = load_course()


def texts(value) -> list[str]:
    """All texts in a notebook: sources, outputs, metadata, attachments."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for one in pair for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list) else []


def lines(text: str) -> set[str]:
    """Lines that say something of their own."""
    return {line.strip() for line in text.splitlines() if len(line.strip()) > 11}


def test_students_get_no_line_of_a_solution_hidden_test_or_rubric(sheet, made):
    source = read_source(sheet)["cells"]
    given = set().union(*(lines(SOLUTION.sub("", cell["source"])) for cell in source))
    secret = set().union(*(lines(found[2]) for cell in source for found in SOLUTION.finditer(cell["source"])))
    secret |= set().union(*(lines(rubric(exercise)) for exercise in sheet.exercises if not exercise.function))
    assert len(secret - given) > 10
    everything = "\n".join(texts(made("student", sheet.name)))
    assert [line for line in secret - given if line in everything] == []
    assert [word for word in ("SOLUTION", "HIDDEN", "hidden_check", "rubric", "shoplens.") if word in everything] == []
    instructors = "\n".join(texts(made("instructor", sheet.name)))
    assert [line for line in secret if line not in instructors] == []


def test_notebooks_are_valid_and_know_their_cells(sheet, made):
    for version in VERSIONS:
        book = made(version, sheet.name)
        nbformat.validate(nbformat.from_dict(book))
        ids = [cell["metadata"]["nbgrader"]["grade_id"] for cell in book["cells"] if cell["metadata"].get("nbgrader")]
        assert len(set(ids)) == len(ids)
        assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
        assert not any(prose.DIRECTIVE.search(cell["source"]) for cell in book["cells"])
    points = sum(cell["metadata"].get("nbgrader", {}).get("points", 0) for cell in made("student", sheet.name)["cells"])
    assert points == 10


def test_two_builds_are_byte_identical(scratch_root, monkeypatch):
    monkeypatch.setenv("STUDY_ROOT", str(Path(__file__).parents[2]))
    contents = []
    for name in ("first", "second"):
        files = build.build(choose(COURSE, "02 08"), scratch_root / name, "bazaar", ["ann", "bo"], "de")
        contents.append({file.relative_to(scratch_root / name): file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert Path("student/bo/08.ipynb") in contents[0]


def test_students_run_from_top_to_bottom_and_solutions_without_an_error(tmp_path, made):
    for version in ("student", "solution"):
        for name in COURSE:
            write(tmp_path / version / f"{name}.ipynb", json.dumps(made(version, name)))
    files = sorted(map(str, tmp_path.rglob("*.ipynb")))
    ran = subprocess.run([sys.executable, Path(__file__).with_name("run_notebooks.py"), *files], capture_output=True,
                         text=True, check=True)
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["heavy"] == [], "student notebooks need NumPy and Matplotlib alone"
    for file, one in found["raised"].items():
        name = Path(file).stem
        assert one["slowest"] < 10, file
        if "solution" in Path(file).parts:
            assert one["errors"] == [], file
        else:
            named = {f"NotImplementedError: Exercise {e.name}: {e.function}" for e in COURSE[name].functions}
            assert {error for error in one["errors"] if not error.startswith("NameError")} == named, file


def test_solutions_import_nothing_from_the_library(made, sheet):
    code = "\n".join(cell["source"] for cell in made("solution", sheet.name)["cells"] if cell["cell_type"] == "code")
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    assert imported <= {"numpy", "matplotlib", "math", "hashlib"}


def test_each_student_gets_other_numbers_and_always_the_same(tmp_path):
    roster = tmp_path / "roster.csv"
    roster.write_text("student,mail\nann,a@b\nbo,b@b\ncy,c@b\n", encoding="utf-8")
    sheet = COURSE["02"]
    drawn = {student: numbers_of(sheet, "bazaar", student) for student in read_roster(roster)}
    assert len({str(numbers) for numbers in drawn.values()}) > 1
    for numbers in drawn.values():
        assert numbers["IMAGES"] > 2 * numbers["CLASSES"]
    assert numbers_of(sheet, "bazaar", "ann") == drawn["ann"]


@pytest.mark.parametrize(("text", "says"), [
    ("name\nann\n", "column `student`"), ("student\n../x\n", "cannot name a folder"),
    ("student\na\na\n", "stands there twice")])
def test_a_roster_that_cannot_be_used_says_why(tmp_path, text, says):
    (tmp_path / "roster.csv").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=says):
        read_roster(tmp_path / "roster.csv")


def test_prose_is_included_by_heading_and_a_heading_that_is_gone_is_named():
    sheet = COURSE["02"]
    study = Study(sheet.study)
    included = expand("{{prose: The scores}}", sheet, study, "02.ipynb")
    assert included.startswith("ACC counts images, MACC counts classes")
    assert included.endswith("$$"), "down to the last formula"
    assert expand("{{formulas: The scores}}", sheet, study, "02.ipynb").startswith("$$")
    gone = r"02\.ipynb: notebooks/02_bcnn\.ipynb has no heading 'No such'; it has .*'The scores'"
    with pytest.raises(StudyError, match=gone):
        expand("{{prose: No such}}", sheet, study, "02.ipynb")
    with pytest.raises(StudyError, match="is none of"):
        expand("{{pros: The scores}}", sheet, study, "02.ipynb")


def test_texts_of_another_language_take_the_place_of_english_by_heading(made):
    english, german = (made("student", "02", language=language)["cells"] for language in ("", "de"))
    assert len(english) == len(german)
    changed = [cell["source"] for cell, other in zip(german, english, strict=True) if cell["source"] != other["source"]]
    assert len(changed) > 3
    assert all("Aufgabe" in text or "Übung" in text for text in changed)
    assert [c["source"] for c in made("student", "08", language="de")["cells"]] == [
        c["source"] for c in made("student", "08")["cells"]], "no texts: English"


def test_names_of_the_command_line_that_mean_nothing_are_named(capsys):
    assert build.main(["--only", "02 99"]) == 2
    assert "there is no coursework for 99" in capsys.readouterr().err
    assert build.main(["--only", "02", "--text", "xx"]) == 2
    assert "xx.yml" in capsys.readouterr().err
    assert build.main(["--only", "01", "--dataset", "nowhere"]) == 2
    assert "coursework/fixtures/nowhere.json" in capsys.readouterr().err


def test_a_course_that_does_not_add_up_is_refused(tmp_path):
    file = tmp_path / "course.yml"
    text = (paths.root() / "coursework" / "course.yml").read_text(encoding="utf-8")
    for old, new, says in (("kind: K", "kind: Q", "kind is one of"),
                           ("minutes: 75", "minuts: 75", "minuts means nothing"),
                           (", function: top_k,", ",", "all but W name a function")):
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(StudyError, match=says):
            load_course(file)


def test_a_source_without_a_cell_that_the_course_asks_for_is_refused():
    sheet = COURSE["02"]
    more = Sheet(sheet.name, sheet.study, 1, {}, (*sheet.exercises, COURSE["08"].exercises[0]))
    with pytest.raises(StudyError, match="asks for the cells 08_1, 08_1_visible"):
        read_source(more)
