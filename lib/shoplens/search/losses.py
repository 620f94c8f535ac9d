"""The two losses of rank-based learning, and the batch loss made of them (P2 §3.3, Eq. 3–4).

Distances are squared L2 between unit vectors, in [0, 4], as in the code the paper built on; `squared=False` takes
the root.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def distance(a: Tensor, b: Tensor, squared: bool = True) -> Tensor:
    """Squared L2 distance over the last axis, or L2 where not `squared`; … ×D and … ×D → …"""
    total = (a - b).square().sum(dim=-1)
    return total if squared else total.clamp_min(1e-12).sqrt()


def hard_negative_terms(query: Tensor, positive: Tensor, negatives: Tensor, margin: float = 0.1,
                        squared: bool = True) -> Tensor:
    """Terms of Eq. 3 of one query, max(0, D(q, p') + margin − D(q, n)), one per negative.

    query, positive: D. negatives: M×D → M, and M may be 0.
    """
    return F.relu(distance(query, positive, squared) + margin - distance(query, negatives, squared))


def ambiguous_positive_terms(query: Tensor, positives: Tensor, negative: Tensor, margin: float = 0.1,
                             squared: bool = True) -> Tensor:
    """Terms of Eq. 4 of one query, max(0, D(q, p) + margin − D(q, n')), one per positive.

    query, negative: D. positives: M×D → M, and M may be 0.
    """
    return F.relu(distance(query, positives, squared) + margin - distance(query, negative, squared))


def all_distances(features: Tensor, squared: bool = True) -> Tensor:
    """Distances between all pairs from one matrix product, in float32 or better whatever the precision of training: U×D
    → U×U. Squared, or their roots."""
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        products = features @ features.T
    lengths = products.diagonal()
    total = lengths[:, None] + lengths[None] - 2 * products
    return total if squared else total.clamp_min(1e-12).sqrt()


def ranking_loss(features: Tensor, triplets: Tensor, ambiguous: Tensor, queries: int, margin: float = 0.1,
                 squared: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 3 + Eq. 4 of a batch of queries, and logs: triplets per query, the share of them that violate the margin
    under the weights as they are now, and the two parts of the loss.

    The sum is divided by the number of violating triplets, as in the code the paper builds on: candidates were mined
    with older features, and those that are in order by now would only dilute the step. features: U×D of the batch's
    images. triplets: positions in them, int64 T×3 (query, positive, negative). ambiguous: T bools, those of Eq. 4 (see
    `mining.triplets_of`). queries: how many they belong to. Where nothing violates the loss is 0.
    """
    far = all_distances(features, squared)
    query, positive, negative = triplets.T
    terms = F.relu(far[query, positive] + margin - far[query, negative])
    divisor = (terms > 0).sum().clamp_min(1)
    eq4 = (terms * ambiguous).sum() / divisor
    loss = terms.sum() / divisor + features.sum() * 0.0     # the last: a graph in any case
    return loss, {"triplets": torch.tensor(len(terms) / queries), "violating": (terms > 0).sum() / max(len(terms), 1),
                  "negative_loss": (terms * ~ambiguous).sum() / divisor, "positive_loss": eq4}
