"""Spatial attention (P1 §3.2) against explicit loops and hand-made cases."""

import copy
import math

import pytest
import torch

from shoplens.models.attention import GAUSSIAN, NEUTRAL, AttendedTrunk, SpatialAttention, attend, centre_prior
from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier


def test_equals_a_loop_over_images_and_places():
    torch.manual_seed(0)
    attention, maps = SpatialAttention(5, std=GAUSSIAN), torch.randn(3, 5, 4, 6)
    weight, bias = attention.score.weight.flatten().tolist(), attention.score.bias.item()
    attended = attention(maps)
    for b in range(3):
        for y in range(4):
            for x in range(6):
                score = sum(weight[c] * maps[b, c, y, x].item() for c in range(5)) + bias
                place = 1 / (1 + math.exp(-score))
                for c in range(5):
                    assert attended[b, c, y, x].item() == pytest.approx(maps[b, c, y, x].item() * place, abs=1e-5)


def test_template_is_the_same_for_every_image_and_is_resized():
    attention = SpatialAttention(5, reading="template", size=(2, 2), std=3.0)
    same = attention.weights(torch.randn(4, 5, 2, 2))
    assert torch.equal(same, torch.sigmoid(attention.template).expand(4, 1, 2, 2))
    assert attention(torch.ones(2, 5, 7, 3)).shape == (2, 5, 7, 3)


def test_one_map_for_all_channels_strictly_between_zero_and_one():
    attention = SpatialAttention(8, std=0.1)
    maps = torch.rand(2, 8, 5, 5) + 0.5
    ratio = attention(maps) / maps
    assert ((ratio > 0) & (ratio < 1)).all()
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_gradient_by_finite_differences():
    torch.manual_seed(0)
    attention = SpatialAttention(3, std=GAUSSIAN).double()
    assert torch.autograd.gradcheck(attention, torch.randn(2, 3, 2, 2, dtype=torch.double, requires_grad=True))


@pytest.mark.parametrize("fill", [0.0, 1e4, -1e4])
def test_an_empty_or_extreme_map_gives_no_nan(fill):
    attention = SpatialAttention(4, std=GAUSSIAN)
    maps = torch.full((2, 4, 3, 3), fill, requires_grad=True)
    attention(maps).sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert torch.isfinite(attention.score.weight.grad).all()
    if fill == 0:
        assert torch.equal(attention.weights(maps), torch.full((2, 1, 3, 3), 0.5))


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_the_papers_initialisation_saturates_and_the_neutral_one_does_not(size):
    """512 channels of unit size: scores have standard deviation √512 ≈ 22.6 at std 1; all are 0 at std 0."""
    torch.manual_seed(0)
    maps = size * torch.randn(8, 512, 7, 7)

    def saturated(std):
        weights = SpatialAttention(512, std=std).weights(maps)
        return ((weights < 0.05) | (weights > 0.95)).float().mean().item()

    assert saturated(GAUSSIAN) > 0.7
    assert saturated(NEUTRAL) == 0


@pytest.mark.parametrize("place", ["pool5", "conv5", "pool4"])
def test_half_open_attention_is_half_the_map_at_each_place(place):
    """With all scores 0 every weight is ½: the rest of the trunk must see exactly half the plain map there."""
    trunk = load_backbone("small_vgg", False, width=0.25).trunk.eval()
    attended = AttendedTrunk(copy.deepcopy(trunk), place=place, image_size=64, std=NEUTRAL).eval()
    images, cut = torch.randn(2, 3, 64, 64), {"pool5": 16, "conv5": 15, "pool4": 12}[place]
    expected = trunk[cut:](0.5 * trunk[:cut](images))
    torch.testing.assert_close(attended(images), expected)
    assert attended.attention_map(images).shape == (2, 1, *trunk[:cut](images).shape[2:])


def test_squeezenet_has_a_pool4_and_no_conv5():
    trunk = load_backbone("squeezenet1_1", False).trunk
    assert AttendedTrunk(copy.deepcopy(trunk), place="pool4", image_size=96)(torch.zeros(1, 3, 96, 96)).shape[1] == 512
    with pytest.raises(ValueError, match="does not end in a pooling"):
        AttendedTrunk(trunk, place="conv5")


def test_vgg16_template_has_the_size_of_pool5():
    attended = AttendedTrunk(load_backbone("vgg16", False).trunk, reading="template", image_size=224)
    assert attended.attention.template.shape == (1, 1, 7, 7)


@pytest.mark.parametrize("arguments", [{"reading": "other"}, {"reading": "template"}, {"size": (2, 2)}])
def test_contradicting_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="reading is one of"):
        SpatialAttention(4, **arguments)


def test_a_flat_classifier_with_attention_learns_its_weights():
    backbone = load_backbone("small_vgg", False, width=0.25)
    backbone.trunk = AttendedTrunk(backbone.trunk, std=NEUTRAL, image_size=48)
    model = FlatClassifier(backbone, 3)
    model(torch.randn(4, 3, 48, 48)).square().sum().backward()
    assert model.trunk.attention.score.weight.grad.abs().sum() > 0


def _size(module):
    return sum(p.numel() for p in module.parameters())


def test_attend_changes_the_trunk_and_nothing_else():
    torch.manual_seed(0)
    backbone = load_backbone("small_vgg", False, width=0.25)
    plain = copy.deepcopy(backbone.trunk).eval()
    attended = attend(backbone, 64)
    for known in ("name", "channels", "public_tail", "features", "make_private", "mean", "std", "weights"):
        assert getattr(attended, known) is getattr(backbone, known)
    assert _size(attended.trunk) == _size(plain) + backbone.channels + 1       # a 1×1 convolution and its bias
    images, trunk = torch.randn(2, 3, 64, 64), attended.trunk.eval()
    weights = trunk.attention_map(images)
    assert weights.shape == (2, 1, 4, 4)
    torch.testing.assert_close(trunk(images), weights * plain(images))


def test_attend_passes_its_options_on():
    plain = _size(load_backbone("small_vgg", False, width=0.25).trunk)
    attended = attend(load_backbone("small_vgg", False, width=0.25), 64, place="conv5", reading="template", std=0.0)
    # Behind conv5 a picture of 64 pixels is a map of 8×8; of spread 0 all its weights start at a half.
    assert _size(attended.trunk) == plain + 8 * 8
    assert torch.equal(attended.trunk.attention_map(torch.randn(2, 3, 64, 64)), torch.full((2, 1, 8, 8), 0.5))
    dynamic = attend(load_backbone("small_vgg", False, width=0.25), 64, std=GAUSSIAN).trunk.attention.score
    assert dynamic.weight.std() > 0.5


def test_the_centre_reading_weighs_places_by_the_prior_and_learns_nothing():
    attention, maps = SpatialAttention(4, reading="centre"), torch.randn(3, 4, 6, 5)
    torch.testing.assert_close(attention(maps), maps * centre_prior(6, 5))
    assert not list(attention.parameters())
