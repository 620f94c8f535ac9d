"""Which images a query learns from: rank-based candidate selection (P2 §3.3), whose losses are in `losses`.

Distances are squared L2 between unit vectors, in [0, 4], as in the code the paper built on; `squared=False` takes
the root. Equal distances rank by row number, so the same features give the same candidates on every machine.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Candidates:
    """The images one query learns from, as row numbers. positive: p' of Eq. 3. hard_negatives: those that violate its
    margin, nearest first. nearest_negative: n' of Eq. 4. ambiguous_positives: those that violate its margin, nearest
    first; empty where Eq. 4 is off. positive_rank: rank of p' among the positives, from 1."""

    query: int
    positive: int
    hard_negatives: np.ndarray
    nearest_negative: int
    ambiguous_positives: np.ndarray
    positive_rank: int


def ranked(distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Order that sorts by (distance, row)."""
    return np.lexsort((rows, distances))


def select(query: int, positives: np.ndarray, to_positives: np.ndarray, negatives: np.ndarray,
           to_negatives: np.ndarray, *, positive_rank: int = 1, hard_negatives: int = 10, ambiguous_positives: int = 0,
           margin: float = 0.1) -> Candidates:
    """Choose a query's candidates from ranked positives and (sampled) negatives.

    positives, negatives: row numbers; to_…: their distances to the query. positive_rank: p' is the r-th nearest
    positive (1 = the closest, P2's 20th = 20); a query with fewer has its last. hard_negatives: at most so many of
    the nearest negatives with D(q, n) < D(q, p') + margin. n' is the nearest negative. ambiguous_positives: at most
    so many of the nearest positives with D(q, p) + margin > D(q, n'), top-ranked violators first; 0 = Eq. 3 alone.
    Raises ValueError for a query without a positive or without a negative.
    """
    if not len(positives) or not len(negatives):
        raise ValueError(f"query {query} has {len(positives)} positives and {len(negatives)} negatives: it needs both")
    near_p, near_n = ranked(to_positives, positives), ranked(to_negatives, negatives)
    rank = min(positive_rank, len(positives))
    chosen = near_p[rank - 1]
    violating = near_n[to_negatives[near_n] < to_positives[chosen] + margin]
    closest = near_n[0]
    ambiguous = near_p[to_positives[near_p] + margin > to_negatives[closest]]
    return Candidates(query, int(positives[chosen]), negatives[violating[:hard_negatives]], int(negatives[closest]),
                      positives[ambiguous[:ambiguous_positives]], rank)


def triplets_of(candidates: list[Candidates]) -> tuple[np.ndarray, np.ndarray]:
    """All terms of Eq. 3 and Eq. 4 as triplets (query, positive, negative), row numbers T×3: (q, p', n) of every hard
    negative and (q, p, n') of every ambiguous positive; and T bools, which of them are Eq. 4's."""
    hard = [(c.query, c.positive, n) for c in candidates for n in c.hard_negatives]
    ambiguous = [(c.query, p, c.nearest_negative) for c in candidates for p in c.ambiguous_positives]
    return np.array(hard + ambiguous, np.int64).reshape(-1, 3), np.arange(len(hard) + len(ambiguous)) >= len(hard)


@dataclass
class Memory:
    """The hard negatives each query last had, so that the next mining looks at them again (Arandjelović et al.)."""

    hard: dict[int, np.ndarray] = field(default_factory=dict)

    def recall(self, query: int) -> np.ndarray:
        """Row numbers remembered for `query`, empty at first."""
        return self.hard.get(query, np.empty(0, np.int64))

    def keep(self, candidates: Candidates) -> None:
        """Remember what was found for its query, in place of what was remembered before."""
        self.hard[candidates.query] = np.asarray(candidates.hard_negatives, np.int64)


@dataclass(frozen=True)
class Mining:
    """Selects candidates for queries from cached features.

    items: int64 of all rows, the product each shows. gallery: rows that may be positives or negatives. sampled:
    negatives drawn at random per query, besides the remembered ones (P2: 1,000). The rest as in `select`.
    """

    items: np.ndarray
    gallery: np.ndarray
    sampled: int = 1000
    positive_rank: int = 1
    hard_negatives: int = 10
    ambiguous_positives: int = 0
    margin: float = 0.1
    squared: bool = True

    def mine(self, queries: np.ndarray, squared: np.ndarray, memory: Memory, seed: tuple[int, ...]) -> list[Candidates]:
        """Candidates of each query; `memory` is read and updated.

        squared: squared distances of cached features, float32 Q × gallery. seed: of the sampled negatives, with the
        query's row added, so a query's sample does not depend on its neighbours.
        """
        of_gallery, far = self.items[self.gallery], squared if self.squared else np.sqrt(np.maximum(squared, 0))
        return [self._one(int(query), own, of_gallery, memory, seed) for query, own in zip(queries, far, strict=True)]

    def _one(self, query: int, far: np.ndarray, of_gallery: np.ndarray, memory: Memory,
             seed: tuple[int, ...]) -> Candidates:
        same = of_gallery == self.items[query]
        positives = np.flatnonzero(same & (self.gallery != query))
        others = np.flatnonzero(~same)
        if self.sampled < len(others):
            drawn = np.random.default_rng((*seed, query)).choice(others, self.sampled, replace=False)
            remembered = np.flatnonzero(np.isin(self.gallery, memory.recall(query)) & ~same)
            others = np.union1d(drawn, remembered)
        candidates = select(query, self.gallery[positives], far[positives], self.gallery[others], far[others],
                            positive_rank=self.positive_rank, hard_negatives=self.hard_negatives,
                            ambiguous_positives=self.ambiguous_positives, margin=self.margin)
        memory.keep(candidates)
        return candidates


def refreshes(queries: int, epochs: int, interval: int = 1000, halve_every: int = 5) -> list[list[int]]:
    """For each epoch the query counts at which all features are extracted anew: 0, interval, 2·interval, …

    Every `halve_every` epochs the interval doubles, as the paper halves "re-computation frequency" (P2 §4.1): 5,780
    queries are refreshed 6 times per epoch, then 3 times; with fewer queries than the interval, once.
    """
    if min(queries, epochs, interval, halve_every) < 1:
        raise ValueError(f"all must be at least 1, got {(queries, epochs, interval, halve_every)}")
    return [list(range(0, queries, interval * 2 ** (epoch // halve_every))) for epoch in range(epochs)]
