"""`make readme`: only marked blocks change, and they say what the accepted results say, by hand."""

import json
import re
from pathlib import Path

import pytest

from shoplens.report import readme

STUDY = """
profiles: {smoke: tests, laptop: a CPU, paper: a GPU}
datasets:
  toy: {title: Toy, capabilities: [search]}
  plain: {title: Plain}
runs:
  01_a: {notebook: 01_a, outputs: [tables/a.csv]}
"""
BEFORE = "# A title\n\n  ragged  \t\nno number 12 here\n\n"
AFTER = "\n| a | table |\n|---|---|\n<!-- a remark -->\nno end"
SCORES = """dataset,profile,subset,variant,metric,k,seed,value,n
toy,laptop,full,bCNN,ACC,1,0,0.5,200
toy,laptop,full,bCNN,ACC,1,1,0.6,200
toy,laptop,full,bCNN,ACC,5,0,0.99,200
toy,laptop,full,ssCNN,ACC,1,0,0.625,200
toy,laptop,full,ssCNN,ACC,1,1,0.625,200
toy,laptop,full,bMTL-CA,ACC,1,0,0.4,200
toy,laptop,full,bMTL-CA,ACC,1,1,0.42,200
toy,laptop,full,ours,ACC,1,0,0.7,200
toy,laptop,full,ours,ACC,1,1,0.74,200
toy,laptop,full,bCNN,MACC,1,0,0.25,200
toy,laptop,full,bCNN,MACC,1,1,0.25,200
toy,laptop,full,ours,MACC,1,0,0.3,200
toy,laptop,full,ours,MACC,1,1,0.3,200
"""
GAINS = """subset,variant,metric,verdict
full,ssCNN,ACC,inside the noise
full,bMTL-CA,ACC,worse
full,ours,ACC,better
full,ours,MACC,inside the noise
"""
SELECTED = """protocol,feature,split,selection,seed,value,n
items,G,test,pre-trained,0,0.25,40
items,G,val,pre-trained,0,0.99,40
items,G,test,20th+Pos10,0,0.5,40
items,G,test,20th+Pos10,1,0.54,40
items,L,test,closest,0,0.375,40
items,L-norm,test,20th+Pos10,0,0.98,40
items,G,test,"20th+Pos10, plain",0,0.97,40
"""
CLAIMS = """claim,where,verdict
a,the paper's table,true
b,the paper's table,not true of its table
c,the paper's table,true
a,"toy, items",reproduced
a,"toy, iconic",reproduced
b,toy,inside the noise
c,toy,not testable here
"""


def mark(name: str, content: str = "") -> str:
    return f"<!-- {name}: made by make readme -->\n{content}<!-- end -->\n"


@pytest.fixture
def toy(scratch_root):
    """A root with a study of two data sets, the papers' tables and no accepted results."""
    (scratch_root / "study.yml").write_text(STUDY)
    (scratch_root / "results").mkdir()
    (scratch_root / "results" / "paper").symlink_to(Path(__file__).parents[2] / "results" / "paper")
    return scratch_root


def accept(root, name: str, text: str, dataset: str = "toy", profile: str = "laptop") -> None:
    file = root / "results" / "reference" / dataset / profile / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def accept_run(root, run: str, seed: int, minutes: float, gib: float, profile: str = "laptop", **hardware) -> None:
    record = {"notebook": f"notebooks/{run.split('-')[0]}.ipynb", "seed": seed, "wall_s": 60 * minutes,
              "peak_memory_mib": 1024 * gib,
              "hardware": {"cpu": "Acme(R) One(TM)", "cores": 4, "memory_gib": 31.4, "device": "cpu"} | hardware}
    accept(root, f"runs/{run}.json", json.dumps(record), profile=profile)


def block(root, name: str) -> str:
    """What `make readme` writes between the two marks of a block."""
    (root / "README.md").write_text(mark(name))
    assert readme.main([]) == 0
    return re.fullmatch(r"<!-- [^\n]* -->\n\n(.*)\n\n<!-- end -->\n", (root / "README.md").read_text(), re.S)[1]


def lines(text: str) -> list[list[str]]:
    """Rows of all Markdown tables in a text, without the heads' rulers."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in rows if set(row) != {"---"}]


# --- only blocks change -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", ["", "\nold words\n\n", "| x |\n| --- |\n"])
def test_a_block_is_replaced_and_the_rest_stays_byte_for_byte(toy, old):
    path = toy / "README.md"
    path.write_bytes((BEFORE + mark("cost", old) + "between\r\n" + mark("verdicts") + AFTER).encode())
    assert readme.main([]) == 0
    before, first, between, second, after = re.split(r"(<!-- \w+: made.*?<!-- end -->\n)", path.read_bytes().decode(),
                                                     flags=re.S)
    assert (before, between, after) == (BEFORE, "between\r\n", AFTER)
    assert "old" not in first
    assert (first, second) == (mark("cost", "\nNot run yet: there are no accepted runs.\n\n"),
                               mark("verdicts", "\nNot run yet: no data set has accepted verdicts.\n\n"))


def test_second_call_has_nothing_to_do(toy, capsys):
    (toy / "README.md").write_text(BEFORE + mark("cost") + AFTER)
    assert [readme.main(["--check"]), readme.main([]), readme.main(["--check"]), readme.main([])] == [1, 0, 0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "README.md: rewritten; look at `git diff`", "README.md: up to date", "README.md: up to date"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mark("cost") + mark("table9-toy"), "line 3: there is no block table9-toy; choose one of: cost, verdicts, "),
        (mark("table4-plain"), "there is no block table4-plain"),     # plain has no product search
        (mark("cost") + "\n<!-- verdicts: made by make readme -->\nwords\n", "line 4: block verdicts has no `<!-- end"),
        ("<!-- cost: made by make readme -->\n" + mark("verdicts"), "line 1: block cost has no `<!-- end -->`"),
        (mark("cost") + "words\n<!-- end -->\n", "line 4: `<!-- end -->` ends no block"),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_wrong_mark_is_an_error_and_the_file_stays_as_it_was(toy, capsys, text, message, arguments):
    (toy / "README.md").write_text(text)
    assert readme.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert (toy / "README.md").read_text() == text
    assert [path.name for path in toy.glob("*README*")] == ["README.md"]


# --- what blocks say ----------------------------------------------------------------------------------------------


def test_table_1_by_hand(toy):
    accept(toy, "tables/table1_classification.csv", SCORES)
    accept(toy, "tables/table1_gains.csv", GAINS)
    shown = block(toy, "table1-toy")
    head, *rows = lines(shown)
    assert head == ["score", "images", "bCNN", "ssCNN", "bCNN-MCR", "ssCNN-MCR", "bMTL-RL", "bMTL-CA", "ssMTL-RL",
                    "ssMTL-CA", "ours"]
    # Deviations of two numbers: their distance over √2. 10 points: 7.1; 2: 1.4; 4: 2.8.
    assert rows[0] == ["ACC top-1, full", "`toy`", "55.0 ± 7.1", "62.5 ± 0.0", "–", "–", "–", "*41.0 ± 1.4*", "–", "–",
                       "**72.0 ± 2.8**"]
    assert rows[1] == ["ACC top-1, full", "P1: ALISC", "78.8", "79.4", "79.0", "79.1", "79.3", "79.2", "79.4", "79.2",
                       "–"]
    assert rows[2][2:4] == ["25.0 ± 0.0", "–"]
    assert rows[2][-1] == "30.0 ± 0.0"
    assert len(rows) == 4
    assert shown.count("**") == 2
    assert "Percent of 200 full test images of `toy`, mean ± standard deviation over 2 seeds." in shown


def test_one_seed_has_no_deviation_and_few_seeds_are_named(toy):
    accept(toy, "tables/table1_gains.csv", GAINS)
    of_seed_0 = [line for line in SCORES.splitlines() if ",1,1," not in line]
    accept(toy, "tables/table1_classification.csv", "\n".join(of_seed_0))
    shown = block(toy, "table1-toy")
    assert lines(shown)[1][2] == "50.0"
    assert "one seed" in shown
    accept(toy, "tables/table1_classification.csv", SCORES.replace("toy,laptop,full,ssCNN,ACC,1,1,0.625,200\n", ""))
    assert "over 1 to 2 seeds" in " ".join(block(toy, "table1-toy").split())


def test_table_4_by_hand(toy):
    accept(toy, "tables/table4_candidate_selection.csv", SELECTED)
    shown = block(toy, "table4-toy")
    assert lines(shown) == [
        ["images", "feature", "pre-trained", "closest", "20th", "20th+Pos10"],
        ["`toy`, items: test", "global", "0.250", "–", "–", "0.520 ± 0.028"],
        ["`toy`, items: test", "local", "–", "0.375", "–", "–"],
        ["P2: AlibabaM, validation", "global", "0.372", "0.545", "0.603", "0.631"],
        ["P2: AlibabaM, validation", "local", "0.371", "0.561", "0.618", "0.623"],
    ]
    assert "queries of `toy`: 40 (items); mean ± standard deviation over 1 to 2 seeds." in " ".join(shown.split())


def test_verdicts_by_hand(toy):
    accept(toy, "tables/claims.csv", CLAIMS)
    assert lines(block(toy, "verdicts")) == [
        ["statements checked on", "reproduced", "direction only", "inside the noise", "cannot be seen here",
         "not reproduced",
         "not testable here"],
        ["`toy`", "2", "0", "1", "0", "0", "1"],
        ["statements checked on", "true", "true, inside the noise", "true, noise not known", "not true of its table",
         "no numbers"],
        ["the papers' own tables", "2", "0", "0", "1", "0"],
    ]


def test_a_verdict_without_a_column_is_not_lost(toy, capsys):
    accept(toy, "tables/claims.csv", CLAIMS + "d,toy,who knows\n")
    (toy / "README.md").write_text(mark("verdicts"))
    assert readme.main([]) == 2
    assert "who knows" in capsys.readouterr().err


def test_cost_by_hand(toy):
    accept_run(toy, "01_a", 0, minutes=1.25, gib=1)
    accept_run(toy, "02_b", 0, minutes=10, gib=2.5)
    accept_run(toy, "02_b_core", 0, minutes=4, gib=2)
    accept_run(toy, "02_b-s1", 1, minutes=9, gib=1.5)
    accept_run(toy, "02_b", 0, minutes=2, gib=8, profile="paper", gpu="Acme G", gpus=2)
    machine = "4 cores of Acme One, 31 GiB"
    assert lines(block(toy, "cost")) == [
        ["data set", "size", "seed", "notebooks", "runs", "minutes", "peak memory (GiB)", "machine"],
        ["`toy`", "laptop", "0", "01 02", "3", "15", "2.5", machine],
        ["`toy`", "laptop", "1", "02", "1", "9", "1.5", machine],
        ["`toy`", "paper", "0", "02", "1", "2", "8.0", f"{machine}, 2 × Acme G"],
    ]


@pytest.mark.parametrize("name", ["cost", "verdicts", "table1-toy", "table1-plain", "table4-toy"])
def test_without_a_reference_a_block_says_so_in_a_sentence(toy, name):
    accept(toy, "tables/table1_classification.csv", SCORES)       # gains of another state: what is bold is not known
    accept(toy, "tables/02_bcnn.csv", "value\n0.5\n")
    assert re.fullmatch(r"Not run yet: [^.|\n]*\.", block(toy, name))


# --- --check ------------------------------------------------------------------------------------------------------


def test_check_names_the_block_and_the_line_of_a_changed_digit(toy, capsys):
    accept_run(toy, "01_a", 0, minutes=3, gib=1)
    accept(toy, "tables/table4_candidate_selection.csv", SELECTED)
    path = toy / "README.md"
    path.write_text(BEFORE + mark("cost") + mark("table4-toy") + AFTER)
    assert readme.main([]) == 0
    assert readme.main(["--check"]) == 0
    right = path.read_text()
    path.write_text(right.replace("0.375", "0.376"))
    assert readme.main(["--check"]) == 1
    line = next(i for i, text in enumerate(right.splitlines(), start=1) if "0.375" in text)
    printed = capsys.readouterr().err
    assert f"README.md, block table4-toy, line {line}: " in printed
    assert printed.index("0.376") < printed.index("should be") < printed.index("0.375")
    assert "0.376" in path.read_text(), "a check writes nothing"
    path.write_text(right.replace("no number 12", "no number 13"))
    assert readme.main(["--check"]) == 0, "prose is nobody's business"


def test_this_repositorys_readme_holds_the_accepted_numbers(capsys):
    assert readme.main(["--check"]) == 0, capsys.readouterr().err
