"""Multitask networks and losses (P1 §3.4, Eq. 5–7) against explicit loops and degenerate cases."""

import math

import pytest
import torch
import torch.nn.functional as F

from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier, parameter_groups
from shoplens.models.multitask import AttributeBranch, MultitaskClassifier, attribute_loss, multitask_loss


def surprise(scores, truth):
    return -math.log(math.exp(scores[truth]) / sum(math.exp(s) for s in scores))


def test_loss_equals_a_loop_over_images_and_tasks():
    torch.manual_seed(0)
    outputs = {"root": torch.randn(6, 3), "leaf": torch.randn(6, 5), "colour": torch.randn(6, 4),
               "shape": torch.randn(6, 2)}
    batch = {"root": torch.tensor([0, 1, 2, 0, 1, 2]), "leaf": torch.tensor([0, 1, 2, 3, 4, 0]),
             "colour": torch.tensor([0, 4, 0, 1, 2, 0]), "shape": torch.tensor([1, 0, 0, 2, 0, 0])}
    lam, gamma = {"root": 0.1, "leaf": 1.0}, {"colour": 0.5, "shape": 0.3}
    total = 0.0
    for n in range(6):
        for layer, weight in lam.items():
            total += weight * surprise(outputs[layer][n].tolist(), batch[layer][n].item())
        for attribute, weight in gamma.items():
            state = batch[attribute][n].item()
            if state != 0:
                total += weight * surprise(outputs[attribute][n].tolist(), state - 1)
    loss, parts = multitask_loss(outputs, batch, lam, gamma)
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)
    assert set(parts) == set(lam) | set(gamma)


def test_one_task_is_plain_cross_entropy():
    outputs, batch = {"leaf": torch.randn(7, 4)}, {"leaf": torch.randint(0, 4, (7,))}
    torch.testing.assert_close(multitask_loss(outputs, batch, {"leaf": 1.0})[0],
                               F.cross_entropy(outputs["leaf"], batch["leaf"]))


def test_division_is_by_all_images_not_by_the_labelled():
    logits, one_of_four = torch.randn(4, 3), torch.tensor([0, 2, 0, 0])
    own = F.cross_entropy(logits[1:2], torch.tensor([1]))
    torch.testing.assert_close(attribute_loss(logits, one_of_four), own / 4)


def test_unlabelled_images_have_no_gradient():
    logits = torch.randn(5, 3, requires_grad=True)
    attribute_loss(logits, torch.tensor([0, 1, 0, 3, 0])).backward()
    assert torch.equal(logits.grad.abs().sum(dim=1) > 0, torch.tensor([False, True, False, True, False]))


def test_a_batch_without_any_label_costs_nothing_and_is_no_nan():
    logits = torch.randn(5, 3, requires_grad=True)
    loss = attribute_loss(logits, torch.zeros(5, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_branch_is_two_layers_of_the_papers_sizes():
    """Taobao's five attributes have 104 states in all: Σm_i units, then m_i each (§3.4)."""
    states = {"sleeve": 6, "pants": 5, "shape": 31, "colour": 30, "pattern": 32}
    branch = AttributeBranch(4096, states)
    counted = sum(p.numel() for p in branch.parameters())
    assert counted == 4096 * 104 + 104 + sum(104 * m + m for m in states.values())
    assert {k: v.shape for k, v in branch(torch.zeros(2, 4096)).items()} == {k: (2, m) for k, m in states.items()}


def test_branch_equals_its_two_layers_by_hand():
    torch.manual_seed(0)
    branch, x = AttributeBranch(6, {"a": 2, "b": 3}), torch.randn(4, 6)
    first = branch.shared[0]
    hidden = torch.clamp(x @ first.weight.T + first.bias, min=0)
    for name, layer in branch.own.items():
        torch.testing.assert_close(branch(x)[name], hidden @ layer.weight.T + layer.bias)


def small(**tasks):
    return MultitaskClassifier(load_backbone("small_vgg", False, width=0.25), **tasks)


def test_parallel_and_two_layer_branches_answer_the_same_questions():
    categories, attributes = {"leaf": 7}, {"colour": 4, "shape": 2}
    for branch in ("two_layer", "parallel"):
        model = small(categories=categories, attributes=attributes, branch=branch)
        shapes = {k: tuple(v.shape) for k, v in model(torch.zeros(2, 3, 48, 48)).items()}
        assert shapes == {"leaf": (2, 7), "colour": (2, 4), "shape": (2, 2)}
    assert len(small(categories=categories, attributes=attributes, branch="parallel").private) == 3


def test_one_task_network_is_the_flat_network():
    torch.manual_seed(0)
    flat = FlatClassifier(load_backbone("small_vgg", False, width=0.25), 5)
    torch.manual_seed(0)
    multi = small(categories={"leaf": 5})
    images = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(multi.eval()(images)["leaf"], flat.eval()(images))


def test_a_task_reaches_only_its_own_private_module_and_the_public_part():
    model = small(categories={"root": 3, "leaf": 5})
    model(torch.randn(4, 3, 48, 48))["root"].sum().backward()
    assert all(p.grad is None for p in model.private["leaf"].parameters())
    assert all(p.grad is not None for p in model.private["root"].parameters())
    assert all(p.grad is not None for p in model.public_tail.parameters())


def test_public_and_private_of_vgg16():
    """§3.4: 13 convolutions and fc6 are shared; each task has fc7 and fc8."""
    model = MultitaskClassifier(load_backbone("vgg16", False), {"root": 10, "leaf": 129})
    fc6, fc7 = 512 * 7 * 7 * 4096 + 4096, 4096 * 4096 + 4096
    public = [p for part in (model.trunk, model.public_tail) for p in part.parameters()]
    assert sum(p.numel() for p in public) == 14_714_688 + fc6
    assert len(public) == 2 * 14
    for name, classes in (("root", 10), ("leaf", 129)):
        assert sum(p.numel() for p in model.private[name].parameters()) == fc7 + 4096 * classes + classes
    groups = parameter_groups(model, 1e-4, 10.0)
    assert [g["lr"] for g in groups] == [1e-4, 1e-3]
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("tasks", "message"), [
    ({"categories": {}}, "needs a category task"),
    ({"categories": {"colour": 3}, "attributes": {"colour": 4}}, "both a layer and an attribute"),
    ({"categories": {"leaf": 3}, "branch": "three"}, "branch is")])
def test_contradictions_are_refused(tasks, message):
    with pytest.raises(ValueError, match=message):
        small(**tasks)
