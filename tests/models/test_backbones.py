"""Trunks: shapes and sizes as the papers state them, pretrained values as the files hold them, errors by name."""

import hashlib
import urllib.error

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from shoplens.data.images import decode, normalise
from shoplens.models.attention import attend
from shoplens.models.backbones import HALF, IMAGENET_MEAN, IMAGENET_STD, load_backbone
from shoplens.models.flat import FlatClassifier, parameter_groups
from shoplens.models.weights import WeightsError


def _count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def _shapes(backbone, side, outputs=7) -> tuple[tuple, tuple, tuple]:
    """Shapes of the map, of the public features and of the private output for two images."""
    with torch.no_grad():
        parts = backbone.trunk, backbone.public_tail, backbone.make_private(outputs)
        trunk, tail, private = (part.eval() for part in parts)
        mapped = trunk(torch.randn(2, 3, side, side))
        features = tail(mapped)
        return tuple(mapped.shape), tuple(features.shape), tuple(private(features).shape)


# --- small_vgg ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "channels"), [(1.0, (32, 64, 128, 256)), (0.5, (16, 32, 64, 128)),
                                                 (0.1, (8, 8, 12, 25))])
def test_small_vgg_shapes_and_sizes(width, channels):
    backbone = load_backbone("small_vgg", False, width=width)
    last = channels[-1]
    assert (backbone.channels, backbone.features) == (last, last)
    for side in (48, 64):
        assert _shapes(backbone, side) == ((2, last, side // 16, side // 16), (2, last), (2, 7))
    convolutions = sum(9 * c_in * c_out + 2 * c_out for c_in, c_out in zip((3, *channels), channels, strict=False))
    assert _count(backbone.trunk) == convolutions
    assert _count(backbone.public_tail) == last * last + last
    assert _count(backbone.make_private(7)) == last * last + last + 7 * last + 7


def test_small_vgg_starts_with_signals_that_neither_fade_nor_explode():
    torch.manual_seed(0)
    backbone = load_backbone("small_vgg", False)
    with torch.no_grad():
        features = backbone.public_tail(backbone.trunk(torch.randn(16, 3, 64, 64)))
    assert 0.1 < features.std() < 10


def test_dropout_acts_where_it_is_asked_for():
    torch.manual_seed(0)
    features = torch.rand(2, 256)
    for rate, same in ((0.0, True), (0.5, False)):
        private = load_backbone("small_vgg", False, dropout=rate).make_private(5)
        assert torch.equal(private(features), private(features)) is same
        private.eval()
        assert torch.equal(private(features), private(features))


def test_every_task_gets_a_private_module_of_its_own():
    for name in ("small_vgg", "squeezenet1_1"):
        backbone = load_backbone(name, False)
        one, other = backbone.make_private(3), backbone.make_private(3)
        assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in other.parameters()}


# --- SqueezeNet, VGG-16 and timm ----------------------------------------------------------------------------------


def test_squeezenet_has_the_map_the_papers_count_on():
    backbone = load_backbone("squeezenet1_1", False)
    assert _shapes(backbone, 224) == ((2, 512, 13, 13), (2, 512), (2, 7))
    assert (backbone.channels, backbone.features, backbone.weights) == (512, 512, {})


def test_vgg16_is_cut_as_p1_section_3_4_says(monkeypatch):
    made, create = [], torchvision.models.vgg16
    monkeypatch.setattr(torchvision.models, "vgg16", lambda: made.append(create()) or made[-1])
    backbone = load_backbone("vgg16", False)
    one, other = backbone.make_private(1000), backbone.make_private(1000)

    # Simonyan and Zisserman's configuration D: 138,357,544 parameters in all.
    plan = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    convolutions = sum(9 * c_in * c_out + c_out for c_in, c_out in zip(plan, plan[1:], strict=False))
    fc6, fc7, fc8 = 512 * 7 * 7 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 1000 + 1000
    assert convolutions + fc6 + fc7 + fc8 == 138_357_544
    assert sum(isinstance(m, nn.Conv2d) for m in backbone.trunk.modules()) == 13
    assert _count(backbone.trunk) == convolutions
    assert _count(backbone.public_tail) == fc6
    assert _count(one) == fc7 + fc8

    # Every task starts from the same fc7, then goes its own way; fc8 is new.
    (fc7_one, fc8_one), (fc7_other, fc8_other) = ([m for m in p if isinstance(m, nn.Linear)] for p in (one, other))
    assert torch.equal(fc7_one.weight, fc7_other.weight)
    assert fc7_one.weight.data_ptr() != fc7_other.weight.data_ptr()
    assert not torch.equal(fc8_one.weight, fc8_other.weight)

    with torch.no_grad():
        images = torch.randn(1, 3, 224, 224)
        pool5 = backbone.trunk.eval()(images)
        assert pool5.shape == (1, 512, 7, 7)
        features = backbone.public_tail.eval()(pool5)
        assert features.shape == (1, 4096)
        # torchvision's own way through the same layers up to fc7.
        fc7_by_torchvision = made[0].eval().classifier[:5](pool5.flatten(1))
        torch.testing.assert_close(one.eval()[:2](features), fc7_by_torchvision, atol=1e-4, rtol=1e-4)
    assert (backbone.channels, backbone.features) == (512, 4096)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv3_small_050"])
def test_layers_in_the_places_of_fc6_and_fc7_pass_on_what_they_get(name):
    """Without pretrained weights of their own they must not spoil the trunk's: private logits are fc8's of the average
    over places, cut at zero."""
    backbone = load_backbone(name, False)
    private = backbone.make_private(7)
    with torch.no_grad():
        mapped = backbone.trunk.eval()(torch.randn(2, 3, 96, 96))
        pooled = mapped.mean((2, 3)).relu()
        torch.testing.assert_close(backbone.public_tail(mapped), pooled)
        torch.testing.assert_close(private.eval()(pooled), private[-1](pooled))


def test_any_convolutional_timm_model_by_name():
    backbone = load_backbone("mobilenetv3_small_050", False)
    assert all(module.training for module in backbone.trunk.modules())
    net = timm.create_model("mobilenetv3_small_050")
    mapped, features, private = _shapes(backbone, 96)
    assert backbone.channels == backbone.features == net.num_features
    assert (mapped, features, private) == ((2, net.num_features, 3, 3), (2, net.num_features), (2, 7))
    assert (backbone.mean, backbone.std) == (net.pretrained_cfg["mean"], net.pretrained_cfg["std"])


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mambaout_femto"])
def test_models_without_a_map_in_the_usual_order_are_refused(name):
    # The first gives tokens; the second a map with channels last, which would pass for one of 7 channels.
    with pytest.raises(ValueError, match=rf"{name}.*choose"):
        load_backbone(name, False)


def test_an_unknown_name_is_answered_with_names_that_are_close():
    with pytest.raises(ValueError, match=r"'resnet_18'.*small_vgg.*resnet"):
        load_backbone("resnet_18", False)


# --- pretrained weights -------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty folder of weights and downloads that fail at once."""
    def fail(*arguments, **keywords):
        raise urllib.error.URLError("no route to host")
    monkeypatch.setenv("STUDY_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "urlopen", fail)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    return tmp_path


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv3_small_050"])
def test_absent_weights_are_an_error_not_a_fallback(no_network, name):
    with pytest.raises(WeightsError) as error:
        load_backbone(name, True)
    for part in (f"{name}_imagenet.safetensors", str(no_network), "STUDY_WEIGHTS", "PRETRAINED = False"):
        assert part in str(error.value)


def test_small_vgg_has_no_pretrained_weights():
    with pytest.raises(WeightsError, match="PRETRAINED = False"):
        load_backbone("small_vgg", True)


def _sha256(file) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _assert_holds(module: nn.Module, state: dict[str, torch.Tensor], prefix: str = "") -> None:
    own = module.state_dict()
    assert own
    for name in own.keys() - {n for n in own if n.endswith("num_batches_tracked")}:
        torch.testing.assert_close(own[name].float(), state[prefix + name].float(), atol=0, rtol=0)


def test_weights_of_a_timm_model_from_the_hub_and_from_a_file(no_network, monkeypatch):
    torch.manual_seed(1)
    net = timm.create_model("mobilenetv3_small_050", num_classes=1000)
    asked, file = [], no_network / "model.safetensors"
    save_file(net.state_dict(), file)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a: asked.append(a) or str(file))
    from_hub = load_backbone("mobilenetv3_small_050", True)
    assert asked == [("timm/mobilenetv3_small_050.lamb_in1k", "model.safetensors")]
    _assert_holds(from_hub.trunk.net, net.state_dict())
    assert from_hub.weights == {"tag": "timm mobilenetv3_small_050.lamb_in1k", "file": "model.safetensors",
                                "sha256": _sha256(file)}

    file.rename(no_network / "mobilenetv3_small_050.safetensors")
    from_file = load_backbone("mobilenetv3_small_050", True)
    assert len(asked) == 1      # the file at hand comes first
    _assert_holds(from_file.trunk.net, net.state_dict())
    assert from_file.weights["file"] == "mobilenetv3_small_050.safetensors"


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2_100"])
def test_pretrained_values_are_those_of_the_file(study_weights, monkeypatch, name):
    monkeypatch.setenv("STUDY_WEIGHTS", str(study_weights))
    file = study_weights / f"{name}_imagenet.safetensors"
    backbone = load_backbone(name, True)
    if name == "squeezenet1_1":
        _assert_holds(backbone.trunk, load_file(file), "features.")
    else:
        _assert_holds(backbone.trunk.net, load_file(file))
        # These weights were made for TensorFlow's padding, which puts the odd pixel right and below.
        net = timm.create_model(name, pretrained=True, pad_type="same", pretrained_cfg_overlay={"file": str(file)})
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(backbone.trunk.eval()(images), net.eval().forward_features(images))
    assert backbone.weights["file"] == file.name
    assert backbone.weights["sha256"] == _sha256(file)
    assert all(p.dtype == torch.float32 for p in backbone.trunk.parameters())


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenetv2_100"])
def test_imagenet_labels_of_real_photographs(study_weights, study_data, monkeypatch, name):
    """Proves preparation (mean, std, channel order): with its own ImageNet classifier on top, the trunk calls fruit
    by its name, and is surer of it than under another preparation."""
    monkeypatch.setenv("STUDY_WEIGHTS", str(study_weights))
    backbone = load_backbone(name, True)
    state = {k: v.float() for k, v in load_file(study_weights / f"{name}_imagenet.safetensors").items()}
    categories = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
    photos, labels = [], []
    for fruit in ("Banana", "Lemon", "Orange"):
        files = sorted((study_data / "GroceryStoreDataset/dataset/test/Fruit" / fruit).glob("*.jpg"))[:3]
        photos += [torch.tensor(decode(file, 224)).permute(2, 0, 1) for file in files]
        labels += [categories.index(fruit.lower())] * len(files)
    photos, labels = torch.stack(photos), torch.tensor(labels)

    @torch.no_grad()
    def logits(images, mean, std):
        mapped = backbone.trunk.eval()(normalise(images, mean, std))
        if name == "squeezenet1_1":     # its classifier is a convolution, averaged afterwards
            scores = nn.functional.conv2d(mapped, state["classifier.1.weight"], state["classifier.1.bias"])
            return scores.relu().mean((2, 3))
        return mapped.mean((2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]

    right = logits(photos, backbone.mean, backbone.std)
    assert (right.topk(5).indices == labels[:, None]).any(dim=1).sum() >= 8
    loss = nn.functional.cross_entropy(right, labels)
    other = (HALF, HALF) if name == "squeezenet1_1" else (IMAGENET_MEAN, IMAGENET_STD)
    assert loss < nn.functional.cross_entropy(logits(photos, *other), labels)
    assert loss < nn.functional.cross_entropy(logits(photos.flip(1), backbone.mean, backbone.std), labels)


# --- bCNN ---------------------------------------------------------------------------------------------------------


def test_flat_classifier_puts_the_parts_in_a_row():
    backbone = load_backbone("small_vgg", False, width=0.25)
    model = FlatClassifier(backbone, 6).eval()
    images = torch.randn(3, 3, 48, 48)
    with torch.no_grad():
        assert model.features(images).shape == (3, backbone.features)
        assert model(images).shape == (3, 6)
        expected = model.private(backbone.public_tail(backbone.trunk(images)))
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("count", [0, 1])
def test_one_class_is_no_classification(count):
    with pytest.raises(ValueError, match=f"at least two classes, got {count}"):
        FlatClassifier(load_backbone("small_vgg", False, width=0.25), count)


def test_parameter_groups_hold_every_parameter_once_at_its_rate():
    model = FlatClassifier(load_backbone("small_vgg", False, width=0.25), 6)
    groups = parameter_groups(model, 0.01, new_factor=10)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rate[id(parameter)] == pytest.approx(0.1 if name.startswith("private.") else 0.01), name


def test_layers_without_pretrained_weights_learn_at_the_new_rate():
    """VGG-16's fc6 and fc7 are old; where no weights reach a layer in their places, and in attention, it is new."""
    def fresh(backbone) -> set[str]:
        model = FlatClassifier(attend(backbone, 96), 6)
        _, new = parameter_groups(model, 0.01, new_factor=10)
        known = {id(p) for p in new["params"]}
        return {name.rpartition(".")[0] for name, p in model.named_parameters() if id(p) in known}

    attention = "trunk.attention.score"
    assert fresh(load_backbone("vgg16", False)) == {"private.3", attention}
    assert fresh(load_backbone("squeezenet1_1", False)) == {"public_tail.2", "private.0", "private.3", attention}
