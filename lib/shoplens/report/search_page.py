"""The search page: what a query finds before and after learning (P2), and what multitask networks say of it (P1), in
one HTML file that asks for nothing else."""

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from shoplens.classification.class_predictions import MultitaskRecipe, predict_logits
from shoplens.data.catalogue import Catalogue
from shoplens.data.images import decode
from shoplens.search.nearest import rank
from shoplens.search.protocols import SearchProtocol
from shoplens.statistics.average_precision import average_precision

TEMPLATE = Path(__file__).with_name("search_page.html")
TITLE, DATA = "{{title}}", "{{data}}"       # places in the template
QUALITY = 80                                # of the JPEGs


@dataclass(frozen=True)
class SearchResults:
    """What one feature finds for all Q queries of a split. name: what the page calls it. note: a line about it.
    hits: bools Q×k, same product? ids: int64 Q×k row numbers, −1 where the gallery has fewer. distances: float32 Q×k,
    squared. precision: AP@k, float64 of Q."""

    name: str
    note: str
    hits: np.ndarray
    ids: np.ndarray
    distances: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class Task:
    """What a multitask network says of n query images in one task. kind: "layer" or "attribute". run: whose network.
    probabilities: float32 n×m over `classes`. truth: int64 of n, −1 where not labelled."""

    kind: str
    name: str
    run: str
    classes: tuple[str, ...]
    probabilities: np.ndarray
    truth: np.ndarray


def draw_queries(total: int, count: int, seed: int) -> np.ndarray:
    """Sorted places, int64, of `count` queries out of `total` (all, where there are fewer), drawn without
    replacement."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def search(features, protocol: SearchProtocol, split: str, k: int, name: str, note: str) -> SearchResults:
    """The k nearest of every query of a split, by squared distance. features: whatever gives float32 M×D for M row
    numbers."""
    hits, ids, distances = rank(features, protocol.splits[split], protocol.items, k)
    return SearchResults(name, note, hits, ids, distances, average_precision(hits, protocol.relevant(split), k))


def predict_tasks(recipe: MultitaskRecipe, run_id: str, catalogue: Catalogue, rows: np.ndarray, device) -> list[Task]:
    """What a multitask network says of n rows: a task each, layers first and root-most first. run_id: whose network."""
    hierarchy, tasks = catalogue.hierarchy, []
    for name, logits in predict_logits(recipe, catalogue, rows, device).items():
        if name in recipe.layers:
            kind, classes, truth = "layer", hierarchy.classes[name], catalogue.labels(name)
        else:
            kind, classes, truth = "attribute", catalogue.attributes[name], catalogue.states(name) - 1
        probabilities = torch.from_numpy(logits).softmax(dim=1).numpy()
        tasks.append(Task(kind, name, run_id, classes, probabilities, truth[rows]))
    return tasks


def stretch(weights: np.ndarray) -> np.ndarray:
    """Each map from its smallest weight (0) to its largest (100): floats n×h×w → uint8 n×h×w. A map that is the same
    everywhere is 100: where all weights are zero the feature takes all places alike."""
    low, high = (f(weights, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    share = np.divide(weights - low, high - low, out=np.ones_like(weights), where=high > low)
    return np.round(100 * share).astype(np.uint8)


def encode(file: Path, side: int) -> str:
    """A picture stretched to side×side pixels, as the networks see it, as base64 of a JPEG. Raises OSError where the
    file is no picture."""
    buffer = io.BytesIO()
    Image.fromarray(decode(file, side)).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def page_data(catalogue: Catalogue, protocol: SearchProtocol, split: str, chosen: np.ndarray,
              rankings: list[SearchResults], tasks: list[Task] = (), weights: np.ndarray | None = None, side: int = 96,
              large: int = 256, warning: str = "") -> dict:
    """All the page shows, ready for JSON. Each thumbnail is in it once, however often it is found.

    chosen: n places among the split's queries. rankings: before and after learning. tasks, weights: of those n queries,
    weights n×h×w. side, large: pixels of a thumbnail and of a query. warning: a line above everything.
    """
    own, files, leaf = protocol.splits[split], catalogue.files(), catalogue.hierarchy.leaf
    rows, relevant = own.queries[chosen], protocol.relevant(split)[chosen]
    shown = np.unique(np.concatenate([rows, *(ranking.ids[chosen].ravel() for ranking in rankings)]))
    shown = shown[shown >= 0]
    place = {int(row): number for number, row in enumerate(shown)}
    shade = None if weights is None else stretch(weights)
    queries = []
    for i, (row, at) in enumerate(zip(rows, chosen, strict=True)):
        queries.append({
            "picture": encode(files[row], large), "thumbnail": place[int(row)], "relevant": int(relevant[i]),
            "rankings": [{"precision": round(float(ranking.precision[at]), 4), "results": _results(ranking, at, place)}
                         for ranking in rankings],
            "weights": None if shade is None else shade[i].tolist(),
            "layers": [_prediction(task, i) for task in tasks if task.kind == "layer"],
            "attributes": [_prediction(task, i) for task in tasks if task.kind == "attribute"]})
    return {"rankings": [{"name": ranking.name, "note": ranking.note,
                          "mean": round(float(ranking.precision.mean()), 4)} for ranking in rankings],
            "warning": warning, "k": rankings[0].ids.shape[1], "asked": len(own.queries), "gallery": len(own.gallery),
            "networks": {kind: list(dict.fromkeys(task.run for task in tasks if task.kind == kind))
                         for kind in ("layer", "attribute")},
            "thumbnails": [{"jpeg": encode(files[row], side), "leaf": name} for row, name in
                           zip(shown, catalogue.images[leaf].fillna("unlabelled").iloc[shown], strict=True)],
            "queries": queries}


def _results(ranking: SearchResults, at: int, place: dict[int, int]) -> list[list]:
    """[thumbnail, squared distance, same product?] of each image found for one query, nearest first."""
    return [[place[int(row)], round(float(distance), 4), bool(hit)] for row, distance, hit in
            zip(ranking.ids[at], ranking.distances[at], ranking.hits[at], strict=True) if row >= 0]


def _prediction(task: Task, i: int) -> dict:
    """Prediction of image i: class, probability, and the true class, None where not labelled."""
    best, truth = int(task.probabilities[i].argmax()), int(task.truth[i])
    return {"task": task.name, "predicted": task.classes[best], "probability":
            round(float(task.probabilities[i, best]), 4), "truth": task.classes[truth] if truth >= 0 else None}


def embed(data: dict) -> str:
    """JSON that can stand inside a <script>: whatever text it holds, it cannot end the element or begin a comment.
    ValueError for NaN or infinity, which JSON does not have."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def page(title: str, data: dict) -> str:
    """The whole page: the template with `page_data` in it."""
    head, tail = TEMPLATE.read_text(encoding="utf-8").split(DATA)
    return head.replace(TITLE, html.escape(title)) + embed(data) + tail
