"""R exercises rebuild what the library does today: its syntax tree is the one that was accepted, and the reference
solution agrees with it on the hidden checks' own draws."""

import numpy as np
import pandas as pd
import pytest
import torch

from shoplens import paths
from shoplens.classification import attention_maps, logit_adjustment, mcr
from shoplens.coursework import library
from shoplens.coursework.checking import VISIBLE, draw_cases, load_tasks
from shoplens.coursework.course import load_course, numbers_of
from shoplens.data import catalogue
from shoplens.errors import StudyError
from shoplens.models import multitask, netvlad
from shoplens.report import search_page
from shoplens.search import mining, whitening
from shoplens.statistics import accuracy, average_precision, estimates

COURSE = load_course()


def split(item, leaf, seed):
    """The library's counts images: with one image an item they are the same."""
    images = pd.DataFrame({"image_id": [f"{i}" for i in range(len(item))], "item": item, "leaf": leaf})
    return catalogue.split_products(images, layer="leaf", seed=seed, group="item").to_numpy().astype(str)


def related(parent, sizes, W, k):
    layers = [f"layer {j}" for j in range(len(sizes))]
    tree = catalogue.Hierarchy(tuple(layers), {name: tuple(map(str, range(n))) for name, n in zip(layers, sizes,
                                                                                                 strict=True)},
                               {name: tuple(p.tolist()) for name, p in zip(layers[1:], parent, strict=True)})
    return mcr.related(tree, W, k)


def gradient(W, F, labels, sizes, lam, mask):
    return mcr.objective(W, F, labels, sizes, lam, mask)[1]


def attr_loss(s, y):
    s = torch.tensor(s, requires_grad=True)
    loss = multitask.attribute_loss(s, torch.tensor(y))
    loss.backward()
    return float(loss.detach()), s.grad.numpy()


def net(x, c, a):
    init = netvlad.NetVLADInit(torch.tensor(c), a, torch.zeros(c.shape[1], dtype=torch.float64))
    return netvlad.NetVLAD(init).double()(torch.tensor(x.T.copy())[None, :, :, None])[0].detach().numpy()


def select(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin):
    chosen = mining.select(0, rows_p, d_p, rows_n, d_n, positive_rank=r, hard_negatives=hard,
                           ambiguous_positives=ambiguous, margin=margin)
    return chosen.positive, chosen.hard_negatives, chosen.nearest_negative, chosen.ambiguous_positives


def whiten(S, X, d):
    """Up to the sign of each direction: absolute values."""
    return np.abs(whitening.Whitening.fit(S, d).apply(X))


# Exercise → what the library says to the same arguments, the checks whose draws it can take, what is compared.
SAME = {
    "01.1": (split, ("names decide", "inside each leaf"), lambda value: value),
    "02.1": (accuracy.macc, ("gaps", "classes"), lambda value: value),
    "02.2": (accuracy.top_k_correct, ("ties",), lambda value: value),
    "03.2": (attention_maps.share_inside, ("each map",), lambda value: value),
    "04.1": (gradient, ("penalty", "layers", "mask"), lambda value: value),
    "04.2": (related, ("three layers", "strength"), lambda value: value),
    "06.1": (attr_loss, ("all images", "silent", "large scores"), lambda value: value),
    "06b.2": (lambda *a: logit_adjustment.choose_tau(*a)[0], ("which score, which share", "unseen classes"),
              lambda value: value),
    "07.1": (accuracy.mcnemar, ("two-sided", "limits"), lambda value: value),
    "07.2": (lambda p, alpha: estimates.holm(p) <= alpha, ("step by step",), lambda value: value),
    "08.1": (average_precision.average_precision, ("divisor", "nothing relevant"), lambda value: value),
    "08.2": (net, ("shares and lengths",), lambda value: value),
    "09.1": (select, ("order", "short lists", "margin"), lambda value: value),
    "10.2": (whiten, ("other images",), np.abs),
    "12.1": (search_page.stretch, ("each map",), lambda value: value),
}


def same(one, other) -> bool:
    if isinstance(one, tuple):
        return all(same(a, b) for a, b in zip(one, other, strict=True))
    if np.asarray(one).dtype.kind in "US":
        return np.array_equal(one, other)
    return bool(np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True))


@pytest.mark.parametrize("name", SAME)
def test_reference_solutions_agree_with_the_library(made, name):
    sheet = COURSE[name.split(".")[0]]
    exercise = next(one for one in sheet.exercises if one.name == name)
    space = {}
    for cell in made("solution", sheet.name)["cells"]:
        if cell["cell_type"] == "code" and "plt.show" not in cell["source"]:
            exec(cell["source"], space)
    theirs, checks, view = SAME[name]
    task = load_tasks(sheet.name)[name]
    assert set(checks) <= {check.name for check in task.checks} - {VISIBLE}
    cases = [case for case in draw_cases(name, task, "secret", numbers_of(sheet, "bazaar"))
             if task.checks[case.check].name in checks]
    for case in cases:
        assert same(view(space[exercise.function](*case.arguments)), theirs(*case.arguments))


def test_exercises_were_written_for_the_library_as_it_is():
    assert library.changed() == []


def test_another_function_is_noticed_until_it_is_accepted(tmp_path, monkeypatch):
    file = tmp_path / "course.yml"
    file.write_text((paths.root() / "coursework" / "course.yml").read_text(encoding="utf-8"), encoding="utf-8")
    exercise = next(one for one in COURSE["08"].exercises if one.name == "08.1")
    monkeypatch.setattr(library, "hash_of", lambda one: "0123456789abcdef" if one.name == "08.1" else one.code)
    assert [line.split(":")[0] for line in library.changed()] == [
        "08.1 was written for another average_precision (shoplens.statistics.average_precision.average_precision)"]
    assert library.accept(file) == ["08.1"]
    accepted = load_course(file)["08"].exercises[0]
    assert accepted.code == "0123456789abcdef" != exercise.code
    assert library.accept(file) == ["08.1"] or load_course(file)["08"].exercises[1:] == COURSE["08"].exercises[1:]


def test_a_function_that_is_gone_is_named():
    from dataclasses import replace
    exercise = replace(COURSE["08"].exercises[0], library="shoplens.statistics.average_precision.no_such")
    with pytest.raises(StudyError, match="08.1 rebuilds .*no_such, which the library does not have any more"):
        library.hash_of(exercise)
