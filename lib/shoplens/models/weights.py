"""Where pretrained weights lie, and whether a file of them is the one known by its name."""

from collections.abc import Callable
from pathlib import Path

from shoplens import paths
from shoplens.sealed import file_hash

# The files of this study's accepted results, which a flipped bit would spoil unseen.
SHA256 = {
    "mobilenetv2_100_imagenet.safetensors": "c9e9e029038f039ba5489c3d9b6741aa0997ce2b3da7de5dbecdb113977fa894",
    "squeezenet1_1_imagenet.safetensors": "96a4b662bedd50905054b1e43e048305ea292e69541106a7dcd14a2c129d4e08",
}
TORCHVISION = {"squeezenet1_1": "SqueezeNet1_1_Weights", "vgg16": "VGG16_Weights"}


class WeightsError(RuntimeError):
    """Pretrained weights were asked for and cannot be had."""


def find(name: str) -> Path:
    """File with the pretrained weights of a network: in `$STUDY_WEIGHTS` (`<name>_imagenet.safetensors` or
    `<name>.safetensors`), else downloaded, once, from torchvision or timm's hub.

    torchvision's file names carry a hash that is checked, so they are one revision for ever. WeightsError with the ways
    out where the weights cannot be had, or are damaged; ValueError for a name that nobody knows.
    """
    if name == "small_vgg":
        raise WeightsError("small_vgg has no pretrained weights: set PRETRAINED = False or choose another BACKBONE")
    if file := local_file(name):
        return file
    download = _of_torchvision if name in TORCHVISION else _of_timm(name)
    try:
        return download(name)
    except Exception as error:      # the hub's clients raise a dozen kinds when there is no network
        raise WeightsError(
            f"pretrained weights of {name!r} are neither in {paths.weights_dir()} ({name}_imagenet.safetensors) nor "
            f"to be downloaded ({type(error).__name__}). Put the file there, or point STUDY_WEIGHTS to its folder, or "
            f"set PRETRAINED = False.") from error


def local_file(name: str) -> Path | None:
    """The file of a network's weights in `$STUDY_WEIGHTS`, None where there is none; WeightsError for a damaged one."""
    for file in (f"{name}_imagenet.safetensors", f"{name}.safetensors"):
        if (path := paths.weights_dir() / file).is_file():
            _check(path)
            return path
    return None


def _check(file: Path) -> None:
    """WeightsError where a file of weights is damaged, or not the one known by its name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            opened.keys()
    except SafetensorError as error:
        raise WeightsError(f"{file} is damaged ({error}): copy it anew, or remove it to have the weights downloaded"
                           ) from None
    if file.name in SHA256 and file_hash(file) != SHA256[file.name]:
        raise WeightsError(f"{file} is not the file known by that name (its SHA-256 is not {SHA256[file.name][:12]}…): "
                           f"copy it anew, or call other weights {file.name.replace('_imagenet', '')}")


def _of_torchvision(name: str) -> Path:
    import torch
    import torchvision

    tag = getattr(torchvision.models, TORCHVISION[name]).IMAGENET1K_V1
    tag.get_state_dict(progress=False, check_hash=True)
    return Path(torch.hub.get_dir()) / "checkpoints" / tag.url.rsplit("/", 1)[1]


def _of_timm(name: str) -> Callable[[str], Path]:
    """How to download what timm calls `name`; ValueError where it knows none."""
    import timm
    from huggingface_hub import hf_hub_download

    if not timm.is_model(name):
        raise ValueError(f"BACKBONE {name!r} is neither small_vgg, {', '.join(TORCHVISION)} nor a model of timm; close "
                         f"names: {timm.list_models('*' + name.split('.')[0][:6] + '*')[:8]}")
    tag = timm.create_model(name, pretrained=False, num_classes=0).pretrained_cfg
    return lambda _: Path(hf_hub_download(tag["hf_hub_id"], "model.safetensors"))
