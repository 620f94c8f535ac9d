"""`make coursework`: student, solution and instructor versions under build/coursework."""

import argparse
import shutil
import sys
from pathlib import Path

from shoplens import paths
from shoplens.coursework.checking import load_tasks
from shoplens.coursework.course import Sheet, choose, load_course, numbers_of, read_roster
from shoplens.coursework.versions import VERSIONS, make, write
from shoplens.errors import StudyError

NBGRADER = '''"""Where nbgrader finds what `make coursework` wrote: run it in this folder."""

c = get_config()        # noqa: F821 - nbgrader's
c.CourseDirectory.course_id = "coursework"
c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("Exercise: write this function")'}
c.ClearSolutions.text_stub = "*Your answer.*"
c.ExecutePreprocessor.timeout = 120
'''


def output_folder(dataset: str, language: str) -> Path:
    """build/coursework, with the catalogue where it is not the default one and the language where one is given."""
    parts = ["coursework", *([dataset] if dataset != "bazaar" else []), *([language] if language else [])]
    return paths.root() / "build" / "-".join(parts)


def build(sheets: list[Sheet], into: Path, dataset: str, students: list[str], language: str) -> list[Path]:
    """Write all versions of the notebooks; with students, those of the first two versions for each. Files written."""
    files = []
    for sheet in sheets:
        tasks, common = load_tasks(sheet.name), numbers_of(sheet, dataset)
        for version in VERSIONS:
            personal = students if version != "instructor" else []
            for student in personal or [""]:
                numbers = numbers_of(sheet, dataset, student) if student else common
                files.append(into / version / student / f"{sheet.name}.ipynb")
                write(files[-1], make(version, sheet, tasks, numbers, language))
        # nbgrader's own layout beside them: source/<assignment>/<notebook>
        source = into / "nbgrader" / "source" / sheet.name / f"{sheet.name}.ipynb"
        source.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(into / "instructor" / f"{sheet.name}.ipynb", source)
    (into / "nbgrader" / "nbgrader_config.py").write_text(NBGRADER, encoding="utf-8")
    return files


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for what the user must put right."""
    parser = argparse.ArgumentParser(prog="make coursework")
    parser.add_argument("--only", default="", help="notebooks, such as '02 08'; empty: all")
    parser.add_argument("--dataset", default="bazaar")
    parser.add_argument("--roster", default="", help="CSV with a column `student`")
    parser.add_argument("--text", default="", help="language of coursework/text")
    given = parser.parse_args(arguments)
    try:
        students = read_roster(Path(given.roster)) if given.roster else []
        into = output_folder(given.dataset, given.text)
        files = build(choose(load_course(), given.only), into, given.dataset, students, given.text)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(files)} notebooks in {into.relative_to(paths.root())}: {', '.join(VERSIONS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
