"""The heads beside NetVLAD, and where a trunk is cut into what stays frozen and what is learned (P2 §3.2)."""

import copy

import pytest
import torch
from descriptor_heads import a_head, a_start, some_maps, unit
from torch import nn
from torch.func import functional_call

from shoplens.models.attention import AttendedTrunk
from shoplens.models.backbones import load_backbone
from shoplens.models.netvlad import (
    Descriptor,
    GlobalPooling,
    cut_trunk,
)


def test_pooling_equals_loops():
    maps = some_maps(2, 3, 2, 4).abs() + 0.1
    gem = GlobalPooling("gem")
    with torch.no_grad():
        gem.p.fill_(2.5)
    for b in range(2):
        places = [[maps[b, c, y, x].item() for y in range(2) for x in range(4)] for c in range(3)]
        by_hand = {"average": [sum(v) / 8 for v in places], "max": [max(v) for v in places],
                   "gem": [(sum(a**2.5 for a in v) / 8)**(1 / 2.5) for v in places]}
        for kind, expected in by_hand.items():
            pooled = gem if kind == "gem" else GlobalPooling(kind)
            assert pooled(maps)[b].tolist() == pytest.approx(unit(expected), abs=1e-5)


def test_the_generalised_mean_runs_from_the_average_to_the_maximum():
    maps, gem = some_maps(2, 4, 3, 3).abs() + 0.1, GlobalPooling("gem")
    assert gem.p.item() == 3
    for p, kind in ((1.0, "average"), (1000.0, "max")):
        with torch.no_grad():
            gem.p.fill_(p)
        torch.testing.assert_close(gem(maps), GlobalPooling(kind)(maps), atol=5e-3 * (p > 1), rtol=1e-5)


@pytest.mark.parametrize("p", [3.0, 50.0])
@pytest.mark.parametrize("fill", [0.0, 300.0])
def test_the_generalised_mean_stands_dead_and_loud_channels(p, fill):
    """300⁵⁰ and (10⁻⁶)⁵⁰ are no numbers of 32 bits; the mean of equal values is that value all the same."""
    maps, gem = some_maps(2, 4, 3, 3).abs() + 0.1, GlobalPooling("gem")
    maps[:, 1] = fill
    with torch.no_grad():
        gem.p.fill_(p)
    by_hand = maps.double().clamp_min(1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)
    pooled = gem(maps.requires_grad_())
    torch.testing.assert_close(pooled.double(), by_hand / by_hand.norm(dim=1, keepdim=True), atol=1e-6, rtol=1e-5)
    pooled[:, 0].sum().backward()
    assert torch.isfinite(gem.p.grad)
    assert torch.isfinite(maps.grad).all()


def test_the_gradient_of_the_generalised_mean_by_finite_differences():
    gem = GlobalPooling("gem").double()
    assert torch.autograd.gradcheck(lambda maps, p: functional_call(gem, {"p": p}, (maps,)),
                                    ((some_maps(2, 3, 2, 2).abs() + 0.1).double().requires_grad_(),
                                     torch.tensor(3.5, dtype=torch.double, requires_grad=True)))


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in module.modules())


@pytest.mark.parametrize(("name", "ends_in_pooling", "learned", "stride"),
                         [("small_vgg", True, 1, 8), ("squeezenet1_1", False, 4 * 3, 16), ("vgg16", True, 3, 16)])
def test_frozen_part_and_block_are_the_trunk_up_to_its_final_pooling(name, ends_in_pooling, learned, stride):
    trunk = load_backbone(name, False, **({"width": 0.25} if name == "small_vgg" else {})).trunk.eval()
    frozen, block = cut_trunk(trunk)
    images = some_maps(2, 3, 64, 64)
    with torch.no_grad():
        activations = frozen(images)
        maps = block(activations.clone())
        whole = trunk(images)
        torch.testing.assert_close(trunk[-1](maps) if ends_in_pooling else maps, whole)
    assert _convolutions(block) == learned
    assert _convolutions(frozen) == _convolutions(trunk) - learned
    assert isinstance(frozen[-1], nn.MaxPool2d)
    if ends_in_pooling:
        assert maps.shape[2:] == (64 // stride, 64 // stride)
    if name == "vgg16":
        assert _convolutions(frozen) == 10
        assert maps.shape[1] == 512


@pytest.mark.parametrize("name", ["small_vgg", "squeezenet1_1", "vgg16"])
def test_the_last_relu_can_be_left_out(name):
    """Put behind what is left, a ReLU gives the map with it; the weights are the trunk's own."""
    trunk = load_backbone(name, False, **({"width": 0.25} if name == "small_vgg" else {})).trunk.eval()
    (frozen, block), (again, linear) = cut_trunk(trunk), cut_trunk(trunk, last_relu=False)
    assert _convolutions(again) == _convolutions(frozen)
    with torch.no_grad():
        activations = frozen(some_maps(2, 3, 64, 64))
        maps, before = block(activations.clone()), linear(activations.clone())
        torch.testing.assert_close(block(activations.clone()), maps)       # the block with it is as it was
    assert (before < 0).any()
    torch.testing.assert_close(before.relu(), maps)
    assert {id(p) for p in linear.parameters()} == {id(p) for p in block.parameters()}
    assert set(linear.state_dict()) == set(block.state_dict())


def test_a_relu_that_is_not_there_cannot_be_left_out():
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match="ends in a Conv2d, not in a ReLU.*LAST_RELU = True"):
        cut_trunk(trunk, last_relu=False)


def test_trunks_without_a_last_block_are_refused():
    plain = load_backbone("small_vgg", False, width=0.25).trunk
    with pytest.raises(ValueError, match="AttendedTrunk is no plain sequence.*vgg16"):
        cut_trunk(AttendedTrunk(copy.deepcopy(plain), image_size=48))
    with pytest.raises(ValueError, match="no pooling inside"):
        cut_trunk(plain[:4])        # one convolution and its pooling


def test_a_descriptor_is_its_head_upon_its_block():
    _, block = cut_trunk(load_backbone("small_vgg", False, width=0.25).trunk.eval())
    head = a_head("v1", "relu", a_start(channels=64))
    model, activations = Descriptor(block, head).eval(), some_maps(2, 32, 6, 6)
    torch.testing.assert_close(model(activations), head(block(activations.clone())))
    assert model(activations).shape == (2, 3 * 64)


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm_that_is_frozen_normalises_in_training_as_in_mining(frozen):
    _, block = cut_trunk(load_backbone("small_vgg", False, width=0.25).trunk)
    torch.manual_seed(0)
    norm = next(layer for layer in block if isinstance(layer, nn.BatchNorm2d))
    nn.init.uniform_(norm.running_mean)
    model, activations = Descriptor(block, a_head("v1", None, a_start(channels=64)), frozen), some_maps(6, 32, 6, 6)
    before = norm.running_mean.clone()
    features = model.train()(activations.clone())
    assert model.training
    assert model.head.training
    assert torch.equal(norm.running_mean, before) == frozen
    assert norm.weight.requires_grad
    if frozen:
        torch.testing.assert_close(features, model.eval()(activations.clone()))
    features.square().sum().backward()
    assert (norm.weight.grad is not None)
