"""study.yml as it is written: mistakes are named, matrices are multiplied out."""


import pytest
from throwaway import plan

from shoplens.errors import StudyError
from shoplens.study.plan import load_study


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"output": []}, "run a: unknown key output"),
        ({"inputs": ["zero"]}, "inputs names zero"),
        ({"inputs": ["zero_*"]}, "inputs names zero_*"),
        ({"datasets": ["toys"]}, "datasets names toys"),
        ({"needs": ["masks"]}, "needs names masks"),
        ({"parameters": {"paper": {}}}, "parameters names paper"),
        ({"outputs": ["x.csv"]}, "output x.csv must lie under"),
        ({"inputs": ["a"]}, "need each other in a circle: a > a"),
        ({"inputs": "zero"}, "inputs must be array"),
        ({"title": ["A"]}, "title must be string"),
        ({"outputs": []}, "outputs is missing"),
        ({"{colour}": 1}, "run a: unknown key {colour}; known: ablation"),
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
        ({"capabilites": ["search"]}, "unknown key capabilites; known: capabilities, raw, seeds"),
        ("a shop", "expected keys such as title:"),
    ],
)
def test_mistakes_in_a_dataset_are_named(toy, keys, said):
    toy.study["datasets"]["shop"] = keys
    toy.run("a", needs=["attributes"])
    with pytest.raises(StudyError, match="study.yml, dataset shop: ") as error:
        load_study()
    assert said in str(error.value)


AXES = {
    "part": {"whole": {"name": "", "title": ""}, "half": {"name": "_half", "title": ", half", "needs": ["attributes"],
                                                          "parameters": {"all": {"EPOCHS": 2}}}},
    "rate": {"slow": {"parameters": {"all": {"RATE": 0.5}}},
             "fast": {"parameters": {"all": {"RATE": 2}, "toy/smoke": {"RATE": 3}}, "seeds": "first"}},
}  # fmt: skip


def test_matrix_is_a_run_per_combination(toy):
    """Entry, variant and values add up; the last axis changes fastest; patterns stand for the runs that fit."""
    toy.run("a")
    toy.study["axes"] = AXES
    varied = {"matrix": {"part": ["whole", "half"], "rate": ["slow", "fast"]}, "inputs": ["a"]}
    again = {"matrix": {"rate": "slow"}, "title": "Again, {rate}"}
    toy.run("b", title="{rate}{part}", seeds=True, parameters={"all": {"EPOCHS": 1}},
            variants={"b_{rate}{part}": varied, "b_again": again})
    toy.run("c", inputs=["b_*_half", "b_slow"])
    runs = plan(seeds=(0, 1))
    assert list(runs) == ["a", "b_slow", "b_slow-s1", "b_fast", "b_slow_half", "b_slow_half-s1", "b_fast_half",
                          "b_again", "b_again-s1", "c"]
    assert {run.title for run in runs.values()} == {"", "slow", "fast", "slow, half", "fast, half", "Again, slow"}
    assert {name: (run.parameters()["EPOCHS"], run.parameters()["RATE"]) for name, run in runs.items()} == {
        "a": (3, 0.1), "b_slow": (1, 0.5), "b_slow-s1": (1, 0.5), "b_fast": (1, 3.0),
        "b_slow_half": (2, 0.5), "b_slow_half-s1": (2, 0.5), "b_fast_half": (2, 3.0),
        "b_again": (1, 0.5), "b_again-s1": (1, 0.5), "c": (3, 0.1),
    }  # fmt: skip
    assert list(runs["c"].inputs) == ["b_slow_half", "b_fast_half", "b_slow"]
    assert runs["b_slow_half-s1"].upstream == ["a"]
    assert runs["b_slow_half-s1"].outputs == ("tables/b_slow_half-s1.csv", "artefacts/model.txt")
    assert {run.notebook.stem for run in runs.values()} == {"a", "b", "c"}
    assert "b_slow_half" not in plan(dataset="plain"), "plain has no attributes"


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ({"b_{part}": {"matrix": {"colour": ["red"]}}}, "run b_{part}: matrix names colour, which is none of: part, r"),
        ({"b_{rate}": {"matrix": {"rate": ["slow", "flat"]}}}, "run b_{rate}: rate names flat, which is none of: slow"),
        ({"b_{colour}": {"matrix": {"rate": "slow"}}}, "run b_{colour}: {colour} in `b_{colour}` is no axis of its"),
        ({"b": {"inputs": ["a{part}"]}}, "run b: {part} in `a{part}` is no axis of its matrix"),
        ({"b": {"title": "{rate}"}}, "run b: {rate} in `{rate}` is no axis"),
        ({"b{part}": {"matrix": {"part": "half", "rate": ["slow", "fast"]}}}, "run b_half: is there twice"),
        ({"b_{part}": {"seed": True}}, "run b_{part}: unknown key seed; known: ablation"),
        ({"b/c": {}}, "run b/c: a run's name may hold letters"),
    ],
)
def test_mistakes_in_a_matrix_are_named(toy, variants, said):
    toy.study["axes"] = AXES
    toy.run("b", variants=variants)
    with pytest.raises(StudyError) as error:
        load_study()
    assert said in str(error.value)


def test_mistakes_in_an_axis_are_named(toy):
    toy.study["axes"] = AXES | {"size": {"small": {"parameter": {}}}}
    toy.run("a")
    with pytest.raises(StudyError, match="study.yml, axis size, small: unknown key parameter; known: datasets, inputs"):
        load_study()
