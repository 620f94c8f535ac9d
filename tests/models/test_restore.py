"""Trained networks rebuilt: the trunk of a classifier, and a multitask network with all its tasks."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from trainings import assert_same

from shoplens.models.attention import attend
from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier
from shoplens.models.multitask import MultitaskClassifier
from shoplens.models.restore import MultitaskRecipe, TrunkRecipe, restore_multitask, restore_trunk

SIDE = 32
FRESH = TrunkRecipe("small_vgg", False, 0.25, SIDE)


@pytest.fixture
def classifier(tmp_path) -> FlatClassifier:
    """A flat network as notebook 02 leaves it, with its weights in model.pt: the statistics of its batch norms are no
    longer those of the start."""
    torch.manual_seed(0)
    model = FlatClassifier(load_backbone("small_vgg", False, width=0.25), 3)
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(8, 3, SIDE, SIDE) + 0.5)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    return model


def test_the_trunk_is_that_of_the_classifier(classifier, tmp_path):
    recipe = replace(FRESH, weights=tmp_path / "model.pt")
    torch.manual_seed(99)
    assert_same(restore_trunk(recipe).trunk, classifier.trunk.state_dict())
    with pytest.raises(RuntimeError, match="size mismatch"):
        restore_trunk(replace(recipe, width=0.5))


def test_without_weights_the_trunk_is_a_fresh_one():
    torch.manual_seed(3)
    restored = restore_trunk(FRESH)
    torch.manual_seed(3)
    assert_same(restored.trunk, load_backbone("small_vgg", False, width=0.25).trunk.state_dict())


def test_published_weights_are_those_of_the_file(tmp_path, monkeypatch):
    import torchvision

    torch.manual_seed(4)
    published = torchvision.models.squeezenet1_1().state_dict()
    save_file(published, tmp_path / "squeezenet1_1_imagenet.safetensors")
    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path))
    restored = restore_trunk(TrunkRecipe("squeezenet1_1", True, 1.0, SIDE))
    assert_same(restored.trunk, {name.removeprefix("features."): value for name, value in published.items()})
    assert restored.weights["file"] == "squeezenet1_1_imagenet.safetensors"


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("branch", ["two_layer", "parallel"])
def test_a_multitask_network_is_the_one_that_was_saved(tmp_path, attention, branch):
    categories, attributes = {"root": 2, "leaf": 4}, {"shade": 2, "size": 3}
    torch.manual_seed(1)
    backbone = load_backbone("small_vgg", False, width=0.25)
    backbone = attend(backbone, SIDE) if attention else backbone
    model = MultitaskClassifier(backbone, categories, attributes, branch)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    recipe = MultitaskRecipe("small_vgg", False, 0.25, SIDE, attention, tmp_path / "model.pt", ("root", "leaf"),
                             ("shade", "size"), branch)
    built_on, restored = restore_multitask(recipe, categories, attributes)
    assert_same(restored, model.state_dict())
    assert not any(module.training for module in restored.modules())
    assert built_on.mean == backbone.mean
    assert list(restored(torch.rand(1, 3, SIDE, SIDE))) == ["root", "leaf", "shade", "size"]
