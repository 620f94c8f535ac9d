"""Fashion Product Images: studio photographs with a three-layer hierarchy and sparse attributes.

Hierarchy masterCategory > subCategory > articleType; attributes from `baseColour` and from the
`articleAttributes` of `styles/ID.json`, which say nothing about most products: the sparsity P1 is about.
"""

import csv
import hashlib
import json
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shoplens.data.catalogue import Catalogue, CatalogueError, check_splits, split_products
from shoplens.data.sources.fetch import Raw, find_raw
from shoplens.data.sources.reduce import reduced_images

LICENCE = ("Fashion Product Images Dataset · Param Aggarwal · MIT · "
           "https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset")
PUBLISHED = {"images": 44441, "styles": 44446}
LAYERS = ["masterCategory", "subCategory", "articleType"]
COLUMNS = ["id", "gender", *LAYERS, "baseColour", "season", "year", "usage", "productDisplayName"]
# Our name → key in articleAttributes. P1's shape is the cut of the neckline here.
ATTRIBUTES = {"pattern": "Pattern", "sleeve_length": "Sleeve Length", "neck": "Neck", "length": "Length"}
NOT_LABELLED = {"", "NA", "N/A", "nan", "None"}


def prepare(*, min_per_leaf: int = 60, min_per_attribute: int = 500, seed: int = 0,
            max_side: int = 320) -> Catalogue:
    """Catalogue after P1's preparation (§4.1): rare leaves and attributes dropped, 7:2:1 inside each leaf.

    min_per_leaf, min_per_attribute: images that a leaf (an attribute) needs to stay; P1 took 1,000 and 10,000 of
    971,467. seed: of the split. max_side: pixels; where an original is larger, all images are reduced once into
    the cache so that their longer side is at most this (320 leaves a 3:4 original 240 pixels across).

    item: products that show the same file, or carry the same brand and title, in one leaf; an item stays in one
    split. provenance["irregular"] counts the rows that were left out, and why.
    """
    folder = find_raw(RAW)
    images, irregular = read_images(folder)
    folder, images["sha256"] = reduced_images(folder, images["path"].tolist(), max_side=max_side)
    images["item"] = same_product(images)
    images, irregular["left out: same image in two leaves"] = without_contradictions(images)
    images = images.drop(columns=["title", "brand"]).dropna(axis="columns", how="all")
    catalogue = Catalogue.build("fashion", folder, images, layers=LAYERS, licence=LICENCE,
                                attributes=[a for a in ["colour", *ATTRIBUTES] if a in images])
    before = len(catalogue)
    catalogue = catalogue.drop_rare(min_per_leaf=min_per_leaf, min_per_attribute=min_per_attribute)
    irregular["left out: leaf too small"] = before - len(catalogue)
    images = catalogue.images
    images["split"] = split_products(images, layer="articleType", seed=seed, group="item")
    catalogue.provenance.update(
        split=f"7:2:1 in each articleType, seed {seed}, items kept together",
        irregular={why: n for why, n in irregular.items() if n},
        images_sha256=hashlib.sha256("\n".join(sorted(images.pop("sha256"))).encode()).hexdigest())
    check_splits(catalogue)
    return catalogue


def read_images(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """One row per image (image_id, path, layers, attributes, title, brand), and the counts of irregular rows.

    A class with two parents keeps the one that most of its rows name (the first by name if equal); the other
    rows go.
    """
    table, unreadable = read_styles(folder / "styles.csv")
    files = {p.stem for p in (folder / "images").iterdir()}
    pictured = table[table["id"].isin(files)].reset_index(drop=True)
    irregular = {"left out: unreadable line of styles.csv": unreadable,
                 "left out: no image file": len(table) - len(pictured)}
    table = pictured
    for above, layer in zip(LAYERS, LAYERS[1:], strict=False):
        kept = table[table[above] == table[layer].map(majority(table, layer, above))]
        irregular[f"left out: {layer} under a second {above}"] = len(table) - len(kept)
        table = kept
    details = [_details(folder / "styles" / f"{i}.json") for i in table["id"]]
    irregular["kept: no JSON, so colour only"] = sum(d is None for d in details)
    details = [d or {} for d in details]
    images = table[LAYERS].assign(image_id=table["id"], path="images/" + table["id"] + ".jpg",
                                    title=table["productDisplayName"], colour=table["baseColour"].map(_state),
                                    brand=[d.get("brandName") or "" for d in details])
    for name, key in ATTRIBUTES.items():
        # Where a product has no articleAttributes the publisher writes an empty list instead of a mapping.
        images[name] = [_state((d.get("articleAttributes") or {}).get(key)) for d in details]
    return images.reset_index(drop=True), irregular


def read_styles(path: Path) -> tuple[pd.DataFrame, int]:
    """The published styles.csv, and the number of its lines that are no product.

    The title comes last and may hold commas without being quoted, so what is too much belongs to it.
    """
    rows, unreadable = [], 0
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as lines:
        if (header := next(csv.reader(lines), None)) != COLUMNS:
            raise CatalogueError(f"{path} begins with {header}, not with the publisher's columns {COLUMNS}")
        for line in lines:
            fields = next(csv.reader([line]), [])
            if len(fields) >= len(COLUMNS) - 1 and fields[0].isdigit() and all(fields[2:5]):
                rows.append([*fields[:len(COLUMNS) - 1], ",".join(fields[len(COLUMNS) - 1:])])
            else:
                unreadable += bool(line.strip())
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates("id", ignore_index=True), unreadable


def majority(table: pd.DataFrame, layer: str, above: str) -> dict[str, str]:
    """Class of `layer` → the class of `above` that most of its rows name; the first by name where equal."""
    counts = table.groupby([layer, above]).size().reset_index(name="n")
    best = counts.sort_values(["n", above], ascending=[False, True]).drop_duplicates(layer)
    return dict(zip(best[layer], best[above], strict=True))


def _details(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["data"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise CatalogueError(f"{path} is not a product's JSON ({error!r}): "
                             "put the published file in its place.") from None


def _state(value: str | None) -> str | None:
    value = (value or "").strip()
    return None if value in NOT_LABELLED else value


def same_product(images: pd.DataFrame) -> pd.Series:
    """Name of the product each row shows, which is that of its first image: rows of a leaf are one product if
    they share the file's hash, or brand and title, directly or through others."""
    n, leaf = len(images), images["articleType"]
    by_file = images.groupby([leaf, images["sha256"]]).ngroup()
    by_title = images.groupby([leaf, images["brand"], images["title"]]).ngroup() + n
    rows = np.tile(np.arange(n), 2)
    links = coo_array((np.ones(2 * n), (rows, np.concatenate([by_file, by_title]) + n)), shape=(3 * n, 3 * n))
    _, component = connected_components(links, directed=False)
    return images.groupby(component[:n])["image_id"].transform("min")


def without_contradictions(images: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows whose file does not also stand under another leaf, and how many were dropped: nobody can say which
    of the labels is right, and the copies could fall into two splits."""
    leaves = images.groupby("sha256")["articleType"].transform("nunique")
    return images[leaves == 1].reset_index(drop=True), int((leaves > 1).sum())


def problems(folder: Path, published: bool) -> list[str]:
    """What is missing in `folder`; with `published`, against the publisher's own counts of files."""
    found = [] if (folder / "styles.csv").is_file() else ["styles.csv is missing"]
    for name, suffix in (("images", ".jpg"), ("styles", ".json")):
        n = sum(1 for _ in (folder / name).glob(f"*{suffix}"))
        if n == 0 or (published and n != PUBLISHED[name]):
            found.append(f"{name}/ holds {n} {suffix} files where {PUBLISHED[name]} were published")
    return found


def place(member: str) -> str | None:
    """Kaggle's archive holds everything below one or two folders; styles.csv, styles/ and images/ are used."""
    path = PurePosixPath(member)
    if path.name == "styles.csv":
        return path.name
    return "/".join(path.parts[-2:]) if path.parts[-2:-1] in (("images",), ("styles",)) else None


RAW = Raw(folder="fashion-dataset", gigabytes=45, place=place, problems=problems,
          url="https://www.kaggle.com/api/v1/datasets/download/paramaggarwal/fashion-product-images-dataset"
              "?datasetVersionNumber=1",
          by_hand="unpack https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset so that "
                  "styles.csv, images/ and styles/ lie in it")
