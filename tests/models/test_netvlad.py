"""NetVLAD and its local weights (P2 Eq. 1–2) against loops over places, centres and channels, and hand-made maps."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from shoplens.models.attention import AttendedTrunk
from shoplens.models.backbones import load_backbone
from shoplens.models.netvlad import (
    ASSIGNMENTS,
    ATTENTIONS,
    Descriptor,
    GlobalPooling,
    LocalWeights,
    NetVLAD,
    NetVLADInit,
    cut_trunk,
    descriptors,
    initialise,
)

KINDS = (None, *ATTENTIONS)


def _start(clusters=3, channels=5, alpha=2.0, seed=0) -> NetVLADInit:
    rng = torch.Generator().manual_seed(seed)
    direction = torch.randn(channels, generator=rng)
    return NetVLADInit(torch.randn(clusters, channels, generator=rng), alpha, direction / direction.norm())


def _maps(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _net(assignment="v1", kind=None, start=None, seed=0) -> NetVLAD:
    torch.manual_seed(seed)
    return NetVLAD(start or _start(), assignment, kind)


def _dot(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _unit(x) -> list[float]:
    length = math.sqrt(_dot(x, x))
    return [v / length for v in x] if length else list(x)


def _weight_by_hand(net: NetVLAD, kind: str | None, direction: list[float], x: list[float], length: float) -> float:
    if kind is None:
        return 1.0
    if kind == "norm":
        return length
    if kind == "hidden":
        units = [max(0.0, _dot(row, x)) for row in net.local.score[0].weight.tolist()]
        return max(0.0, _dot(net.local.score[2].weight[0].tolist(), units))
    return 1 / (1 + math.exp(-_dot(direction, x))) if kind == "sigmoid" else max(0.0, _dot(direction, x))


def _by_hand(net: NetVLAD, start: NetVLADInit, assignment: str, kind: str | None, image: torch.Tensor) -> list[float]:
    """Eq. 2 of one image C×h×w, place by place; shares from the formula, not from the layer's weights."""
    centres, direction = start.centres.tolist(), start.direction.tolist()
    clusters, channels = len(centres), len(direction)
    total = [[0.0] * channels for _ in range(clusters)]
    for y in range(image.shape[1]):
        for z in range(image.shape[2]):
            raw = image[:, y, z].tolist()
            x = _unit(raw)
            if assignment == "v1":
                powers = [math.exp(start.alpha * _dot(_unit(c), x)) for c in centres]
            else:
                powers = [math.exp(-start.alpha * sum((a - b)**2 for a, b in zip(x, c, strict=True))) for c in centres]
            w = _weight_by_hand(net, kind, direction, x, math.sqrt(_dot(raw, raw)))
            for k in range(clusters):
                for c in range(channels):
                    total[k][c] += w * powers[k] / sum(powers) * (x[c] - centres[k][c])
    return _unit([value for row in total for value in _unit(row)])


# --- Eq. 1 and 2 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_equals_loops_over_places_centres_and_channels(assignment, kind):
    start, maps = _start(), _maps(3, 5, 2, 3)
    net = _net(assignment, kind, start)
    if kind == "hidden":        # so that no layer is as it started
        with torch.no_grad():
            net.local.score[2].weight.copy_(torch.tensor([[1.0, 0.5]]))
    features = net(maps)
    assert features.shape == (3, net.features)
    for one, image in zip(features, maps, strict=True):
        assert one.tolist() == pytest.approx(_by_hand(net, start, assignment, kind, image), abs=1e-5)


def test_v2_shares_fall_with_the_squared_distance():
    start = _start(clusters=4, alpha=3.0)
    x = descriptors(_maps(2, 5, 3, 3))
    apart = (x[:, :, None] - start.centres).square().sum(dim=-1)
    torch.testing.assert_close(_net("v2", start=start).assign(x).softmax(dim=-1), (-3.0 * apart).softmax(dim=-1))


def test_the_two_assignments_agree_on_centres_of_unit_length():
    # −α‖x − c‖² = 2α c·x − α(1 + ‖c‖²), and the last term is the same for all centres there.
    start = _start()
    unit = start.centres / start.centres.norm(dim=1, keepdim=True)
    first, second = (_net(assignment, start=NetVLADInit(unit, alpha, start.direction))
                     for assignment, alpha in (("v1", 4.0), ("v2", 2.0)))
    torch.testing.assert_close(first(_maps(2, 5, 3, 3)), second(_maps(2, 5, 3, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_unit_length_and_every_centre_counts_the_same(kind):
    features = _net("v2", kind)(_maps(4, 5, 3, 2)).unflatten(1, (3, 5))
    torch.testing.assert_close(features.flatten(1).norm(dim=1), torch.ones(4))
    torch.testing.assert_close(features.norm(dim=2), torch.full((4, 3), 1 / math.sqrt(3)))


def test_a_centre_without_a_residual_stays_zero():
    centres = torch.eye(3, 5)
    features = _net(start=NetVLADInit(centres, 2.0, centres[0]))(5 * centres[0].view(1, 5, 1, 1)).unflatten(1, (3, 5))
    assert not features[0, 0].any()
    torch.testing.assert_close(features[0].norm(dim=1), torch.tensor([0.0, 0.5**0.5, 0.5**0.5]))


@pytest.mark.parametrize("kind", KINDS)
def test_any_size_of_map_and_any_order_of_places(kind):
    net, maps = _net("v1", kind), _maps(2, 5, 3, 4)
    for size in ((1, 1), (7, 2), (3, 4)):
        assert net(_maps(2, 5, *size)).shape == (2, 15)
        assert net.local_weights(_maps(2, 5, *size)).shape == (2, *size)
    places = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = maps.flatten(2)[:, :, places].unflatten(2, (4, 3))
    torch.testing.assert_close(net(shuffled), net(maps))
    torch.testing.assert_close(net(torch.cat([maps, maps], dim=3)), net(maps))     # twice the same sum


def test_64_centres_of_512_channels_are_32768_dimensions():
    net = _net("v2", "relu", _start(clusters=64, channels=512))
    assert net(_maps(1, 512, 2, 3)).shape == (1, 32768)
    assert net.features == 32768


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_gradients_by_finite_differences(assignment, kind):
    net = _net(assignment, kind).double()
    names, values = zip(*((name, p.detach().clone().requires_grad_()) for name, p in net.named_parameters()),
                        strict=True)
    maps = _maps(2, 5, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda maps, *values: functional_call(net, dict(zip(names, values, strict=True)), (maps,)), (maps, *values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("fill", [0.0, 1e4, -1e4])
def test_an_empty_or_extreme_map_gives_no_nan(assignment, kind, fill):
    net, maps = _net(assignment, kind), torch.full((2, 5, 3, 3), fill, requires_grad=True)
    features = net(maps)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    features[:, 0].sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


# --- local weights ------------------------------------------------------------------------------------------------


def test_weights_of_one_everywhere_are_the_global_feature():
    start, units = _start(), descriptors(_maps(2, 5, 3, 3)).transpose(1, 2).unflatten(2, (3, 3))
    plain = _net(start=start)
    torch.testing.assert_close(_net(kind="norm", start=start)(units), plain(units))
    # Every descriptor is the direction, whatever its length: its cosine is one.
    along = start.direction.view(1, 5, 1, 1) * _maps(2, 1, 3, 3).abs()
    local = _net(kind="relu", start=start)
    torch.testing.assert_close(local.local_weights(along), plain.local_weights(along))
    torch.testing.assert_close(local(along), plain(along))


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_a_factor_on_all_weights_changes_nothing(factor):
    maps, relu, norm = _maps(2, 5, 3, 3), _net(kind="relu"), _net(kind="norm")
    before = relu(maps)
    with torch.no_grad():
        relu.local.score.weight.mul_(factor)
    torch.testing.assert_close(relu(maps), before)
    torch.testing.assert_close(norm(factor * maps), norm(maps))


@pytest.mark.parametrize("kind", ["relu", "hidden"])
def test_a_silent_image_is_taken_whole_and_its_neighbour_as_it_is(kind):
    start = _start()
    net, plain, maps = _net(kind=kind, start=start), _net(start=start), _maps(2, 5, 3, 3)
    across = maps - (maps * start.direction.view(1, 5, 1, 1)).sum(dim=1, keepdim=True) * start.direction.view(5, 1, 1)
    maps[0] = across[0] - 2 * start.direction.view(5, 1, 1)       # every descriptor points away from the direction
    maps.requires_grad_()
    assert not net.local_weights(maps)[0].any()
    assert net.local_weights(maps)[1].any()
    features = net(maps)
    torch.testing.assert_close(features[0], plain(maps)[0])
    torch.testing.assert_close(features[1], net(maps[1:])[0])
    assert not torch.allclose(features[1], plain(maps)[1], atol=1e-3)
    features[0].square()[:7].sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert maps.grad[0].any()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_weights_start_as_cosines_to_the_mean_direction():
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(200, 5)) + 1
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    start = initialise(sample, 3)
    mean = [sum(column) / len(sample) for column in sample.T]
    assert start.direction.tolist() == pytest.approx(_unit(mean), abs=1e-5)
    maps = _maps(3, 5, 4, 4)
    w = _net(kind="relu", start=start).local_weights(maps)
    cosines = torch.cosine_similarity(maps, start.direction.view(1, 5, 1, 1), dim=1)
    torch.testing.assert_close(w, cosines.clamp_min(0))
    assert (w >= 0).all()
    assert (w <= 1 + 1e-6).all()


def test_a_hidden_layer_starts_as_the_plain_one():
    start, maps = _start(channels=16), _maps(2, 16, 3, 3)
    relu, hidden = (_net(kind=kind, start=start) for kind in ("relu", "hidden"))
    assert hidden.local.score[0].weight.shape == (4, 16)
    torch.testing.assert_close(hidden.local_weights(maps), relu.local_weights(maps))
    torch.testing.assert_close(hidden(maps), relu(maps))


@pytest.mark.parametrize("make", [lambda: initialise(np.eye(3), 2, assignment="v3"), lambda: _net("v3"),
                                  lambda: _net(kind="other"), lambda: LocalWeights(torch.ones(4), "softmax"),
                                  lambda: GlobalPooling("median")])
def test_names_nobody_knows_are_refused(make):
    with pytest.raises(ValueError, match="is one of"):
        make()


# --- what it starts from ------------------------------------------------------------------------------------------


def _clusters(count=4, each=40, spread=0.02, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors around the first axes, and the mean of each cluster."""
    parts = [np.eye(6)[i] + spread * np.random.default_rng((seed, i)).normal(size=(each, 6)) for i in range(count)]
    return np.concatenate(parts).astype(np.float32), np.stack([part.mean(axis=0) for part in parts])


def test_centres_are_found_and_are_means_of_all_their_descriptors():
    # 700 descriptors a centre are more than k-means libraries look at by default.
    for count, each in ((2, 700), (4, 40)):
        sample, means = _clusters(count, each)
        centres = initialise(sample, count).centres.numpy()
        np.testing.assert_allclose(sorted(centres.tolist()), sorted(means.tolist()), atol=1e-5)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_alpha_gives_the_runner_up_a_hundredth(assignment):
    sample = descriptors(_maps(1, 6, 10, 12))[0].numpy()
    start = initialise(sample, 5, assignment=assignment)
    centres, gaps = start.centres.tolist(), []
    for x in sample.tolist():
        if assignment == "v1":
            best, second = sorted((_dot(_unit(c), x) for c in centres), reverse=True)[:2]
            gaps.append(best - second)
        else:
            best, second = sorted(sum((a - b)**2 for a, b in zip(c, x, strict=True)) for c in centres)[:2]
            gaps.append(second - best)
    assert math.exp(-start.alpha * sum(gaps) / len(gaps)) == pytest.approx(0.01, rel=1e-3)


def test_as_many_centres_as_descriptors_at_most():
    sample = np.eye(4, dtype=np.float32)
    assert sorted(initialise(sample, 4).centres.tolist()) == sorted(sample.tolist())
    with pytest.raises(ValueError, match="5 centres need at least as many descriptors, got 4"):
        initialise(sample, 5)


def test_a_single_centre_is_the_mean():
    sample = descriptors(_maps(1, 6, 5, 5))[0].numpy()
    start = initialise(sample, 1)
    np.testing.assert_allclose(start.centres[0].numpy(), sample.mean(axis=0), atol=1e-6)
    assert math.isfinite(start.alpha)


def test_the_seed_matters_where_there_are_no_clusters_and_nothing_else_does():
    noise = descriptors(_maps(1, 6, 20, 20))[0].numpy()
    first = initialise(noise, 5, seed=1)
    np.random.seed(7)       # noqa: NPY002 - nobody's global state may matter
    torch.manual_seed(7)
    again, other = initialise(noise, 5, seed=1), initialise(noise, 5, seed=2)
    assert torch.equal(first.centres, again.centres)
    assert first.alpha == again.alpha
    assert not torch.equal(first.centres, other.centres)
    assert torch.equal(first.direction, other.direction)
    pair, _ = _clusters(2)
    for seed in range(4):
        np.testing.assert_allclose(sorted(initialise(pair, 2, seed=seed).centres.tolist()),
                                   sorted(initialise(pair, 2, seed=9).centres.tolist()), atol=1e-5)


# --- pooling and the trunk ----------------------------------------------------------------------------------------


def test_pooling_equals_loops():
    maps = _maps(2, 3, 2, 4).abs() + 0.1
    gem = GlobalPooling("gem")
    with torch.no_grad():
        gem.p.fill_(2.5)
    for b in range(2):
        places = [[maps[b, c, y, x].item() for y in range(2) for x in range(4)] for c in range(3)]
        by_hand = {"average": [sum(v) / 8 for v in places], "max": [max(v) for v in places],
                   "gem": [(sum(a**2.5 for a in v) / 8)**(1 / 2.5) for v in places]}
        for kind, expected in by_hand.items():
            pooled = gem if kind == "gem" else GlobalPooling(kind)
            assert pooled(maps)[b].tolist() == pytest.approx(_unit(expected), abs=1e-5)


def test_the_generalised_mean_runs_from_the_average_to_the_maximum():
    maps, gem = _maps(2, 4, 3, 3).abs() + 0.1, GlobalPooling("gem")
    assert gem.p.item() == 3
    for p, kind in ((1.0, "average"), (1000.0, "max")):
        with torch.no_grad():
            gem.p.fill_(p)
        torch.testing.assert_close(gem(maps), GlobalPooling(kind)(maps), atol=5e-3 * (p > 1), rtol=1e-5)


@pytest.mark.parametrize("p", [3.0, 50.0])
@pytest.mark.parametrize("fill", [0.0, 300.0])
def test_the_generalised_mean_stands_dead_and_loud_channels(p, fill):
    """300⁵⁰ and (10⁻⁶)⁵⁰ are no numbers of 32 bits; the mean of equal values is that value all the same."""
    maps, gem = _maps(2, 4, 3, 3).abs() + 0.1, GlobalPooling("gem")
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
                                    ((_maps(2, 3, 2, 2).abs() + 0.1).double().requires_grad_(),
                                     torch.tensor(3.5, dtype=torch.double, requires_grad=True)))


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in module.modules())


@pytest.mark.parametrize(("name", "ends_in_pooling", "learned", "stride"),
                         [("small_vgg", True, 1, 8), ("squeezenet1_1", False, 4 * 3, 16), ("vgg16", True, 3, 16)])
def test_frozen_part_and_block_are_the_trunk_up_to_its_final_pooling(name, ends_in_pooling, learned, stride):
    trunk = load_backbone(name, False, **({"width": 0.25} if name == "small_vgg" else {})).trunk.eval()
    frozen, block = cut_trunk(trunk)
    images = _maps(2, 3, 64, 64)
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
        activations = frozen(_maps(2, 3, 64, 64))
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
    head = _net("v1", "relu", _start(channels=64))
    model, activations = Descriptor(block, head).eval(), _maps(2, 32, 6, 6)
    torch.testing.assert_close(model(activations), head(block(activations.clone())))
    assert model(activations).shape == (2, 3 * 64)


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm_that_is_frozen_normalises_in_training_as_in_mining(frozen):
    _, block = cut_trunk(load_backbone("small_vgg", False, width=0.25).trunk)
    torch.manual_seed(0)
    norm = next(layer for layer in block if isinstance(layer, nn.BatchNorm2d))
    nn.init.uniform_(norm.running_mean)
    model, activations = Descriptor(block, _net("v1", None, _start(channels=64)), frozen), _maps(6, 32, 6, 6)
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
