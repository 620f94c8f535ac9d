"""Pictures of other products: marked or drawn, in batches, described as they stream by."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
import torch
from pictures import picture, picture_files
from torch import nn

from shoplens.data.catalogue import Catalogue
from shoplens.data.drawing import stream as drawing
from shoplens.data.drawing.stream import distractor
from shoplens.data.images import decode
from shoplens.search import distractors
from shoplens.search.descriptors import ConcatenatedFeatures
from shoplens.search.distractors import can_draw, distractor_images, marked, stream

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def catalogue(folder, name="bazaar", roles=("query", "gallery", "")) -> Catalogue:
    """A few pictures of 24×24 pixels with these roles."""
    files = picture_files(folder, count=len(roles))
    table = pd.DataFrame({"image_id": [file.stem for file in files], "path": [file.name for file in files],
                          "leaf": "boot", "role": roles})
    return Catalogue.build(name, files[0].parent, table, layers=["leaf"], attributes=[], licence="none",
                           provenance={"size": 24})


@pytest.mark.parametrize(("count", "batch", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 256, [1]), (0, 2, [])])
def test_distractors_come_in_batches(tmp_path, count, batch, sizes):
    batches = list(distractor_images(catalogue(tmp_path), count, 32, seed=3, batch=batch))
    assert [len(part) for part in batches] == sizes
    for number, image in enumerate(image for part in batches for image in part):
        assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
        # Drawn at the catalogue's size, kept as a JPEG file, and opened as the catalogue's own pictures are.
        np.testing.assert_array_equal(image, decode(io.BytesIO(distractor(number, seed=3, size=24).file), 32))


def test_many_are_drawn_by_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(distractors, "FEW", 3)
    monkeypatch.setattr(distractors, "usable_cores", lambda: 2)
    monkeypatch.setattr(drawing, "_CHUNK", 2)
    several = np.concatenate(list(distractor_images(catalogue(tmp_path), 5, 16)))
    monkeypatch.setattr(distractors, "FEW", 100)
    np.testing.assert_array_equal(several, np.concatenate(list(distractor_images(catalogue(tmp_path), 5, 16))))


def test_distractors_are_drawn_as_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(distractors, "usable_cores", lambda: 1)
    first = next(distractor_images(catalogue(tmp_path), 10**9, 32, batch=1))
    assert not np.array_equal(first, next(distractor_images(catalogue(tmp_path), 1, 32, seed=1)))


@pytest.mark.parametrize("name", ["folder", "grocery"])
def test_photographs_cannot_be_drawn_but_are_taken_where_marked(tmp_path, name):
    own = catalogue(tmp_path, name, ("query", "distractor", "gallery", "distractor"))
    assert not can_draw(own)
    assert marked(own).tolist() == [1, 3]
    with pytest.raises(ValueError, match="cannot draw"):
        next(distractor_images(own, 5, 32))
    [pictures] = distractor_images(own, 0, 16)
    for row, image in zip((1, 3), pictures, strict=True):
        np.testing.assert_array_equal(image, decode(own.files()[row], 16))


def test_marked_and_drawn_follow_one_another(tmp_path):
    own = catalogue(tmp_path, "bazaar", ("gallery", "distractor"))
    [pictures] = distractor_images(own, 1, 16)
    np.testing.assert_array_equal(pictures[0], decode(own.files()[1], 16))
    np.testing.assert_array_equal(pictures[1], decode(io.BytesIO(distractor(0, size=24).file), 16))


def test_a_catalogue_without_roles_marks_none(tmp_path):
    plain = catalogue(tmp_path)
    assert not len(marked(dataclasses.replace(plain, images=plain.images.drop(columns="role"))))


def test_a_stream_gives_ids_and_the_features_of_all_networks():
    torch.manual_seed(0)
    frozen = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
    models = [nn.Sequential(nn.Flatten(), nn.Linear(36, width)).eval() for width in (5, 2)]
    pictures = np.stack([picture(8, 8, seed=i) for i in range(7)])
    asked = []

    def batches():
        for part in np.split(pictures, [3, 6]):
            asked.append(len(part))
            yield part

    images = torch.from_numpy((pictures / 255 - MEAN) / STD).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        parts = tuple(model(frozen(images)).numpy() for model in models)
    for networks, expected in ((models, ConcatenatedFeatures(parts)), (models[:1], ConcatenatedFeatures(parts[:1]))):
        asked.clear()
        chunks = []
        for chunk in stream(batches(), frozen, networks, MEAN, STD, 100):
            chunks.append(chunk)
            assert len(asked) == len(chunks)      # one batch is held at a time
            assert torch.is_grad_enabled()
        assert [ids.tolist() for ids, _ in chunks] == [[100, 101, 102], [103, 104, 105], [106]]
        np.testing.assert_allclose(np.concatenate([features for _, features in chunks]), expected[np.arange(7)],
                                   atol=1e-5)
        assert {features.dtype for _, features in chunks} == {np.dtype(np.float32)}
