"""The trunk of a trained classifier rebuilt."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from trainings import assert_same

from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier
from shoplens.models.restore import TrunkRecipe, restore_trunk

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
    save_file(published, tmp_path / "squeezenet1_1.safetensors")
    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path))
    restored = restore_trunk(TrunkRecipe("squeezenet1_1", True, 1.0, SIDE))
    assert_same(restored.trunk, {name.removeprefix("features."): value for name, value in published.items()})
    assert restored.weights["file"] == "squeezenet1_1.safetensors"
