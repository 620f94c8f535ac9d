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


def ranking_loss(features: Tensor, candidates: list[dict], margin: float = 0.1,
                 squared: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 3 + Eq. 4 of a batch of queries, and logs: triplets per query, the share of them that violate the margin
    under the weights as they are now, and the two parts of the loss.

    The sum is divided by the number of violating triplets, as in the code the paper builds on: candidates were mined
    with older features, and those that are in order by now would only dilute the step. features: U×D of the batch's
    images. candidates: positions in them, as `QueryBatches` gives them. Where nothing violates the loss is 0.
    """
    negatives, positives = [features.new_zeros(0)], [features.new_zeros(0)]
    for c in candidates:
        query = features[c["query"]]
        negatives.append(hard_negative_terms(query, features[c["positive"]], features[c["hard_negatives"]], margin,
                                             squared))
        positives.append(ambiguous_positive_terms(query, features[c["ambiguous_positives"]],
                                                  features[c["nearest_negative"]], margin, squared))
    negatives, positives = torch.cat(negatives), torch.cat(positives)
    triplets = len(negatives) + len(positives)
    violating = (negatives > 0).sum() + (positives > 0).sum()
    divisor = violating.clamp_min(1)
    loss = (negatives.sum() + positives.sum() + features.sum() * 0.0) / divisor     # the last: a graph in any case
    return loss, {"triplets": torch.tensor(triplets / len(candidates)), "violating": violating / max(triplets, 1),
                  "negative_loss": negatives.sum() / divisor, "positive_loss": positives.sum() / divisor}
