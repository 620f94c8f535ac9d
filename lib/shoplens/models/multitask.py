"""Multitask classifiers: one public part, one private module per task, and their losses (P1 §3.4, Eq. 5–7)."""

import torch.nn.functional as F
from torch import Tensor, nn

from shoplens.models.backbones import Backbone


class AttributeBranch(nn.Module):
    """P1 §3.4's two-layer branch: a fully connected layer of Σm_i units, then one layer of m_i units per attribute.

    states: attribute → m_i. The paper names no activation between the two; ours is a ReLU.
    forward: B×features → attribute → logits B×m_i.
    """

    is_new = True

    def __init__(self, features: int, states: dict[str, int]):
        super().__init__()
        total = sum(states.values())
        self.shared = nn.Sequential(nn.Linear(features, total), nn.ReLU(inplace=True))
        self.own = nn.ModuleDict({name: nn.Linear(total, count) for name, count in states.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        shared = self.shared(features)
        return {name: layer(shared) for name, layer in self.own.items()}


class MultitaskClassifier(nn.Module):
    """MTL: one public part, one private module per task (P1 §3.4, Fig. 4).

    categories: layer of the hierarchy → number of classes. attributes: attribute → number of states m_i (without the
    0 of "not labelled"). branch: "two_layer" (the paper's AttributeBranch) or "parallel" (the ablation: each
    attribute a task with a private module of its own).
    forward: images B×3×H×W → name → logits, for every layer and attribute.
    """

    def __init__(self, backbone: Backbone, categories: dict[str, int], attributes: dict[str, int] | None = None,
                 branch: str = "two_layer"):
        super().__init__()
        attributes = attributes or {}
        if branch not in ("two_layer", "parallel"):
            raise ValueError(f"branch is 'two_layer' or 'parallel', got {branch!r}")
        if not categories or (clash := set(categories) & set(attributes)):
            raise ValueError("a multitask network needs a category task" if not categories else
                             f"{sorted(clash)} cannot be both a layer and an attribute")
        self.trunk, self.public_tail = backbone.trunk, backbone.public_tail
        alone = categories | (attributes if branch == "parallel" else {})
        self.private = nn.ModuleDict({name: backbone.make_private(count) for name, count in alone.items()})
        if attributes and branch == "two_layer":
            self.private["attribute branch"] = AttributeBranch(backbone.features, attributes)

    def features(self, images: Tensor) -> Tensor:
        """The public part's features of the images: B×features."""
        return self.public_tail(self.trunk(images))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features, outputs = self.features(images), {}
        for name, module in self.private.items():
            logits = module(features)
            outputs |= logits if isinstance(logits, dict) else {name: logits}
        return outputs


def attribute_loss(logits: Tensor, states: Tensor, smoothing: float = 0.0) -> Tensor:
    """Eq. 7's inner term, with Eq. 5's 1/N: cross-entropy of the labelled states, summed and divided by all N images.

    logits: N×m. states: N ints, 0 = not labelled (adds nothing, and no gradient), 1 … m. smoothing: of the labels.
    PyTorch's own mean would divide by the labelled images, and be NaN where there are none.
    """
    ignored = -1
    return F.cross_entropy(logits, states - 1, ignore_index=ignored, reduction="sum",
                           label_smoothing=smoothing) / len(states)


def multitask_loss(outputs: dict[str, Tensor], batch: dict[str, Tensor], categories: dict[str, float],
                   attributes: dict[str, float] | None = None,
                   smoothing: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 5: L = Σ λ_i L_i over category tasks, plus Σ γ_j L_j over attributes; and each task's own loss.

    outputs: name → logits N×m. batch: name → N labels (classes from 0; states from 1, 0 = not labelled).
    categories: layer → λ. attributes: attribute → γ, times the attribute task's λ, which P1 leaves at 1. smoothing:
    share of each label that is spread over all classes; the paper has none.
    """
    losses = {name: F.cross_entropy(outputs[name], batch[name], label_smoothing=smoothing) for name in categories}
    losses |= {name: attribute_loss(outputs[name], batch[name], smoothing) for name in attributes or {}}
    weights = categories | (attributes or {})
    return sum(weights[name] * loss for name, loss in losses.items()), losses
