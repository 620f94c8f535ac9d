"""The flat classifier of P1, put together from a backbone's parts, and the learning rates of those parts."""

from torch import Tensor, nn

from shoplens.models.backbones import Backbone


class FlatClassifier(nn.Module):
    """bCNN: one network, one layer of the hierarchy, every class against all others (P1 §4.2 (1)).

    forward: images float32 B×3×H×W → logits B×num_classes (un-normalised scores).
    """

    def __init__(self, backbone: Backbone, num_classes: int):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"classification needs at least two classes, got {num_classes}")
        self.trunk, self.public_tail = backbone.trunk, backbone.public_tail
        self.private = backbone.make_private(num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The public part's features of the images: B×features."""
        return self.public_tail(self.trunk(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.private(self.features(images))


def parameter_groups(model: nn.Module, learning_rate: float, new_factor: float = 1.0) -> list[dict]:
    """SGD groups: what came with the backbone at `learning_rate`, layers that start from scratch (they carry `is_new`:
    fc8, the attention, attributes, and fc6 and fc7 where no pretrained weights reach them) at `new_factor` times that.

    Raising the rate of layers that start from scratch is Caffe's custom when fine-tuning; P1 does not say.
    """
    fresh = [module for module in model.modules() if getattr(module, "is_new", False)]
    new = {id(p): p for module in fresh for p in module.parameters()}
    old = [p for p in model.parameters() if id(p) not in new]
    return [{"params": old, "lr": learning_rate}, {"params": list(new.values()), "lr": learning_rate * new_factor}]
