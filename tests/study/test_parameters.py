"""Parameters: which layer wins, what is refused, and that each is read."""


import pytest
from throwaway import PARAMETERS, cell, plan

from shoplens.errors import StudyError
from shoplens.study import parameters
from shoplens.study.plan import load_study


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
