"""The report page: what it shows of hand-made results, its links and captions, how it fits a screen; its formulas."""

import fnmatch
import html
import os
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from browser import BROWSER, QUIET, browser
from PIL import Image

from shoplens import paths
from shoplens.classification.comparison import OURS, VARIANTS, paper_table
from shoplens.report import ambiguities, claims, index_page, notebook_pages
from shoplens.report.captions import caption_of, load_words
from shoplens.report.tables import LAYOUTS, PAPERS, table_of_paper
from shoplens.sealed import file_hash, write_sealed
from shoplens.study.plan import load_study

REPOSITORY = paths.root()
WORDS, STUDY = load_words(), load_study()


# --- results made by hand -----------------------------------------------------------------------------------------


class Results:
    """A results folder of a throwaway study in which runs are said to be done or failed."""

    def __init__(self, root, dataset="bazaar", profile="smoke"):
        for name in ("study.yml", "report.yml"):
            shutil.copy(REPOSITORY / name, root)
        shutil.copytree(REPOSITORY / "results" / "paper", root / "results" / "paper")
        self.dataset, self.profile = dataset, profile
        self.folder = paths.results_dir(dataset, profile)
        self.plan = load_study().plan(dataset, profile)

    def done(self, run: str, tables: dict[str, pd.DataFrame] | None = None, **record) -> None:
        """Tables as given, every declared figure as a blank one, every declared page as an empty one."""
        spec = self.plan[run]
        for name, table in (tables or {}).items():
            self._write(f"tables/{name}.csv", table.to_csv(index=False))
            self._write(f"tables/{name}.md", f"**Title of {name}**\n\n{table.head(2).to_markdown(index=False)}\n\nfoot")
        for output in (*spec.outputs, *spec.optional):
            file = spec.published(output)
            file.parent.mkdir(parents=True, exist_ok=True)
            if output.startswith("figures/"):
                Image.new("RGB", (1600, 300), "white").save(file)
            elif output.endswith(".html"):
                file.write_text("<p>page</p>")
        self._write(f"notebooks/{run}.ipynb", nbformat.writes(nbformat.v4.new_notebook()))
        git = {"sha": "f" * 40, "dirty": []}
        self._record(run, status="done", wall_s=90.0, peak_memory_mib=1234, git=git, **record)

    def failed(self, run: str, error: str) -> None:
        self._write(f"failed/{run}.ipynb", nbformat.writes(nbformat.v4.new_notebook()))
        self._record(run, status="failed", error=error)

    def page(self) -> str:
        return index_page.build(self.dataset, self.profile).read_text(encoding="utf-8")

    def _record(self, run: str, **record) -> None:
        write_sealed(self.folder / f"runs/{run}.json", {"run": run, "seed": self.plan[run].seed} | record)

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")


def classification() -> dict[str, pd.DataFrame]:
    common = {"dataset": "bazaar", "profile": "smoke"}
    table1 = pd.DataFrame([common | {"subset": subset, "variant": v, "metric": metric, "k": k, "seed": seed,
                                   "value": 0.8 + 0.01 * seed, "n": 124} for subset in ("full", "core")
                           for v in VARIANTS for metric in ("ACC", "MACC") for k in (1, 5) for seed in (0, 1)])
    gains = pd.DataFrame([common | {"subset": subset, "variant": v, "against": "bCNN", "metric": metric, "value": 0.01,
                                  "relative": 0.012, "low": -0.01, "high": 0.03, "seeds": 2, "spread": 0.004,
                                  "p_values": "0.5 1e-09", "p_value": 0.4, "p_holm": 1.0, "visible": 0.03, "n": 124,
                                  "verdict": "inside the noise"} for subset in ("full", "core")
                          for v in VARIANTS if v != "bCNN" for metric in ("ACC", "MACC")])
    return {"table1_classification": table1, "table1_gains": gains, "ablations": gains.assign(variant="one template"),
            "ours_against_each": gains.assign(variant=OURS, seeds=1, relative=float("nan")),
            "table2_attributes": paper_table("p1_table2"),
            "fig5_macc_by_root": pd.DataFrame({"root": ["bag"], "variant": ["bCNN"], "value": [0.5]}),
            "mistakes": table1.assign(errors=12, inside_root=0.5, distance=1.5)}


def searches() -> dict[str, pd.DataFrame]:
    base = {"protocol": "items", "metric": "MAP@20", "value": 0.5, "low": 0.4, "high": 0.6, "seed": 0, "k": 20}
    gain = base | {"variant": "L+G", "against": "O", "verdict": "better"}
    return {"table3_whole_and_cropped": pd.DataFrame([base | {"variant": "O", "setting": "WQ-WD"}]),
            "table4_candidate_selection": pd.DataFrame([base | {"feature": "G", "split": "test", "selection": "20th"}]),
            "table4_gains": pd.DataFrame([gain | {"feature": "G", "selection": "20th"}]).drop(columns="variant"),
            "table5_search": pd.DataFrame([base | {"variant": v, "distractors": 0} for v in ("O", "L+G")]),
            "table5_gains": pd.DataFrame([gain]),
            "table6_whitening": pd.DataFrame([base | {"variant": "G", "dimensions": 32, "milliseconds": 0.0123,
                                                      "gallery_mib": 117.18}]),
            "search_ours": pd.DataFrame([gain | {"score": 0.55}])}


def evidence() -> dict[str, pd.DataFrame]:
    """The real statements and the real register, so that pages are tried with words as long as they get."""
    on_paper = claims.check_paper(claims.load_claims())
    ours = on_paper.assign(where="bazaar, items", verdict="direction only")
    register = ambiguities.load_register()
    return {"claims": pd.concat([on_paper, ours]),
            "ambiguities": ambiguities.readable(register, ambiguities.effects(register, {}))}


@pytest.fixture
def whole(tmp_path, monkeypatch) -> Results:
    """All analysis runs, one network's run and one failed run."""
    tables = {"07_classification_analysis": classification(), "10_search_analysis": searches(), "11_report": evidence()}
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    results = Results(tmp_path)
    for run, own in tables.items():
        results.done(run, own)
    provenance = {"licence": "free for all", "weights": {"sha256": "96a4"}}
    results.done("02_bcnn", {"02_bcnn": pd.DataFrame({"value": [0.5]})}, hardware={"cpu": "a chip"},
                 versions={"torch": "2.0"}, provenance=provenance)
    results.done("12_explore")
    results.failed("03_sscnn", "ValueError: <b> & so on")
    return results


# --- what is shown ------------------------------------------------------------------------------------------------


def _headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_page_has_its_sections_its_warnings_and_its_numbers(whole):
    page = whole.page()
    assert _headings(page) == ["At a glance", *WORDS["sections"], "Runs", "Provenance"]
    assert page.index("SMOKE: not a result") < page.index("<main>")
    warning = re.search(r'<div class="warning".*?</div>', page, re.S)[0]
    assert "1 run failed" in warning
    assert '<a href="html/03_sscnn.html">03_sscnn</a>: ValueError: &lt;b&gt; &amp; so on' in warning
    assert "<b>80.5 · 80.5 %</b>" in page
    assert "<td class=\"number\">80.5 ± 0.7</td>" in page
    assert '<span class="verdict unclear">inside the noise</span>' in page
    assert ">78.8<" in page                                     # bCNN, full, ACC in the paper's own Table 1
    assert "smallest visible" in page
    assert "<td>attention-map-size</td>" in page
    assert "13×13 is AlexNet&#39;s. (P1 §3.2)</td>" in page
    assert '<a class="button" href="artefacts/12_explore/explore.html">' in page
    assert "<dd>" + "f" * 12 + "</dd>" in page
    for text in ("free for all", "sha256 96a4", "cpu a chip", "torch 2.0", "5 done, 8 minutes"):
        assert text in page


def test_everything_emitted_is_shown_once(whole):
    page = whole.page()
    there = [one.link for one in index_page.emitted(whole.plan)]
    assert len(there) > 30
    assert [link for link in there if len(re.findall(f'(?:src|href)="{re.escape(link)}"', page)) == 0] == []
    assert page.count('<img src="figures/fig5_curves.png"') == 1
    after = page[page.index('id="runs"'):]
    assert '<img src="figures/02_bcnn_curves.png"' in after
    assert "figures/table1_gains.png" not in after


def test_missing_runs_leave_no_empty_heading(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    results = Results(tmp_path, "folder")
    page = results.page()
    assert _headings(page) == ["Runs"]
    assert '<div class="warning"' not in page
    there = ("table1_classification", "table1_gains", "mistakes")
    flat = {name: table[table["variant"].isin(["bCNN", "ssCNN", OURS]) & (table["subset"] == "full")]
            for name, table in classification().items() if name in there}
    results.done("07_classification_analysis", flat)
    page = results.page()
    assert _headings(page) == ["At a glance", "Classification", "Runs", "Provenance"]
    assert "table2_attributes" not in page
    assert page.count("<article>") == 3


def test_runs_of_the_first_seed_are_shown_whatever_that_seed_is(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    results = Results(tmp_path)
    results.plan = load_study().plan("bazaar", "smoke", (1, 2))
    results.done("01_catalogue")
    assert "<td>02_bcnn</td>" in results.page(), "no seed was run yet: seed 0 is planned"
    for run in ("02_bcnn-s1", "02_bcnn-s2", "03_sscnn_gaussian-s1"):
        results.done(run)
    page = results.page()
    assert '<img src="figures/03_sscnn_gaussian-s1_curves.png"' in page
    assert "<td>02_bcnn</td>" not in page
    results.plan = load_study().plan("bazaar", "smoke", (0, 1, 2))
    results.failed("02_bcnn", "out of memory")
    assert "1 run failed" in results.page()


def test_a_table_without_its_readable_twin_is_shown_all_the_same(whole):
    (whole.folder / "tables" / "fig5_macc_by_root.md").unlink()
    assert "<summary>fig5 macc by root</summary>" in whole.page()


def test_names_of_classes_are_text_whatever_they_hold(whole):
    """A name may look like markdown, or hold the mark that stands between cells."""
    shown = {}
    for name in ("![](http://far.away/x.png)", "**bold** <b>", "Men|Women", "|"):
        table = pd.DataFrame({"root": [name, "bag"], "variant": ["bCNN", "bCNN"], "value": [0.25, 0.5]})
        whole.done("07_classification_analysis", {"fig5_macc_by_root": table})
        page = whole.page()
        rows = re.search(r"Title of fig5_macc_by_root.*?<tbody>(.*?)</tbody>", page, re.S)[1].split("</tr>")[:-1]
        shown[name] = [[html.unescape(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)] for row in rows]
        assert "<img src=\"http" not in page
    assert shown == {name: [[name, "bCNN", "0.25"], ["bag", "bCNN", "0.5"]] for name in shown}


def test_every_link_leads_to_a_file_beside_the_page(whole):
    page = whole.page()
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    ids = set(re.findall(r'id="([^"]*)"', page))
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    files = [link for link in links if not link.startswith("#") and link != "data:,"]
    assert len(files) > 30
    assert [link for link in files if not (whole.folder / link).is_file() or link.startswith(("/", "http", ".."))] == []
    assert not re.search(r"srcset|@import|url\(|<script|<link(?! rel=\"icon\" href=\"data:,\")", page)
    assert not re.findall(r"<img(?![^>]*alt=\"[^\"]+\")[^>]*>", page)


# --- report.yml ---------------------------------------------------------------------------------------------------


def _declared() -> set[str]:
    """Every table and figure that study.yml declares, without ending."""
    plans = [STUDY.plan(dataset, "laptop") for dataset in STUDY.datasets]
    return {output.rsplit(".", 1)[0] for plan in plans for run in plan.values()
            for output in (*run.outputs, *run.optional) if not output.startswith("artefacts/")}


def test_every_table_and_figure_has_a_caption():
    assert [name for name in sorted(_declared()) if not caption_of(WORDS["captions"], name)] == []


def test_a_caption_says_what_its_pattern_stood_for():
    captions = {"figures/a_*": "Protocol {}: queries.", "figures/*_b": "Curves.", "figures/*": "Rest."}
    found = [caption_of(captions, name) for name in ("figures/a_unseen", "figures/x_b", "figures/c", "tables/c")]
    assert found == ["Protocol unseen: queries.", "Curves.", "Rest.", ""]


def test_report_yml_names_nothing_that_no_run_declares():
    declared = sorted(_declared()) + ["artefacts/explore"]
    asked = [line.removeprefix("folded ") for section in WORDS["sections"].values() for line in section["shows"]]
    patterns = [*asked, *WORDS["captions"], *WORDS["papers"]]
    assert [pattern for pattern in patterns if not fnmatch.filter(declared, pattern)] == []
    assert set(WORDS["papers"]) == set(PAPERS)
    assert set(LAYOUTS) <= set(declared)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_table_takes_our_layout(name):
    shown = table_of_paper(name)
    numbers = paper_table(PAPERS[name])["value"]
    assert len(shown) >= 3
    assert any(cell in (f"{numbers[0]:.3f}", f"{100 * numbers[0]:.1f}") for cell in shown.to_numpy().ravel())


def test_shares_of_the_weights_stand_side_by_side():
    rows = [{"protocol": "items", "variant": "L", "measure": region, "metric": metric, "value": value,
             "low": value - 0.01, "high": value + 0.01, "n": 9}
            for region, values in (("box", (0.4, 0.3, 0.1)), ("mask", (0.25, 0.2, 0.05)))
            for metric, value in zip(("weights inside", "area of the picture", "weights inside - area"), values,
                                     strict=True)]
    shown = LAYOUTS["tables/fig7_share_inside"](pd.DataFrame(rows))
    assert list(shown) == ["protocol", "inside", "weights inside", "area of the picture", "weights inside - area"]
    assert shown.loc[1].tolist() == ["items", "mask", "0.250 [0.240, 0.260]", "0.200 [0.190, 0.210]",
                                     "0.050 [0.040, 0.060]"]


@pytest.mark.parametrize(("old", "new", "said"), [
    ("sections:\n", "sections: [\n", "report.yml is not valid YAML: .* line "),
    ("captions:\n", "caption:\n", "report.yml: `captions:` is missing or not a mapping"),
    ("papers:\n", "papers: {}\nrest:\n", "report.yml: `papers:` has no caption for tables/table1_classification"),
    ("    intro: >-\n      P1", "    into: >-\n      P1", "report.yml, sections, Classification: expected `intro:`"),
    ("    shows:\n      - figures/claims\n", "    shows:\n      - \n", "report.yml, sections, Evidence: expected"),
    ("  tables/table1_gains: >-\n", "  tables/table1_gains:\n  x: >-\n", "captions, tables/table1_gains: the caption"),
    ("  tables/table1_gains: >-\n", "  tables/mistakes: Twice.\n  tables/table1_gains: >-\n",
     r"report.yml, line \d+: `tables/mistakes` is given twice"),
])  # fmt: skip
def test_mistakes_in_report_yml_are_one_line(whole, capsys, old, new, said):
    file = paths.root() / "report.yml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    assert index_page.main(["--dataset", "bazaar", "--profile", "smoke"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert re.search(f"^error: .*{said}", message)


# --- on a screen --------------------------------------------------------------------------------------------------


@browser
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_fits_the_screen_with_everything_unfolded(whole, tmp_path, width):
    """In a frame of that width, since a browser's window has a smallest one."""
    measure = """<script>addEventListener("load", () => {
      document.querySelectorAll("details").forEach(fold => fold.open = true);
      const broken = [...document.images].filter(image => image.complete && !image.naturalWidth).length;
      parent.postMessage([innerWidth, document.documentElement.scrollWidth, broken].join(" "), "*");
    })</script></body>"""
    (whole.folder / "copy.html").write_text(whole.page().replace("</body>", measure))
    frame = whole.folder / "frame.html"
    frame.write_text('<!doctype html><body><script>addEventListener("message", event => document.body.dataset.sizes = '
                     f'event.data)</script><iframe src="copy.html" width="{width}" height="900"></iframe></body>')
    command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1400,1000", "--dump-dom",
               frame.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    window, content, broken = map(int, re.search(r'data-sizes="([^"]*)"', dom)[1].split())
    assert window == width
    assert content <= window
    assert broken == 0


# --- notebooks as pages -------------------------------------------------------------------------------------------


def test_a_page_is_written_again_once_its_notebook_or_the_writer_is_newer(tmp_path):
    notebook, page, writer = tmp_path / "a.ipynb", tmp_path / "a.html", Path(notebook_pages.__file__)
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    edited = writer.stat().st_mtime

    def written(of_notebook, of_page):
        page.write_text("as it was")
        for file, time in ((notebook, of_notebook), (page, of_page)):
            os.utime(file, (edited + time, edited + time))
        notebook_pages.write_page(notebook, page)
        return page.read_text() != "as it was"

    assert not written(of_notebook=-20, of_page=10)
    assert written(of_notebook=20, of_page=10)
    assert written(of_notebook=-20, of_page=-10), "the writer was edited since"


def test_formulas_become_mathml_and_code_stays():
    converted = notebook_pages.with_mathml(
        "Loss $L = \\frac{1}{N}$ and\n\n$$s \\in \\mathbb{R}^{N}$$\n\n"
        "but `$HOME` and\n```sh\necho $A $B\n```")
    assert converted.count("<math") == 2
    assert 'display="block"' in converted
    assert "<mfrac>" in converted
    assert "`$HOME`" in converted
    assert "echo $A $B" in converted


def test_prices_are_no_formulas():
    """A lone dollar sign opens nothing; a formula never runs over a line."""
    assert notebook_pages.with_mathml("costs 5 $ here\nand 6 $ there") == "costs 5 $ here\nand 6 $ there"


def test_what_a_failure_or_an_accident_left_is_left_out(whole, capsys):
    """An empty notebook of a full disk, half a record, a figure that is none."""
    (whole.folder / "failed/03_sscnn.ipynb").write_text("")
    record = whole.folder / "runs/02_bcnn.json"
    record.write_bytes(record.read_bytes()[:40])
    next((whole.folder / "figures").glob("02_bcnn_*.png")).write_bytes(b"no picture")
    figure = whole.folder / "figures/fig5_macc_by_root.png"
    whole._record("07_classification_analysis", status="done", files={
        "figures/fig5_macc_by_root.png": file_hash(figure)})
    figure.write_bytes(b"no picture")
    page = whole.page()
    assert "fig5_macc_by_root" not in page
    assert "html/03_sscnn.html" not in page
    said = "what 07_classification_analysis wrote, for figures/fig5_macc_by_root.png is not as it was written"
    assert said in capsys.readouterr().out
