"""Losses of metric learning at large, from a library, put where P2's stand: one network, its features and its loss
together (the question P2 §5.4 leaves open: is it the loss or the choice of candidates?)."""

import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

CLASSES, SUPCON, ARCFACE, TRIPLET = LOSSES = ("classes", "supcon", "arcface", "triplet")
OVER_CLASSES = (CLASSES, ARCFACE)       # they learn a direction of each training product, no pairs


class Projection(nn.Module):
    """A linear layer, then unit length: B×C → B×D. It starts as an orthogonal projection (all distances, or those
    inside a random subspace, are kept), so that learning starts from about the features it is given."""

    def __init__(self, channels: int, dimensions: int):
        super().__init__()
        self.linear = nn.Linear(channels, dimensions)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        return F.normalize(self.linear(pooled), dim=1)


def make_loss(kind: str, products: int, dimensions: int, *, temperature: float = 0.1,
              margin: float = 0.2) -> tuple[nn.Module, nn.Module | None]:
    """A loss over features of unit length, and the miner that picks its triplets inside a batch, None where it takes
    all pairs. kind: "classes" (softmax over the training products' directions; Zhai and Wu, 2019), "supcon" (supervised
    contrastive; Khosla et al., 2020), "arcface" (the same softmax with a margin in the angle; Deng et al., 2019) or
    "triplet" (batch-hard; Hermans et al., 2017). products, dimensions: of the directions that the first and third
    learn. temperature: of supcon. margin: of triplets, in plain distance. ValueError for another kind.
    """
    if kind == CLASSES:
        return losses.NormalizedSoftmaxLoss(products, dimensions), None
    if kind == ARCFACE:
        return losses.ArcFaceLoss(products, dimensions), None
    if kind == SUPCON:
        return losses.SupConLoss(temperature), None
    if kind == TRIPLET:
        return losses.TripletMarginLoss(margin), miners.BatchHardMiner()
    raise ValueError(f"loss is one of {LOSSES}, got {kind!r}")


class Learner(nn.Module):
    """A descriptor with its loss, which may have weights of its own: they are trained together.

    forward(activations) → features B×D, as search wants them; forward(activations, labels) → the loss of a batch, a
    scalar; with triplets, int64 T×3 (query, positive, negative as positions in the batch; see `mining.triplets_of`),
    of those alone: a loss over pairs takes (query, positive) and (query, negative) of each. ValueError for triplets
    with a loss that knows no pairs.
    """

    def __init__(self, descriptor: nn.Module, loss: nn.Module, miner: nn.Module | None = None):
        super().__init__()
        self.descriptor, self.loss, self.miner = descriptor, loss, miner

    def forward(self, activations: Tensor, labels: Tensor | None = None, triplets: Tensor | None = None) -> Tensor:
        features = self.descriptor(activations)
        if labels is None:
            return features
        with torch.autocast(features.device.type, enabled=False):
            features, chosen = features.float(), None
            if triplets is not None:
                if isinstance(self.loss, losses.NormalizedSoftmaxLoss | losses.ArcFaceLoss):
                    raise ValueError(f"a loss over {' or '.join(OVER_CLASSES)} takes no candidates: POSITIVE_RANK = 0")
                chosen = tuple(triplets.T)
            elif self.miner is not None:
                chosen = self.miner(features, labels)
            return self.loss(features, labels, chosen)
