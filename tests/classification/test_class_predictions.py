"""A trained multitask network rebuilt, and what it predicts for the queries and the gallery of a search."""

import numpy as np
import pandas as pd
import pytest
import torch
from earlier_runs import open_run, publish
from pictures import picture
from PIL import Image
from trainings import assert_same

from shoplens.classification.class_predictions import MultitaskRecipe, predicted_classes, restore_multitask
from shoplens.data.catalogue import Catalogue
from shoplens.data.images import normalise
from shoplens.models.attention import attend
from shoplens.models.backbones import HALF, load_backbone
from shoplens.models.multitask import MultitaskClassifier
from shoplens.recorded.networks import multitask_recipe
from shoplens.search.protocols import SearchSplit

SIZE, COUNT = 16, 70        # more than a batch


@pytest.fixture
def pixels() -> np.ndarray:
    return np.stack([picture(SIZE, SIZE, seed=i) for i in range(COUNT)])


@pytest.fixture
def catalogue(scratch_root, pixels) -> Catalogue:
    """Two layers."""
    ids = [f"i{i:02}" for i in range(COUNT)]
    (scratch_root / "pictures").mkdir()
    for name, one in zip(ids, pixels, strict=True):
        Image.fromarray(one).save(scratch_root / "pictures" / f"{name}.png")
    table = pd.DataFrame({"image_id": ids, "path": [f"{i}.png" for i in ids],
                          "leaf": [f"leaf{i % 5}" for i in range(COUNT)],
                          "root": [f"root{i % 5 % 2}" for i in range(COUNT)]})
    return Catalogue.build("toy", scratch_root / "pictures", table, layers=["root", "leaf"], attributes=[],
                           licence="none")

@pytest.mark.parametrize("attention", [False, True])
def test_classes_are_the_earlier_networks_best(catalogue, pixels, scratch_root, monkeypatch, attention):
    split = SearchSplit(np.array([30, 4, 9]), np.arange(60)[::-2].copy())
    torch.manual_seed(1)
    backbone = load_backbone("small_vgg", False, width=0.25)
    backbone = attend(backbone, SIZE) if attention else backbone
    model = MultitaskClassifier(backbone, {"root": 2, "leaf": 5})
    images = normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2), HALF, HALF)
    with torch.no_grad():
        model.train()(images)
        centre = {name: values.mean(dim=0) for name, values in model.eval()(images).items()}
        for name, module in model.private.items():
            module[-1].bias.sub_(centre[name])      # so that not all are of one class
        logits = {name: values.numpy() for name, values in model(images).items()}
    parameters = {"BACKBONE": "small_vgg", "PRETRAINED": False, "WIDTH": 0.25, "IMAGE_SIZE": SIZE, "STORE_SIZE": SIZE,
                  "ATTENTION": attention}
    assert open_run(monkeypatch, {"05_other": ["05_other"]}).inputs("05_bmtl_rl") == []
    run = open_run(monkeypatch, {"05_bmtl_rl": ["05_bmtl_rl-s2", "05_bmtl_rl-s4"]})
    publish(run, "05_bmtl_rl-s2", {"parameters": parameters}, model.state_dict())
    recipe = multitask_recipe(run, run.inputs("05_bmtl_rl")[0], catalogue)
    for layer in ("root", "leaf"):
        for rows in (split.queries, split.gallery):
            scores = [logits[layer][row].tolist() for row in rows]
            classes = predicted_classes(recipe, catalogue, rows, layer, "cpu")
            assert classes.tolist() == [one.index(max(one)) for one in scores]
        assert len(set(classes)) > 1


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("branch", ["two_layer", "parallel"])
def test_a_multitask_network_is_the_one_that_was_saved(tmp_path, attention, branch):
    categories, attributes = {"root": 2, "leaf": 4}, {"shade": 2, "size": 3}
    torch.manual_seed(1)
    backbone = load_backbone("small_vgg", False, width=0.25)
    backbone = attend(backbone, SIZE) if attention else backbone
    model = MultitaskClassifier(backbone, categories, attributes, branch)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    recipe = MultitaskRecipe("small_vgg", False, 0.25, SIZE, tmp_path / "model.pt", 0, attention, ("root", "leaf"),
                             ("shade", "size"), branch)
    built_on, restored = restore_multitask(recipe, categories, attributes)
    assert_same(restored, model.state_dict())
    assert not any(module.training for module in restored.modules())
    assert built_on.mean == backbone.mean
    assert list(restored(torch.rand(1, 3, SIZE, SIZE))) == ["root", "leaf", "shade", "size"]
