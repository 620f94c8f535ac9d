"""bazaar: a procedural shop, drawn from numbers, offline.

43 leaves under 10 roots with a long tail; five sparse attributes that shape the picture; shop and consumer views
of the same product; foreground masks and boxes that are true by construction. What it is for: every notebook runs
on it. What it is not: photographs. Results on it say nothing about real shops and are never mixed with theirs.

The whole catalogue is drawn into the cache, in parallel, once; `shoplens.data.drawing` says how one picture is drawn.
"""

import ast
import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
from tqdm import tqdm

from shoplens import paths, processes, sealed
from shoplens.data import drawing
from shoplens.data.catalogue import BOX, Catalogue, check_splits, split_products
from shoplens.data.drawing.compose import QUALITY, USUAL, Causes, draw
from shoplens.data.drawing.items import KINDS, Item, generator, labels_of, make_item, number_of
from shoplens.data.drawing.stream import distractors
from shoplens.data.drawing.taxonomy import LEAVES, STATES, leaf_counts
from shoplens.syntax import code_text, short_hash

__all__ = ["LICENCE", "distractors", "prepare"]

LICENCE = "bazaar · drawn by this repository · the repository's own licence · no outside data"
_CHUNK = 24  # items drawn by one task
_SHOP_SHARE = 0.6  # of classification images; the rest are consumer views


def prepare(*, seed: int = 0, num_items: int = 4000, min_per_leaf: int = 15, num_search_items: int = 100,
            gallery_per_item: int = 24, queries_per_item: int = 4, size: int = 96, workers: int = 0,
            labelled: float | None = None, clutter: float = 1.0, alike: float = 0.0) -> Catalogue:
    """The procedural catalogue: num_items products for classification, num_search_items others for search.

    num_items: products of P1's images, each seen in one or two views of either domain (about 1.5 images per item),
    by a long tail over 43 leaves with at least `min_per_leaf` products each. A product stands in one split only,
    7:2:1 train : test : validation inside each leaf. num_search_items: further products outside P1's images, each
    with `gallery_per_item` shop views and `queries_per_item` consumer views, split 5:3:2 by product inside each
    root. size: side of the pictures in pixels. workers: processes, 0 for as many as there are cores; pictures do not
    depend on it. labelled: share of items whose seller wrote down an attribute that applies, None for a market place's
    sparse shares, which differ by attribute. clutter, alike: see `compose.Causes`.
    Pictures are drawn once into the cache and found again while parameters and drawing code stay the same.
    Raises ValueError on counts that cannot be served.
    """
    parameters = {"seed": seed, "num_items": num_items, "min_per_leaf": min_per_leaf,
                  "num_search_items": num_search_items, "gallery_per_item": gallery_per_item,
                  "queries_per_item": queries_per_item, "size": size}
    _check(parameters, labelled, clutter, alike)
    code, causes = drawing_code(), Causes(clutter, alike)
    asked = [parameters, code, PIL.__version__, np.__version__, clutter, alike]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    folder = paths.cache_dir() / "bazaar" / key

    def draw_into(temporary: Path) -> None:
        table = draw_all(temporary, plan(**parameters), seed, size, workers or processes.usable_cores(), causes)
        table.to_parquet(temporary / "products.parquet", index=False)

    sealed.made(folder, draw_into)
    images = pd.read_parquet(folder / "products.parquet")
    if labelled is not None:
        images[list(STATES)] = _labelled(images, seed, labelled)
    images["split"] = assign_splits(images, seed)
    catalogue = Catalogue.build("bazaar", folder, images, layers=["root", "leaf"],
                                attributes=[name for name in STATES if images[name].notna().any()],
                                licence=LICENCE, provenance={**parameters, "labelled": labelled, "clutter": clutter,
                                                         "alike": alike, "drawing_code": code})
    check_splits(catalogue)
    return catalogue


def _labelled(images: pd.DataFrame, seed: int, share: float) -> np.ndarray:
    """Labels of every image where an attribute is written down with probability `share`: objects N×attributes."""
    kinds = {kind[0]: kind for kind in KINDS}
    of_item = {}
    for name in images["item"].unique():
        kind, number = kinds[name[0]], int(name[1:])
        of_item[name] = list(labels_of(seed, kind, number, make_item(seed, kind, number).states, share).values())
    return np.array([of_item[name] for name in images["item"]], dtype=object)


def _check(parameters: dict[str, int], labelled: float | None, clutter: float, alike: float) -> None:
    for name, low in (("seed", 0), ("min_per_leaf", 3), ("num_search_items", 0), ("gallery_per_item", 1),
                      ("queries_per_item", 1), ("size", 32)):
        if parameters[name] < low:
            raise ValueError(f"bazaar: {name} must be at least {low}, got {parameters[name]}")
    for name, share in (("labelled", labelled), ("alike", alike)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"bazaar: {name} must be a share between 0 and 1, got {share}")
    if clutter < 0:
        raise ValueError(f"bazaar: clutter must be at least 0, got {clutter}")


def drawing_code() -> str:
    """Hash of what this module and those that draw do: another drawing means another cache folder."""
    files = [Path(__file__), *sorted(Path(drawing.__file__).parent.rglob("*.py"))]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return short_hash("\n".join(f"{file.name} {code_text(tree)}" for file, tree in zip(files, trees, strict=True)))


def plan(*, seed: int, num_items: int, min_per_leaf: int, num_search_items: int, gallery_per_item: int,
         queries_per_item: int, size: int) -> list[tuple[str, int, list[tuple[str, int]]]]:
    """What to draw: (kind, item number, [(domain, view), …]) for each item. Does not depend on `size`."""
    todo = []
    for leaf, count in zip(LEAVES, leaf_counts(num_items, min_per_leaf), strict=True):
        for number in range(number_of(leaf.name, 0), number_of(leaf.name, count)):
            first, second, more = generator(seed, "catalogue", number, "views").random(3)
            domains = ["shop" if draw < _SHOP_SHARE else "consumer" for draw in (first, second)][: 1 + (more < 0.5)]
            todo.append(("catalogue", number, [(each, domains[:i].count(each)) for i, each in enumerate(domains)]))
    views = [("shop", view) for view in range(gallery_per_item)]
    views += [("consumer", view) for view in range(queries_per_item)]
    for leaf, count in zip(LEAVES, leaf_counts(num_search_items, 0), strict=True):
        todo += [("search", number_of(leaf.name, index), views) for index in range(count)]
    return todo


def draw_all(folder: Path, todo: list, seed: int, size: int, workers: int, causes: Causes = USUAL) -> pd.DataFrame:
    """Draw the plan into `folder`; returns the table of images, sorted by image_id whatever came first."""
    chunks, chunk, views = [], [], 0
    for entry in todo:  # a search item has many views: chunks are cut by pictures, not by items
        chunk.append(entry)
        views += len(entry[2])
        if views >= 2 * _CHUNK:
            chunks.append(chunk)
            chunk, views = [], 0
    chunks += [chunk] if chunk else []
    total = sum(len(entry[2]) for entry in todo)
    rows = []
    # Logs show a line every few seconds at most, not one per picture.
    with tqdm(total=total, desc="drawing bazaar", unit="image", mininterval=5, maxinterval=60) as bar:
        if workers == 1:
            for chunk in chunks:
                rows += draw_chunk(folder, chunk, seed, size, causes)
                bar.update(len(rows) - bar.n)
        else:
            # Not forked: notebooks hold threads that a fork would copy half-alive.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, context, processes.end_with, (os.getpid(),)) as pool:
                drawn = [pool.submit(draw_chunk, folder, chunk, seed, size, causes) for chunk in chunks]
                for done in as_completed(drawn):
                    rows += done.result()
                    bar.update(len(rows) - bar.n)
    return pd.DataFrame(rows).sort_values("image_id", ignore_index=True)


def draw_chunk(folder: Path, chunk: list, seed: int, size: int, causes: Causes = USUAL) -> list[dict]:
    """Draw the views of a few items into `folder`; one row per picture."""
    rows = []
    for kind, number, views in chunk:
        item = make_item(seed, kind, number)
        place = Path(kind) / item.leaf.name.replace(" ", "_") / item.name
        (folder / place).mkdir(parents=True, exist_ok=True)
        for domain, view in views:
            drawn = draw(item, domain, view, size, causes)
            stem = f"{domain}{view:02d}"
            drawn.image.save(folder / place / f"{stem}.jpg", quality=QUALITY)
            drawn.mask.save(folder / place / f"{stem}.png")
            rows.append(_row(item, domain, place / stem, drawn.box))
    return rows


def _row(item: Item, domain: str, place: Path, box: tuple[float, float, float, float]) -> dict:
    search = item.kind == "search"
    return {"image_id": f"{item.name}-{place.name}", "path": f"{place.as_posix()}.jpg",
            "mask": f"{place.as_posix()}.png", "root": item.leaf.root, "leaf": item.leaf.name, **item.labels,
            "classify": not search, "item": item.name, "domain": domain,
            "role": {"shop": "gallery",
                     "consumer": "query"}[domain] if search else "", **dict(zip(BOX, box, strict=True))}


def assign_splits(images: pd.DataFrame, seed: int) -> pd.Series:
    """Split of each row: by item, 7:2:1 train : test : val inside each leaf; search items 5:3:2 inside each root."""
    p1 = images["classify"].to_numpy(bool)
    parts = [split_products(images[p1], layer="leaf", ratios=(7, 2, 1), seed=seed, group="item"),
             split_products(images[~p1], layer="root", ratios=(5, 3, 2), seed=seed, group="item")]
    return pd.concat(parts).reindex(images.index)
