"""`make verify`: which of two sets of tables agree bitwise, numerically, statistically, and which fail, and why."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from throwaway import REPOSITORY, Throwaway

from shoplens.errors import StudyError
from shoplens.study.tolerances import load_tolerances, numbers, tolerances_of
from shoplens.study.verify import Kind, compare_tables, read_table, verify

N = 400
SAME = {"dataset": "toy", "profile": "laptop"}
ACCEPTED = sorted((REPOSITORY / "results" / "reference").glob("*/*/tables/*.csv"))


def scores(**changed):
    """A tidy table of four scores over 400 images; `changed` replaces the value of ACC top-1 of bCNN."""
    rows = [SAME | {"variant": variant, "metric": metric, "k": 1, "seed": 0, "value": value, "n": N,
                    "low": value - 0.04, "high": value + 0.04}
            for variant, metric, value in (("bCNN", "ACC", 0.8), ("bCNN", "MACC", 0.7),
                                           ("ssCNN", "ACC", 0.82), ("ssCNN", "MACC", 0.71))]
    rows[0] |= changed
    return pd.DataFrame(rows)


@pytest.fixture
def compared(tmp_path):
    """compared(reference, yours, name="02_bcnn") → Agreement of two tables, judged by the study's own rules."""
    def compare(reference, yours, name="02_bcnn", **keys):
        for folder, table in (("reference", reference), ("yours", yours)):
            (tmp_path / folder).mkdir(exist_ok=True)
            table.to_csv(tmp_path / folder / f"{name}.csv", index=False)
        rules = tolerances_of(load_tolerances(REPOSITORY / "tolerances.yml"), name)
        return compare_tables(name, tmp_path / "reference" / f"{name}.csv", tmp_path / "yours" / f"{name}.csv", rules,
                              **keys)
    return compare


def test_kinds_of_agreement(compared):
    assert compared(scores(), scores()).kind is Kind.BITWISE
    assert compared(scores(), scores(value=0.8 + 1e-9)).kind is Kind.NUMERICAL
    assert compared(scores(), scores()[::-1]).kind is Kind.NUMERICAL          # the order of rows means nothing
    found = compared(scores(), scores(value=0.804))
    assert found.kind is Kind.STATISTICAL
    assert found.worst.deviation == pytest.approx(0.004)
    assert found.worst.place == "variant=bCNN; metric=ACC: value"


def test_failure_names_table_row_column_and_both_values(compared):
    found = compared(scores(), scores(value=0.6))
    assert found.kind is Kind.FAILS
    (failure,) = found.failures
    for part in ("tables/02_bcnn.csv", "variant=bCNN; metric=ACC", "column value", "reference 0.8", "yours 0.6",
                 "differ by 0.2", "tolerance 0.0"):  # fmt: skip
        assert part in failure


def test_tolerance_of_a_mean_by_hand(compared):
    """n = 400, p = 0.75 drawn to 302 of 404, four deviations; MACC as if over 0.16 of the images."""
    allowed = compared(scores(), scores(value=0.7)).worst.allowed
    assert allowed == pytest.approx(4 * np.sqrt(302 / 404 * 102 / 404 / 400))
    moved = scores()
    moved.loc[1, "value"] = 0.8
    p = (0.75 * 64 + 2) / 68
    assert compared(scores(), moved).worst.allowed == pytest.approx(4 * np.sqrt(p * (1 - p) / 64))


def test_statistical_rule_holds_for_chance_and_not_for_a_difference(compared):
    """Two networks of the same accuracy are hardly ever found apart, two that are 15 points apart nearly always."""
    rules = tolerances_of(load_tolerances(REPOSITORY / "tolerances.yml"), "02_bcnn")
    rng = np.random.default_rng(0)

    def outside(p, q):
        a, b = (pd.DataFrame({"value": rng.binomial(N, x, 2000) / N, "n": N}).astype(str) for x in (p, q))
        deviation = (a["value"].astype(float) - b["value"].astype(float)).abs()
        return (deviation > rules.far("value", a, b)).mean()

    for p in (0.5, 0.9, 0.99):
        assert outside(p, p) < 0.01
    assert outside(0.6, 0.75) > 0.8


@pytest.mark.parametrize(("yours", "reason"), [
    (scores(variant="bcnn"), "your row variant=bcnn"),
    (scores(variant="bcnn"), "row variant=bCNN; metric=ACC of the reference is missing"),
    (scores()[:3], "row variant=ssCNN; metric=MACC of the reference is missing"),
    (pd.concat([scores(), scores()[:1]]), "2 of your rows have the same keys (toy laptop bCNN ACC 1 0)"),
    (scores().assign(layer="leaf"), "column layer is new"),
    (scores().drop(columns="high"), "column high is missing from yours"),
    (scores(value=np.nan), "reference 0.8, yours (empty); one of them is no finite number"),
    (scores(value="inf"), "yours inf; one of them is no finite number"),
    (scores(n=401), "column n: reference 400, yours 401; they differ by 1, and what no network decides must be equal"),
])  # fmt: skip
def test_what_fails(compared, yours, reason):
    found = compared(scores(), yours)
    assert found.kind is Kind.FAILS
    assert any(reason in failure for failure in found.failures), found.failures


def test_both_empty_agree(compared):
    """A variant without errors has no mean distance of an error."""
    mistakes = pd.DataFrame([SAME | {"variant": v, "errors": e, "inside_root": s, "distance": d}
                             for v, e, s, d in (("bCNN", 0, np.nan, np.nan), ("ssCNN", 90, 0.9, 1.1))])
    assert compared(mistakes, mistakes.assign(errors=[0, 100], distance=[np.nan, 1.15]),
                    "mistakes").kind is Kind.STATISTICAL
    assert compared(mistakes, mistakes.assign(errors=[0, 200]), "mistakes").kind is Kind.FAILS
    assert compared(mistakes, mistakes.assign(distance=[1.0, 1.1]), "mistakes").kind is Kind.FAILS


def test_times_are_not_compared(compared):
    table = scores().assign(milliseconds=0.01, seconds=3.0)
    assert compared(table, table.assign(milliseconds=77.0, seconds=np.nan), "table6_whitening").kind is Kind.NUMERICAL


def gains(value, verdict="better", relative=0.1, half=0.02, seeds=1):
    return pd.DataFrame([SAME | {"variant": "ssCNN", "against": "bCNN", "metric": "ACC", "value": value,
                                 "relative": relative, "low": value - half, "high": value + half, "seeds": seeds,
                                 "spread": 0.0, "p_values": "0.03", "verdict": verdict}])


def test_gains_are_judged_by_their_interval_and_verdicts_are_noted(compared):
    found = compared(gains(0.03), gains(0.01, "inside the noise", relative=0.03), "table1_gains")
    assert found.kind is Kind.STATISTICAL
    (note,) = found.notes
    assert "table1_gains" in note
    assert note.endswith("verdict: reference better, yours inside the noise")
    assert found.worst.allowed == pytest.approx(4 * 0.02 / 1.96)
    assert compared(gains(0.03), gains(-0.03), "table1_gains").kind is Kind.FAILS
    assert compared(gains(0.03), gains(0.03, half=0.5), "table1_gains").kind is Kind.FAILS
    assert compared(gains(0, half=0), gains(0.015, half=0), "table1_gains").kind is Kind.STATISTICAL
    assert compared(gains(0, half=0), gains(0.025, half=0), "table1_gains").kind is Kind.FAILS


def test_what_validation_chose_is_noted(compared):
    columns = SAME | {"metric": "MAP@20", "against": "L+G", "low": -0.1, "high": 0.1, "verdict": "inside the noise"}
    best = pd.DataFrame([columns | {"variant": "ours: gem, expanded by 10", "value": 0.0, "score": 0.4,
                                 "on_validation": 0.5}])
    found = compared(best, best.assign(variant="ours: L, expanded by 5", score=0.42), "search_ours")
    assert found.kind is Kind.STATISTICAL
    assert "yours ours: L, expanded by 5" in found.notes[0]


def test_counts_of_a_catalogue_are_exact(compared):
    table = pd.DataFrame([SAME | {"variant": "catalogue", "metric": f"images {s}", "k": np.nan, "seed": 0, "value": v,
                                  "n": 100} for s, v in (("train", 70), ("test", 30))])
    assert compared(table, table.assign(value=[69, 31]), "catalogue").kind is Kind.FAILS
    assert compared(table, table, "catalogue", seeds=(1, 2)).kind is Kind.BITWISE


def test_only_rows_of_the_seeds_asked_for(compared):
    three = pd.concat([scores().assign(seed=seed) for seed in range(3)])
    assert compared(three, scores(value=0.801), "table1_classification").kind is Kind.STATISTICAL
    assert compared(three, scores(value=0.801), "table1_classification", seeds=(0, 1)).kind is Kind.FAILS


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: "-".join(path.parts[-4:]))
def test_every_accepted_table_is_declared(path, compared):
    """Keys tell its rows apart, every column has a role, and each of its scores a rule that can be applied."""
    table = read_table(path)
    rules = tolerances_of(load_tolerances(REPOSITORY / "tolerances.yml"), path.stem)
    assert compared(table, table[::-1], path.stem).kind is (Kind.NUMERICAL if len(table) > 1 else Kind.BITWISE)
    images = numbers(table["n"]) if "n" in table else np.full(len(table), np.inf)
    if "metric" in table:
        images = images * table["metric"].map(lambda name: rules.counts_as.get(name, 1.0)).to_numpy(float)
    for column in table:
        if rules.roles[column] == "scores":
            allowed = rules.far(column, table, table)
            assert (allowed > 0).all()
            assert (allowed[images >= 16] < 1).all() or column == "errors"      # of a handful of images chance says all


WIDE = {
    "mistakes": "variant,seed,errors,inside_root,distance\nbCNN,0,113,0.09734513274336283,1.9026548672566372\n",
    "fig5_macc_by_root": "root,variant,value,n,subset,metric,k\nbag,bCNN,0.25,31,core,MACC,1\n",
    "04_bcnn_mcr_alternatives": "variant,alternative,fit_split,lambda,metric,split,value,before\n"
                                "bCNN-MCR,as run,train,1.0,MACC,val,0.5,0.6\n",
    "06_bmtl_ca_attributes": "attribute,n,value,low,high,most common state,metric,k,seed\n"
                             "colour,120,0.5,0.4,0.6,0.16,ACC-branA,1,0\n",
    "03_sscnn_looking": "measure,way,value,n,seed\nshare inside,centre of the picture,0.4,124,0\n",
    "table2_attributes": "variant,attribute,metric,k,seed,value,n\nssMTL-CA,shape,MACC-branC,1,0,0.3,47\n",
}  # fmt: skip


@pytest.mark.parametrize("name", WIDE)
def test_tables_of_every_shape(name, tmp_path, compared):
    """Moving every score a little agrees statistically; moving all far out does not, and every column is named."""
    (tmp_path / "wide.csv").write_text(WIDE[name])
    table = pd.read_csv(tmp_path / "wide.csv")
    rules = tolerances_of(load_tolerances(REPOSITORY / "tolerances.yml"), name)
    moving = [column for column in table if rules.roles[column] == "scores"]
    assert compared(table, table.assign(**table[moving] * 1.01), name).kind is Kind.STATISTICAL
    found = compared(table, table.assign(**table[moving] * 9 + 1), name)
    failures = "\n".join(found.failures)
    assert {column for column in moving if f"column {column}:" in failures} == set(moving)


def test_undeclared_column_and_ambiguous_keys_say_what_to_do(compared):
    table = scores().assign(brightness=0.3)
    with pytest.raises(StudyError, match="what column `brightness` of tables/02_bcnn.csv is; add it to keys"):
        compared(table, table[::-1])
    twice = pd.concat([scores(), scores()])
    with pytest.raises(StudyError, match="do not tell the rows of tables/02_bcnn.csv apart"):
        compared(twice, scores())
    with pytest.raises(StudyError, match="rule of column `value` needs column 'n'"):
        compared(scores().drop(columns="n"), scores(value=0.81).drop(columns="n"))


@pytest.mark.parametrize(("change", "message"), [
    (lambda raw: raw["given"].append("value"), "column `value` is listed twice"),
    (lambda raw: raw["scores"].update(value={"rule": "median"}), "scores, value, rule: 'median' must be one of"),
    (lambda raw: raw["scores"].update(value={"rule": "mean"}), r"scores, value: must contain \['of'\] properties"),
    (lambda raw: raw.pop("keys"), "tolerances.yml: must contain \\['keys'\\] properties"),
    (lambda raw: raw.update(keys="n"), "keys: 'n' must be array; write a list of columns"),
    (lambda raw: raw.update(ignored=[]), "not contain {'ignored'} properties; see the comments in the file"),
    (lambda raw: raw["numerical"].update(relative="1e-5"), "1e-5 is text to YAML, not a number; write 1.0e-5"),
    (lambda raw: raw["tables"].update(fig5={"score": {}}), "tables, fig5: .* {'score'} properties; keep to keys"),
])  # fmt: skip
def test_mistakes_in_tolerances(tmp_path, change, message):
    raw = yaml.safe_load((REPOSITORY / "tolerances.yml").read_text())
    change(raw)
    (tmp_path / "tolerances.yml").write_text(yaml.safe_dump(raw))
    with pytest.raises(StudyError, match=message) as raised:
        tolerances_of(load_tolerances(tmp_path / "tolerances.yml"), "02_bcnn")
    assert "\n" not in str(raised.value)


def test_a_rule_given_twice_names_its_line(tmp_path):
    (tmp_path / "tolerances.yml").write_text("keys: [a]\nscores:\n  low: {rule: count}\n  low: {rule: count}\n")
    with pytest.raises(StudyError, match="tolerances.yml, line 4: `low` is given twice"):
        load_tolerances(tmp_path / "tolerances.yml")


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A root with runs a (repeated for seeds) and b, a reference of both, and equal results."""
    study = Throwaway(tmp_path, in_process=True)
    for name, seeds in (("a", True), ("b", False)):
        study.run(name, seeds=seeds)
    shutil.copy(REPOSITORY / "tolerances.yml", tmp_path)
    for folder in ("results/toy/laptop", "results/reference/toy/laptop"):
        tables = tmp_path / folder / "tables"
        tables.mkdir(parents=True)
        for name in ("a", "b"):
            scores().to_csv(tables / f"{name}.csv", index=False)
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    return study


def put(study, name, table, where="results/toy/laptop"):
    table.to_csv(study.root / where / "tables" / f"{name}.csv", index=False)


def test_report(study, capsys):
    assert verify("toy", "laptop", "0") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "toy/laptop: bitwise agreement (2 bitwise)"
    put(study, "a", scores(value=0.804))
    put(study, "extra", scores())
    assert verify("toy", "laptop", "0") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[2].split()[:4] == ["a", "statistical", "0.004", "0.08"]
    assert printed[-2:] == ["no reference for: extra", "toy/laptop: statistical agreement (1 bitwise, 1 statistical)"]
    (study.root / "results/toy/laptop/tables/b.csv").unlink()
    assert verify("toy", "laptop", "0") == 1
    printed = capsys.readouterr().out.splitlines()
    assert "FAILS: tables/b.csv: the reference has it and you have not; make reproduce" in "\n".join(printed)
    assert printed[-1] == "toy/laptop: FAILS (1 statistical, 1 fails)"
    assert verify("toy", "laptop", "0", "a") == 0


def test_unreadable_and_many_failures(study, capsys):
    (study.root / "results/toy/laptop/tables/a.csv").write_text("")
    put(study, "b", scores().assign(value=0.1, low=0.0, high=0.2))
    assert verify("toy", "laptop", "0") == 1
    printed = capsys.readouterr().out
    assert "a.csv cannot be read as CSV" in printed
    assert printed.count("FAILS: tables/b.csv: row") == 5
    assert "FAILS: tables/b.csv: and 7 more" in printed


def test_seeds_of_the_reference(study, capsys):
    put(study, "a-s1", scores().assign(seed=1), "results/reference/toy/laptop")
    study.run("table1_gains")
    put(study, "table1_gains", gains(0.03, seeds=2), "results/reference/toy/laptop")
    put(study, "table1_gains", gains(0.02))
    assert verify("toy", "laptop", "0") == 0
    assert 'left out, of other seeds than SEEDS="0": a-s1, table1_gains' in capsys.readouterr().out
    assert verify("toy", "laptop", "0 1") == 1
    printed = capsys.readouterr().out
    assert "FAILS: tables/a-s1.csv: the reference has it" in printed
    assert "column seeds: reference 2, yours 1" in printed


def test_nothing_to_compare(study):
    with pytest.raises(StudyError, match="no reference for plain/laptop; .* one that has one: toy/laptop"):
        verify("plain", "laptop", "0")
    with pytest.raises(StudyError, match="RUN=c is no run of toy/laptop"):
        verify("toy", "laptop", "0", "c")
    with pytest.raises(StudyError, match="has no table of a-s1"):
        verify("toy", "laptop", "0 1", "a-s1")
    shutil.rmtree(study.root / "results" / "toy")
    with pytest.raises(StudyError, match="no tables in results/toy/laptop/tables; make reproduce DATASET=toy"):
        verify("toy", "laptop", "0")


def test_make_verify_returns_the_failure(study):
    laptop = "PROFILE=laptop"
    agreeing = study.make("verify", laptop)
    assert agreeing.returncode == 0, agreeing.stderr
    assert agreeing.stdout.splitlines()[-1] == "toy/laptop: bitwise agreement (2 bitwise)"
    put(study, "a", scores(value=0.5))
    failing = study.make("verify", laptop)
    assert failing.returncode != 0
    assert "Error 1" in failing.stderr
    assert "reference 0.8, yours 0.5" in failing.stdout
    absent = study.make("verify", laptop, "DATASET=plain")
    assert "Error 2" in absent.stderr
    assert "error: there is no reference for plain/laptop" in absent.stderr
