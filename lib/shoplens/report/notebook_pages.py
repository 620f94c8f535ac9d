"""Executed notebooks as pages that need no network: formulas as MathML, no script from elsewhere."""

import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from shoplens import paths

# Long lines are broken, not cut: the template hides what goes beyond the page. Code shown as output is code too.
STYLE = """<style>
.highlight pre, .jp-RenderedText pre { white-space: pre-wrap !important; overflow-wrap: anywhere }
.jp-RenderedMarkdown .highlight pre { font: var(--jp-code-font-size)/1.3 var(--jp-code-font-family) }
</style>"""


def write_page(notebook: Path, page: Path) -> None:
    """Write an executed notebook as one HTML file, unless the page is newer than both the notebook and this module."""
    if page.exists() and page.stat().st_mtime > max(file.stat().st_mtime for file in (notebook, Path(__file__))):
        return
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
    # Empty addresses keep the page from asking the network for scripts it no longer needs.
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    text, _ = exporter.from_notebook_node(book, {"metadata": {"name": notebook.stem}})
    paths.write_atomic(page, text.replace("</head>", f"{STYLE}\n</head>", 1).encode())


def with_mathml(markdown: str) -> str:
    """Markdown with its LaTeX formulas as MathML, which browsers draw without a script; code is left alone."""
    def formula(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        shown = "block" if match["block"] else "inline"
        return convert(match["block"] or match["inline"], display=shown).replace("\n", " ")

    code, block, inline = r"(?P<code>```.*?```|`[^`\n]+`)", r"\$\$(?P<block>.+?)\$\$", r"\$(?P<inline>[^$\n]+?)\$"
    return re.sub(f"{code}|{block}|{inline}", formula, markdown, flags=re.S)
