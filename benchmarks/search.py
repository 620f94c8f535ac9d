"""How search scales and learning by rank speeds up, beside what one would write first: part of `make bench`."""

import copy

import numpy as np
import torch

from benchmarks.measure import alone, peak_gib, timed
from shoplens.data.images import ImageStore, normalise
from shoplens.search.activations import Activations, extract, features_of
from shoplens.search.losses import ambiguous_positive_terms, hard_negative_terms, ranking_loss
from shoplens.search.mining import Memory, Mining, select
from shoplens.search.nearest import Chunks, build_index, recall, search_exact, search_index
from shoplens.search.query_batches import QueryBatches

PAPER_IMAGES, PAPER_DIMENSIONS = 3_195_334, 32_768      # P2 Tables 2 and 5: AlibabaM (testing) + 3M


def synthetic_features(count: int, dimensions: int, chunk: int = 65536, topics: int = 2000, seed: int = 0) -> Chunks:
    """(ids, features): unit vectors around topic centres, drawn chunk by chunk, the same whatever was drawn before."""
    centres = np.random.default_rng(seed).normal(size=(topics, dimensions)).astype(np.float32)
    for start in range(0, count, chunk):
        rng = np.random.default_rng((seed, start))
        size = min(chunk, count - start)
        features = centres[rng.integers(0, topics, size)] + rng.normal(size=(size, dimensions)).astype(np.float32)
        yield np.arange(start, start + size), features / np.linalg.norm(features, axis=1, keepdims=True)


def bench_index(count: int = 1_000_000, dimensions: int = 256, queries: int = 200, k: int = 20,
                factory: str = "IVF4096,SQ8", probes: int = 32) -> dict[str, dict[str, float]]:
    """{"exact, streamed": …, "approximate": …}: milliseconds per query, peak memory in GiB, and for the approximate
    index seconds to build and recall. Each side runs alone in a fresh process and never holds all features.
    """
    exact, ids = alone(_time_exact, count, dimensions, queries, k)
    approximate, found = alone(_time_index, count, dimensions, queries, k, factory, probes)
    return {"exact, streamed": exact | {"recall": recall(ids, ids)},
            "approximate": approximate | {"recall": recall(found, ids)}}


def _query_features(queries, dimensions):
    return next(iter(synthetic_features(queries, dimensions, seed=0, chunk=queries)))[1]


def _time_exact(count, dimensions, queries, k):
    features, chunks, drawing = _query_features(queries, dimensions), synthetic_features(count, dimensions), []

    def draw():                             # drawing the features is not searching
        spent, chunk = timed(lambda: next(chunks, None))
        drawing.append(spent)
        return chunk

    spent, (_, ids) = timed(lambda: search_exact(features, iter(draw, None), k))
    return {"milliseconds": 1000 * (spent - sum(drawing)) / queries, "build_seconds": 0.0, "peak_gib": peak_gib()}, ids


def _time_index(count, dimensions, queries, k, factory, probes):
    def build():
        sample = np.concatenate([chunk for _, chunk in synthetic_features(min(count, 200_000), dimensions)])
        return build_index(sample, synthetic_features(count, dimensions), factory)

    features = _query_features(queries, dimensions)
    built, index = timed(build)
    spent, (_, ids) = timed(lambda: search_index(index, features, k, probes))
    return {"milliseconds": 1000 * spent / queries, "build_seconds": built, "peak_gib": peak_gib()}, ids


def on_paper(gflops: float, rate: float | None = None) -> str:
    """What P2's largest search takes, by arithmetic: nothing of it is run here. gflops: GFLOP/s of a matrix product
    on this machine; rate: images per second it turns into such features, None: not known."""
    whole, half, small = (PAPER_IMAGES * size / 2**30 for size in (PAPER_DIMENSIONS * 4, PAPER_DIMENSIONS * 2, 256))
    work = 2 * PAPER_IMAGES * PAPER_DIMENSIONS / 1e9                    # a product and a sum for every number
    text = (f"{PAPER_IMAGES:,} features of {PAPER_DIMENSIONS:,} numbers, on paper: {whole:,.0f} GiB in float32, "
            f"{half:,.0f} in float16, read once a batch of queries; {work:,.0f} GFLOP a query, {work / gflops:,.2f} s "
            f"at this machine's ceiling; whitened to 256 numbers of one byte {small:.1f} GiB, which a laptop holds")
    hours = "" if rate is None else f"; {PAPER_IMAGES / rate / 3600:,.1f} h to compute from pixels at the rate above"
    return text + hours


def bench_mining(images: int = 5000, products: int = 200, dimensions: int = 1024,
                 queries: int = 200) -> dict[str, float]:
    """Seconds to mine candidates for the queries: ours, and a plain loop that does the same query by query."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, products, images)
    features = rng.normal(size=(images, dimensions)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    sampled = min(1000, images // 2)
    mining = Mining(items, np.arange(images), sampled, positive_rank=20, ambiguous_positives=10)

    def plain_loop():
        for query in range(queries):
            squared = np.array([np.sum((features[query] - other) ** 2) for other in features])
            positives = np.flatnonzero((items == items[query]) & (np.arange(images) != query))
            others = np.random.default_rng((0, query)).choice(np.flatnonzero(items != items[query]), sampled,
                                                              replace=False)
            select(query, positives, squared[positives], others, squared[others], positive_rank=20,
                   ambiguous_positives=10)

    return {"ours": timed(lambda: mining.mine(np.arange(queries), 2 - 2 * features[:queries] @ features.T, Memory(),
                                              (0,)))[0], "plain loop": timed(plain_loop)[0]}


class Recomputed:
    """Activations of the frozen part, computed whenever they are asked for: what stored ones replace."""

    def __init__(self, frozen: torch.nn.Module, store: ImageStore, mean, std):
        self.frozen, self.store, self.mean, self.std = frozen.eval(), store, mean, std

    def __len__(self):
        return len(self.store)

    @torch.no_grad()
    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        device = next(self.frozen.parameters()).device
        parts = np.array_split(rows, -(-len(rows) // 64))
        return np.concatenate([self.frozen(normalise(self.store.images(part).to(device), self.mean, self.std))
                               .cpu().numpy() for part in parts])


def stepping(model: torch.nn.Module, losses) -> int:
    """Train a model on an iterable of functions, each of which computes a loss; how many there were."""
    optimizer, count = torch.optim.SGD(model.parameters(), 1e-4), 0
    model.train()
    for loss in losses:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        count += 1
    return count


def plain_epoch(model: torch.nn.Module, maps, queries: np.ndarray, mining: Mining, interval: int) -> int:
    """An epoch of learning by rank as one writes it first: features of the whole gallery kept from one mining to the
    next, activations copied from where they lie, terms of the loss query by query. Steps taken."""
    device, memory = next(model.parameters()).device, Memory()
    order = np.random.default_rng((0, 0)).permutation(queries)

    def losses():
        for start in range(0, len(order), interval):
            asked = order[start:start + interval]
            features = features_of(model.eval(), maps, np.union1d(asked, mining.gallery))
            found = mining.mine(asked, 2 - 2 * features[asked] @ features[mining.gallery].T, memory, (0, 0, start))
            model.train()
            for group in np.array_split(np.arange(len(found)), -(-len(found) // 4)):
                yield lambda group=group, found=found: batch_loss([found[i] for i in group])

    def batch_loss(mine):
        rows = np.unique(np.concatenate([np.r_[c.query, c.positive, c.nearest_negative, c.hard_negatives,
                                               c.ambiguous_positives] for c in mine]))
        features, terms = model(torch.as_tensor(maps[rows]).to(device)), []
        of = {row: features[place] for place, row in enumerate(rows)}
        for c in mine:
            terms += [hard_negative_terms(of[c.query], of[c.positive], of[n][None]) for n in c.hard_negatives]
            terms += [ambiguous_positive_terms(of[c.query], of[p][None], of[c.nearest_negative])
                      for p in c.ambiguous_positives]
        terms = torch.cat([features.sum()[None] * 0, *terms])
        return terms.sum() / (terms > 0).sum().clamp_min(1)

    return stepping(model, losses())


def our_epoch(model: torch.nn.Module, maps, queries: np.ndarray, mining: Mining, interval: int,
              store: ImageStore) -> int:
    """The same epoch as notebook 09 trains it. Steps taken."""
    data = QueryBatches(model, maps, queries, mining, 4, store, interval)
    device = next(model.parameters()).device
    return stepping(model, ((lambda b=b: ranking_loss(model(b["activations"]), b["triplets"], b["ambiguous"],
                                                      len(b["indices"]))[0]) for b in data.epoch(0, device)))


def bench_epoch(frozen: torch.nn.Module, model: torch.nn.Module, store: ImageStore, items: np.ndarray,
                queries: np.ndarray, gallery: np.ndarray, mean, std, interval: int = 32) -> dict[str, float]:
    """Steps per second of one epoch of learning by rank (extraction, mining and training; ten ambiguous positives) over
    `queries`, four a step: as notebook 09 trains, as one would write it first, and through the whole network each time;
    the same epoch, triplet by triplet. "describing": images per second from pixels to features.
    """
    through, rows = Recomputed(frozen, store, mean, std), np.arange(len(store))
    mining = Mining(items, gallery, 1000, positive_rank=20, ambiguous_positives=10)
    model.to(memory_format=torch.channels_last)     # as `training.fit` has it
    storing, stored = timed(lambda: through[rows])
    describing, _ = timed(lambda: extract(model.eval(), stored, rows))
    device = next(model.parameters()).device
    half = torch.from_numpy(stored).permute(0, 2, 3, 1).contiguous().half()
    resident = Activations(half.to(device), rows)

    def rate(epoch, *arguments):
        spent, steps = timed(lambda: epoch(copy.deepcopy(model), *arguments))
        return steps / spent

    return {"describing": len(store) / (storing + describing),
            "notebook 09": rate(our_epoch, resident, queries, mining, interval, store),
            "as written first": rate(plain_epoch, stored, queries, mining, interval),
            "whole network each time": rate(our_epoch, through, queries, mining, interval, store)}
