"""What the learned search does: networks by what they learned from, features side by side, distractors (P2 §5)."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from statistics import mode

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from shoplens import paths, ranking
from shoplens.attention import attend
from shoplens.backbones import load_backbone
from shoplens.catalogue import BOX, Catalogue
from shoplens.images import Batches, normalise, open_store, warp
from shoplens.multitask import MultitaskClassifier
from shoplens.protocols import Protocol, SearchSplit
from shoplens.query_batches import RowFeatures, extract
from shoplens.search import Chunks, merge, rank, search_exact, search_inside
from shoplens.search_network import GEM, GLOBAL, Ground
from shoplens.seeds import gain_over_seeds, mean_over_items
from shoplens.training import predict

NOTEBOOK = "09_rank_based_learning"
SELECTIONS = ("closest", "20th", "20th+Pos10")      # P2 Table 4
FEATURES = {GLOBAL: "G", GEM: "gem"}                # every other feature is local, L


@dataclass(frozen=True)
class Learned:
    """A run of notebook 09. feature: "G", "L" (with weights by ReLU), "L-norm" …, "gem". selection: one of
    SELECTIONS, or what else it was. start: run of notebook 08 it began from."""

    run: str
    start: str
    feature: str
    selection: str
    seed: int
    repeat: int


def selection_name(parameters: dict, interval: int) -> str:
    """"closest", "20th", "20th+Pos10", or such a name for other ranks and counts; ", plain" where the distance is not
    squared, ", mined every 1000" where INTERVAL is not the `interval` of the other networks."""
    rank_, ambiguous = parameters["POSITIVE_RANK"], parameters["AMBIGUOUS"]
    name = "closest" if rank_ == 1 else f"{rank_}th"
    name = f"{name}+Pos{ambiguous}" if ambiguous else name
    name = f"{name}, plain" if parameters["PLAIN"] else name
    return name if parameters["INTERVAL"] == interval else f"{name}, mined every {parameters['INTERVAL']}"


def counterpart(selection: str, others: list[str]) -> str:
    """The one of `others` that another reading is compared with: its own name before the comma, else the last that has
    as many ambiguous positives, else the last."""
    name = selection.split(", ")[0]
    alike = [other for other in others if other.partition("+")[2] == name.partition("+")[2]]
    return name if name in others else (alike or others)[-1]


def learned_networks(run) -> list[Learned]:
    """The runs of notebook 09 that are among the inputs of `run`, by what they learned from, in study.yml's order. The
    interval they are not named for is the one most of them have."""
    study = yaml.safe_load((paths.root() / "study.yml").read_text(encoding="utf-8"))["runs"]
    names = [name for name, told in study.items() if told["notebook"] == NOTEBOOK]
    records = {run_id: run.record(run_id) for name in names for run_id in run.inputs(name)}
    interval = mode(record["parameters"]["INTERVAL"] for record in records.values()) if records else 0
    found = []
    for run_id, record in records.items():
        told = record["parameters"]
        feature = FEATURES.get(told["FEATURE"], "L" if told["FEATURE"] == "relu" else f"L-{told['FEATURE']}")
        found.append(Learned(run_id, told["START_FROM"], feature, selection_name(told, interval), record["seed"],
                             told["REPEAT"]))
    return found


@dataclass(frozen=True)
class Beside:
    """Features side by side, [L+G]: rows → the parts' features of those rows, one after the other, over √parts so
    that the whole has unit length again (which changes no ranking)."""

    parts: tuple

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        told = np.concatenate([part[rows] for part in self.parts], axis=1)
        told /= np.sqrt(len(self.parts), dtype=np.float32)      # in place: gigabytes, where the features are long
        return told


def features_of(model: nn.Module, maps, split: SearchSplit) -> RowFeatures:
    """Features of a split's queries and gallery, addressed by row number. maps: whatever gives activations for row
    numbers."""
    rows = np.union1d(split.queries, split.gallery)
    place = np.full(rows.max() + 1, -1)
    place[rows] = np.arange(len(rows))
    return RowFeatures(extract(model, maps, rows), place)


def expand(queries: np.ndarray, found: np.ndarray, alpha: float = 3.0) -> np.ndarray:
    """α query expansion: each query becomes the sum of itself and its first results, weighted by similarityᵅ, at unit
    length (Radenović et al., 2019; not in P2). queries: Q×D. found: Q×n×D features of its first n results."""
    similarity = np.maximum(np.einsum("qd,qnd->qn", queries, found), 0) ** alpha
    grown = queries + np.einsum("qn,qnd->qd", similarity, found)
    return grown / np.linalg.norm(grown, axis=1, keepdims=True)


def score(features, protocol: Protocol, split: str, k: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AP@k and ACC@k of every query of a split, and the row numbers found, Q×k."""
    hits, ids, _ = rank(features, protocol.splits[split], protocol.items, k)
    return ranking.average_precision(hits, protocol.relevant(split), k), ranking.accuracy_at(hits, k), ids


def score_among(features, protocol: Protocol, split: str, distractors: Chunks, k: int = 20,
                whiten=None) -> tuple[np.ndarray, np.ndarray]:
    """AP@k and ACC@k with distractors in the gallery, which pass by once and are not kept. whiten: applied to every
    feature on its way, such as `Whitening.apply`."""
    own, items = protocol.splits[split], protocol.items
    whiten = whiten or (lambda told: told)
    gallery = ((own.gallery[s:s + 4096], features[own.gallery[s:s + 4096]]) for s in range(0, len(own.gallery), 4096))
    chunks = ((ids, whiten(told)) for ids, told in chain(gallery, distractors))
    ids = _without_itself(*search_exact(whiten(features[own.queries]), chunks, k + 1), own.queries, k)
    of_catalogue = (ids >= 0) & (ids < len(items))
    hits = of_catalogue & (items[np.where(of_catalogue, ids, 0)] == items[own.queries][:, None])
    return ranking.average_precision(hits, protocol.relevant(split), k), ranking.accuracy_at(hits, k)


def _without_itself(distances: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k nearest of k + 1, without the query where it stands in the gallery (as in `search.rank`)."""
    return merge(distances, np.where(ids == queries[:, None], -1, ids), k)[1]


def score_inside(features, protocol: Protocol, split: str, of_queries: np.ndarray, of_gallery: np.ndarray,
                 k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """AP@k and ACC@k where each query searches its own class only (P2 §5.7, "CI"). of_…: class of each image. What
    lies outside the class stays relevant: a wrong class costs."""
    own, items = protocol.splits[split], protocol.items
    distances, places = search_inside(features[own.queries], of_queries, features[own.gallery], of_gallery, k + 1)
    ids = _without_itself(distances, np.where(places < 0, -1, own.gallery[places]), own.queries, k)
    hits = (ids >= 0) & (items[ids] == items[own.queries][:, None])
    return ranking.average_precision(hits, protocol.relevant(split), k), ranking.accuracy_at(hits, k)


def predicted_classes(run, catalogue: Catalogue, split: SearchSplit, layer: str, device,
                      network: str = "05_bmtl_rl") -> tuple[np.ndarray, np.ndarray] | None:
    """Class of each query and gallery image in `layer` as a multitask network of notebook 05 predicts it, which the
    paper only suggests; None where that run is not among the inputs."""
    if not run.inputs(network):
        return None
    before = run.record(run.inputs(network)[0])["parameters"]
    backbone = load_backbone(before["BACKBONE"], before["PRETRAINED"], width=before["WIDTH"])
    if before["ATTENTION"]:
        backbone = attend(backbone, before["IMAGE_SIZE"])
    sizes = {name: len(catalogue.hierarchy.classes[name]) for name in catalogue.hierarchy.layers}
    model = MultitaskClassifier(backbone, sizes).to(device).eval()
    model.load_state_dict(torch.load(run.input(network, "model.pt"), map_location=device, weights_only=True))
    store = open_store(catalogue.files(), before["IMAGE_SIZE"])
    return tuple(predict(model, Batches(store, rows, {}, 64, backbone.mean, backbone.std))[layer].argmax(axis=1)
                 for rows in (split.queries, split.gallery))


def precision_of_places(places: np.ndarray, protocol: Protocol, split: str, k: int = 20) -> np.ndarray:
    """AP@k of every query from places in the split's gallery, Q×k, −1 where it has fewer images."""
    own, items = protocol.splits[split], protocol.items
    found = items[own.gallery][np.maximum(places, 0)]
    hits = (places >= 0) & (found == items[own.queries][:, None])
    return ranking.average_precision(hits, protocol.relevant(split), k)


def score_rows(precision: np.ndarray, accuracy: np.ndarray, items: np.ndarray, k: int, draws: int,
               **told) -> list[dict]:
    """Two tidy rows, MAP@k and ACC@k, with intervals over products. items: product of each query."""
    rows = []
    for metric, values in ((f"MAP@{k}", precision), (f"ACC@{k}", accuracy)):
        interval = mean_over_items(np.asarray(values, float), items, draws)
        rows.append(told | {"metric": metric, "k": k, "value": interval.value, "n": len(values),
                            "low": interval.low, "high": interval.high})
    return rows


def gain_row(values: np.ndarray, others: np.ndarray, items: np.ndarray, draws: int, **told) -> dict:
    """One tidy row of a paired difference over queries, with its verdict by the interval; values, others: Q or S×Q,
    items: product of each query; see `seeds.gain_over_seeds`."""
    gain = gain_over_seeds(values, others, items, draws)
    verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "inside the noise"
    return told | {"value": gain.value, "low": gain.low, "high": gain.high, "verdict": verdict}


def draws_distractors(dataset: str) -> bool:
    """Can the data set draw pictures of other products?"""
    return hasattr(importlib.import_module(f"shoplens.sources.{dataset}"), "distractors")


def distractor_images(dataset: str, count: int, size: int, seed: int = 0, batch: int = 256) -> Iterator[np.ndarray]:
    """Batches of distractor pictures, uint8 B×size×size×3, drawn as they are asked for; ValueError where the data set
    cannot draw any."""
    if not draws_distractors(dataset):
        raise ValueError(f"{dataset!r} cannot draw distractors")
    source, held = importlib.import_module(f"shoplens.sources.{dataset}"), []
    for one in source.distractors(count, seed=seed, size=size):
        held.append(one.image)
        if len(held) == batch:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


@torch.no_grad()
def stream(pictures: Iterator[np.ndarray], frozen: nn.Module, models: list[nn.Module], mean, std,
           first: int) -> Chunks:
    """(ids, features) of pictures as they come, of several networks side by side: nothing but a batch is ever held.

    first: id of the first picture; take the number of rows of the catalogue, so that no id is one of its rows.
    """
    device = next(frozen.parameters()).device
    for batch in pictures:
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).to(device)
        maps = frozen(normalise(images, mean, std))
        features = np.concatenate([model(maps).float().cpu().numpy() for model in models], axis=1)
        yield np.arange(first, first + len(batch)), features / np.sqrt(len(models), dtype=np.float32)
        first += len(batch)


def as_in_table4(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Table 4: a row a protocol, feature and split, a column a selection; mean over seeds, ± deviation."""
    def cell(values):
        return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")

    wide = table.groupby(["protocol", "feature", "split", "selection"], sort=False)["value"].agg(cell)
    order = [*dict.fromkeys(s for s in ("pre-trained", *SELECTIONS, *table["selection"]) if s in wide.index.levels[-1])]
    wide = wide.unstack("selection")[order].fillna("").reset_index()
    wide.columns.name = None
    return wide


def crop_maps(boxes: np.ndarray) -> torch.Tensor:
    """Affine maps B×2×3 (see `images.warp`) that stretch each box over the whole picture. boxes: B×4, left, top, right,
    bottom as fractions; a box that is not known (NaN) is the whole picture."""
    boxes = np.where(np.isnan(boxes).any(axis=1, keepdims=True), [0.0, 0.0, 1.0, 1.0], boxes)
    left, top, right, bottom = torch.as_tensor(boxes, dtype=torch.float32).T
    theta = torch.zeros(len(boxes), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = right - left, left + right - 1
    theta[:, 1, 1], theta[:, 1, 2] = bottom - top, top + bottom - 1
    return theta


@torch.no_grad()
def cropped_activations(catalogue: Catalogue, rows: np.ndarray, ground: Ground, image_size: int) -> RowFeatures:
    """Activations of the frozen part for pictures cut to their product's box, addressed by row number.

    The boxes are cut from pictures of twice the size, so that a product that fills half of one keeps its detail.
    Pictures whose box is not known stay whole. Raises KeyError where the catalogue knows no boxes at all.
    """
    boxes = catalogue.products[BOX].to_numpy(float)[rows]
    store = open_store(catalogue.files(), 2 * image_size)
    device = next(ground.frozen.parameters()).device
    told = []
    for start in range(0, len(rows), 64):
        part = slice(start, start + 64)
        images = normalise(store.images(rows[part]).to(device), ground.backbone.mean, ground.backbone.std)
        images = F.avg_pool2d(warp(images, crop_maps(boxes[part]).to(device)), 2)
        told.append(ground.frozen(images).float().cpu().numpy())
    place = np.full(len(catalogue), -1)
    place[rows] = np.arange(len(rows))
    return RowFeatures(np.concatenate(told), place)


@dataclass(frozen=True)
class Either:
    """Features of queries from one source and of the gallery from another (CQ-WD): rows in `queries` are read from
    `of_queries`, all others from `of_gallery`."""

    queries: np.ndarray
    of_queries: RowFeatures
    of_gallery: RowFeatures

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        asked = np.isin(rows, self.queries)
        if asked.all():
            return self.of_queries[rows]
        if asked.any():
            raise ValueError("queries and gallery images were asked for together: no row may be both")
        return self.of_gallery[rows]
