"""How search scales and learning by rank speeds up, beside what one would write first: part of `make bench`."""

import multiprocessing
import time

import numpy as np
import torch

from shoplens.bench_mcr import peak_gib
from shoplens.candidates import Memory, Mining, select
from shoplens.search import Chunks, build_index, recall, search_exact, search_index

PAPER_IMAGES, PAPER_DIMENSIONS = 3_195_334, 32_768      # P2 Tables 2 and 5: AlibabaM (testing) + 3M


def synthetic_features(count: int, dimensions: int, chunk: int = 65536, topics: int = 2000, seed: int = 0) -> Chunks:
    """(ids, features): unit vectors around topic centres, drawn chunk by chunk, the same whatever was drawn before."""
    centres = np.random.default_rng(seed).normal(size=(topics, dimensions)).astype(np.float32)
    for start in range(0, count, chunk):
        rng = np.random.default_rng((seed, start))
        size = min(chunk, count - start)
        told = centres[rng.integers(0, topics, size)] + rng.normal(size=(size, dimensions)).astype(np.float32)
        yield np.arange(start, start + size), told / np.linalg.norm(told, axis=1, keepdims=True)


def bench_index(count: int = 1_000_000, dimensions: int = 256, queries: int = 200, k: int = 20,
                factory: str = "IVF4096,SQ8", probes: int = 32) -> dict[str, dict[str, float]]:
    """{"exact, streamed": …, "approximate": …}: milliseconds a query, peak memory in GiB, and for the approximate
    index seconds to build and recall. Each side runs alone in a fresh process and never holds all features.
    """
    table, exact = {}, None
    for name, function in (("exact, streamed", _time_exact), ("approximate", _time_index)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            table[name], ids = pool.apply(function, (count, dimensions, queries, k, factory, probes))
        exact = ids if exact is None else exact
        table[name]["recall"] = recall(ids, exact)
    return table


def _queries(queries, dimensions):
    return next(iter(synthetic_features(queries, dimensions, seed=0, chunk=queries)))[1]


def _clocked(chunks, spent):
    """The same chunks; the seconds each took to come are appended to `spent`."""
    started = time.perf_counter()
    for chunk in chunks:
        spent.append(time.perf_counter() - started)
        yield chunk
        started = time.perf_counter()


def _time_exact(count, dimensions, queries, k, factory, probes):
    asked = _queries(queries, dimensions)
    drawing = []
    started = time.perf_counter()
    _, ids = search_exact(asked, _clocked(synthetic_features(count, dimensions), drawing), k)
    seconds = time.perf_counter() - started - sum(drawing)              # drawing the features is not searching
    return {"milliseconds": 1000 * seconds / queries, "build_seconds": 0.0, "peak_gib": peak_gib()}, ids


def _time_index(count, dimensions, queries, k, factory, probes):
    asked = _queries(queries, dimensions)
    started = time.perf_counter()
    sample = np.concatenate([told for _, told in synthetic_features(min(count, 200_000), dimensions)])
    index = build_index(sample, synthetic_features(count, dimensions), factory)
    built = time.perf_counter()
    _, ids = search_index(index, asked, k, probes)
    return {"milliseconds": 1000 * (time.perf_counter() - built) / queries, "build_seconds": built - started,
            "peak_gib": peak_gib()}, ids


def on_paper(images: int = PAPER_IMAGES, dimensions: int = PAPER_DIMENSIONS) -> str:
    """What P2's largest search takes, by arithmetic: nothing of it is run here."""
    whole, half, small = (images * size / 2**30 for size in (dimensions * 4, dimensions * 2, 256))
    return (f"{images:,} features of {dimensions:,} numbers: {whole:,.0f} GiB in float32, {half:,.0f} in float16, read "
            f"once a batch of queries; whitened to 256 numbers of one byte {small:.1f} GiB, which a laptop holds")


def bench_mining(images: int = 5000, products: int = 200, dimensions: int = 1024,
                 queries: int = 200) -> dict[str, float]:
    """Seconds to mine candidates for the queries: ours, and a plain loop that does the same query by query."""
    rng = np.random.default_rng(0)
    items = rng.integers(0, products, images)
    features = rng.normal(size=(images, dimensions)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    sampled = min(1000, images // 2)
    mining = Mining(items, np.arange(images), sampled, positive_rank=20, ambiguous_positives=10)
    started = time.perf_counter()
    mining.mine(np.arange(queries), features, Memory(), (0,))
    ours = time.perf_counter() - started
    started = time.perf_counter()
    for query in range(queries):
        squared = np.array([np.sum((features[query] - other) ** 2) for other in features])
        positives = np.flatnonzero((items == items[query]) & (np.arange(images) != query))
        others = np.random.default_rng((0, query)).choice(np.flatnonzero(items != items[query]), sampled, replace=False)
        select(query, positives, squared[positives], others, squared[others], positive_rank=20, ambiguous_positives=10)
    return {"ours": ours, "plain loop": time.perf_counter() - started}


def bench_stored(frozen: torch.nn.Module, model: torch.nn.Module, images: torch.Tensor,
                 repeats: int = 3) -> dict[str, float]:
    """Seconds of a training pass over `images` (B×3×S×S batches of 64) from stored activations, and through the whole
    network each time."""
    with torch.no_grad():
        stored = torch.cat([frozen.eval()(part) for part in images.split(64)])
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def once(batches):
        for part in batches:
            optimizer.zero_grad()
            model(part).square().mean().backward()
            optimizer.step()

    def through(batches):
        for part in batches:
            with torch.no_grad():       # not around the yield: it would switch gradients off for whoever asks
                maps = frozen(part)
            yield maps

    told = {}
    for name, batches in (("stored activations", lambda: stored.split(64)),
                          ("whole network", lambda: through(images.split(64)))):
        once(batches())
        started = time.perf_counter()
        for _ in range(repeats):
            once(batches())
        told[name] = (time.perf_counter() - started) / repeats
    return told
