"""NetVLAD and its local weights (P2 Eq. 1–2) against loops over places, centres and channels, and hand-made maps."""

import math

import numpy as np
import pytest
import torch
from descriptor_heads import a_head, a_start, dot, some_maps, unit
from torch.func import functional_call

from shoplens.models.netvlad import (
    ASSIGNMENTS,
    ATTENTIONS,
    GlobalPooling,
    LocalWeights,
    NetVLAD,
    NetVLADInit,
    descriptors,
    initialise,
)

KINDS = (None, *ATTENTIONS)


def _weight_by_hand(net: NetVLAD, kind: str | None, direction: list[float], x: list[float], length: float) -> float:
    if kind is None:
        return 1.0
    if kind == "norm":
        return length
    if kind == "hidden":
        units = [max(0.0, dot(row, x)) for row in net.local.score[0].weight.tolist()]
        return max(0.0, dot(net.local.score[2].weight[0].tolist(), units))
    return 1 / (1 + math.exp(-dot(direction, x))) if kind == "sigmoid" else max(0.0, dot(direction, x))


def _by_hand(net: NetVLAD, start: NetVLADInit, assignment: str, kind: str | None, image: torch.Tensor) -> list[float]:
    """Eq. 2 of one image C×h×w, place by place; shares from the formula, not from the layer's weights."""
    centres, direction = start.centres.tolist(), start.direction.tolist()
    clusters, channels = len(centres), len(direction)
    total = [[0.0] * channels for _ in range(clusters)]
    for y in range(image.shape[1]):
        for z in range(image.shape[2]):
            raw = image[:, y, z].tolist()
            x = unit(raw)
            if assignment == "v1":
                powers = [math.exp(start.alpha * dot(unit(c), x)) for c in centres]
            else:
                powers = [math.exp(-start.alpha * sum((a - b)**2 for a, b in zip(x, c, strict=True))) for c in centres]
            w = _weight_by_hand(net, kind, direction, x, math.sqrt(dot(raw, raw)))
            for k in range(clusters):
                for c in range(channels):
                    total[k][c] += w * powers[k] / sum(powers) * (x[c] - centres[k][c])
    return unit([value for row in total for value in unit(row)])


# --- Eq. 1 and 2 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_equals_loops_over_places_centres_and_channels(assignment, kind):
    start, maps = a_start(), some_maps(3, 5, 2, 3)
    net = a_head(assignment, kind, start)
    if kind == "hidden":        # so that no layer is as it started
        with torch.no_grad():
            net.local.score[2].weight.copy_(torch.tensor([[1.0, 0.5]]))
    features = net(maps)
    assert features.shape == (3, net.features)
    for one, image in zip(features, maps, strict=True):
        assert one.tolist() == pytest.approx(_by_hand(net, start, assignment, kind, image), abs=1e-5)


def test_v2_shares_fall_with_the_squared_distance():
    start = a_start(clusters=4, alpha=3.0)
    x = descriptors(some_maps(2, 5, 3, 3))
    apart = (x[:, :, None] - start.centres).square().sum(dim=-1)
    torch.testing.assert_close(a_head("v2", start=start).assign(x).softmax(dim=-1), (-3.0 * apart).softmax(dim=-1))


def test_the_two_assignments_agree_on_centres_of_unit_length():
    # −α‖x − c‖² = 2α c·x − α(1 + ‖c‖²), and the last term is the same for all centres there.
    start = a_start()
    unit = start.centres / start.centres.norm(dim=1, keepdim=True)
    first, second = (a_head(assignment, start=NetVLADInit(unit, alpha, start.direction))
                     for assignment, alpha in (("v1", 4.0), ("v2", 2.0)))
    torch.testing.assert_close(first(some_maps(2, 5, 3, 3)), second(some_maps(2, 5, 3, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_unit_length_and_every_centre_counts_the_same(kind):
    features = a_head("v2", kind)(some_maps(4, 5, 3, 2)).unflatten(1, (3, 5))
    torch.testing.assert_close(features.flatten(1).norm(dim=1), torch.ones(4))
    torch.testing.assert_close(features.norm(dim=2), torch.full((4, 3), 1 / math.sqrt(3)))


def test_a_centre_without_a_residual_stays_zero():
    centres = torch.eye(3, 5)
    features = a_head(start=NetVLADInit(centres, 2.0, centres[0]))(5 * centres[0].view(1, 5, 1, 1)).unflatten(1, (3, 5))
    assert not features[0, 0].any()
    torch.testing.assert_close(features[0].norm(dim=1), torch.tensor([0.0, 0.5**0.5, 0.5**0.5]))


@pytest.mark.parametrize("kind", KINDS)
def test_any_size_of_map_and_any_order_of_places(kind):
    net, maps = a_head("v1", kind), some_maps(2, 5, 3, 4)
    for size in ((1, 1), (7, 2), (3, 4)):
        assert net(some_maps(2, 5, *size)).shape == (2, 15)
        assert net.local_weights(some_maps(2, 5, *size)).shape == (2, *size)
    places = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = maps.flatten(2)[:, :, places].unflatten(2, (4, 3))
    torch.testing.assert_close(net(shuffled), net(maps))
    torch.testing.assert_close(net(torch.cat([maps, maps], dim=3)), net(maps))     # twice the same sum


def test_64_centres_of_512_channels_are_32768_dimensions():
    net = a_head("v2", "relu", a_start(clusters=64, channels=512))
    assert net(some_maps(1, 512, 2, 3)).shape == (1, 32768)
    assert net.features == 32768


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_gradients_by_finite_differences(assignment, kind):
    net = a_head(assignment, kind).double()
    names, values = zip(*((name, p.detach().clone().requires_grad_()) for name, p in net.named_parameters()),
                        strict=True)
    maps = some_maps(2, 5, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda maps, *values: functional_call(net, dict(zip(names, values, strict=True)), (maps,)), (maps, *values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("fill", [0.0, 1e4, -1e4])
def test_an_empty_or_extreme_map_gives_no_nan(assignment, kind, fill):
    net, maps = a_head(assignment, kind), torch.full((2, 5, 3, 3), fill, requires_grad=True)
    features = net(maps)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    features[:, 0].sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


# --- local weights ------------------------------------------------------------------------------------------------


def test_weights_of_one_everywhere_are_the_global_feature():
    start, units = a_start(), descriptors(some_maps(2, 5, 3, 3)).transpose(1, 2).unflatten(2, (3, 3))
    plain = a_head(start=start)
    torch.testing.assert_close(a_head(kind="norm", start=start)(units), plain(units))
    # Every descriptor is the direction, whatever its length: its cosine is one.
    along = start.direction.view(1, 5, 1, 1) * some_maps(2, 1, 3, 3).abs()
    local = a_head(kind="relu", start=start)
    torch.testing.assert_close(local.local_weights(along), plain.local_weights(along))
    torch.testing.assert_close(local(along), plain(along))


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_a_factor_on_all_weights_changes_nothing(factor):
    maps, relu, norm = some_maps(2, 5, 3, 3), a_head(kind="relu"), a_head(kind="norm")
    before = relu(maps)
    with torch.no_grad():
        relu.local.score.weight.mul_(factor)
    torch.testing.assert_close(relu(maps), before)
    torch.testing.assert_close(norm(factor * maps), norm(maps))


@pytest.mark.parametrize("kind", ["relu", "hidden"])
def test_a_silent_image_is_taken_whole_and_its_neighbour_as_it_is(kind):
    start = a_start()
    net, plain, maps = a_head(kind=kind, start=start), a_head(start=start), some_maps(2, 5, 3, 3)
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
    assert start.direction.tolist() == pytest.approx(unit(mean), abs=1e-5)
    maps = some_maps(3, 5, 4, 4)
    w = a_head(kind="relu", start=start).local_weights(maps)
    cosines = torch.cosine_similarity(maps, start.direction.view(1, 5, 1, 1), dim=1)
    torch.testing.assert_close(w, cosines.clamp_min(0))
    assert (w >= 0).all()
    assert (w <= 1 + 1e-6).all()


def test_a_hidden_layer_starts_as_the_plain_one():
    start, maps = a_start(channels=16), some_maps(2, 16, 3, 3)
    relu, hidden = (a_head(kind=kind, start=start) for kind in ("relu", "hidden"))
    assert hidden.local.score[0].weight.shape == (4, 16)
    torch.testing.assert_close(hidden.local_weights(maps), relu.local_weights(maps))
    torch.testing.assert_close(hidden(maps), relu(maps))


@pytest.mark.parametrize("make", [lambda: initialise(np.eye(3), 2, assignment="v3"), lambda: a_head("v3"),
                                  lambda: a_head(kind="other"), lambda: LocalWeights(torch.ones(4), "softmax"),
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
    sample = descriptors(some_maps(1, 6, 10, 12))[0].numpy()
    start = initialise(sample, 5, assignment=assignment)
    centres, gaps = start.centres.tolist(), []
    for x in sample.tolist():
        if assignment == "v1":
            best, second = sorted((dot(unit(c), x) for c in centres), reverse=True)[:2]
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
    sample = descriptors(some_maps(1, 6, 5, 5))[0].numpy()
    start = initialise(sample, 1)
    np.testing.assert_allclose(start.centres[0].numpy(), sample.mean(axis=0), atol=1e-6)
    assert math.isfinite(start.alpha)


def test_the_seed_matters_where_there_are_no_clusters_and_nothing_else_does():
    noise = descriptors(some_maps(1, 6, 20, 20))[0].numpy()
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
