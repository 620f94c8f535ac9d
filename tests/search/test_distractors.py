"""Pictures of other products: drawn in batches, described as they stream by."""

import numpy as np
import pytest
import torch
from pictures import picture
from torch import nn

from shoplens.data.drawing.stream import distractor
from shoplens.search.descriptors import ConcatenatedFeatures
from shoplens.search.distractors import distractor_images, draws_distractors, stream

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

@pytest.mark.parametrize(("count", "batch", "sizes"), [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (1, 256, [1]), (0, 2, [])])
def test_distractors_come_in_batches(count, batch, sizes):
    batches = list(distractor_images("bazaar", count, 32, seed=3, batch=batch))
    assert [len(part) for part in batches] == sizes
    for number, image in enumerate(image for part in batches for image in part):
        assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
        np.testing.assert_array_equal(image, distractor(number, seed=3, size=32).image)


def test_distractors_are_drawn_as_they_are_asked_for():
    first = next(distractor_images("bazaar", 10**9, 32, batch=1))
    assert not np.array_equal(first, next(distractor_images("bazaar", 1, 32, seed=1)))


@pytest.mark.parametrize("dataset", ["folder", "grocery"])
def test_photographs_cannot_be_drawn(dataset):
    assert not draws_distractors(dataset)
    with pytest.raises(ValueError, match="cannot draw"):
        next(distractor_images(dataset, 5, 32))


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
