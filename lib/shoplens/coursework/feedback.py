"""A page of feedback for each student, from coursework/feedback.html."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, select_autoescape

from shoplens.coursework.course import folder


def write_pages(results: dict[str, list], into: Path) -> None:
    """One page a student; what they wrote is escaped, and nothing of hidden inputs or right answers is on it."""
    page = Environment(loader=FileSystemLoader(folder()), autoescape=select_autoescape(), trim_blocks=True,
                       lstrip_blocks=True).get_template("feedback.html")
    into.mkdir(parents=True, exist_ok=True)
    for student, own in results.items():
        graded = [result for result in own if result.points is not None]
        text = page.render(student=student, results=own, points=sum(r.points for r in graded),
                           of=sum(r.exercise.points for r in graded))
        (into / f"{student}.html").write_text(text, encoding="utf-8")
