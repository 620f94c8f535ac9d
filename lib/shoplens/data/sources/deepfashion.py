"""DeepFashion, consumer to shop: the official files of the benchmark P2 Table 1 counts.

A user signs for the data set and lays its folders down as they come: Anno/list_item_consumer2shop.txt,
Anno/list_bbox_consumer2shop.txt, Eval/list_eval_partition.txt and Img/img/…. The partition lists pairs, so a shop
picture stands on many lines; here it is one row.
"""

import hashlib
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from shoplens import paths
from shoplens.data.catalogue import BOX, Catalogue
from shoplens.data.sources.fetch import DataError
from shoplens.data.sources.readable import in_parallel

LICENCE = ("DeepFashion: Consumer-to-shop Clothes Retrieval · Liu, Luo, Qiu, Wang, Tang, CVPR 2016 · non-commercial "
           "research only, by agreement · https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html")
PAIRS, BOXES, ITEMS = "Eval/list_eval_partition.txt", "Anno/list_bbox_consumer2shop.txt", \
    "Anno/list_item_consumer2shop.txt"
SOURCES = {1: "shop", 2: "consumer"}


def raw_folder() -> Path:
    """Where the user laid the files; DataError with what to do where they are absent or not whole. Nothing can be
    downloaded: the publisher asks for a signature."""
    folder = paths.data_dir() / "DeepFashion"
    found = problems(folder) if folder.exists() else ["it is not there"]
    if found:
        raise DataError(f"{folder}: {'; '.join(found)}. Sign the agreement at https://mmlab.ie.cuhk.edu.hk/projects/"
                        f"DeepFashion.html (Consumer-to-shop), and unpack Anno/, Eval/ and Img/ there, or set "
                        f"STUDY_DATA to the folder DeepFashion/ lies in.")
    return folder


def prepare(*, train_items: int = 0, val_items: int = 0, seed: int = 0) -> Catalogue:
    """Catalogue of the pictures on the partition's pairs: consumer pictures ask, shop pictures answer.

    train_items, val_items: products kept in those splits, drawn by a hash of their names and the seed; 0 keeps all.
    P2 kept 1,000 of each ("DeepFashionM") and all of test. Layers are the folders' names: section > category.
    Raises DataError for files that contradict each other, CatalogueError for a table that cannot be used.
    """
    folder = raw_folder()
    images = read_tables(folder)
    for split, kept in (("train", train_items), ("val", val_items)):
        if kept:
            here = images.loc[images["split"] == split, "item"]
            chosen = sorted(here.unique(), key=lambda item: hashlib.sha256(f"{seed}|{item}".encode()).hexdigest())
            images = images[(images["split"] != split) | images["item"].isin(chosen[:kept])]
    sizes = in_parallel(lambda path: _size(folder / path), list(images["path"]), "reading sizes")
    width, height = (pd.Series(side, index=images.index) for side in zip(*sizes, strict=True))
    for column, pixels, side in zip(BOX, ("x_1", "y_1", "x_2", "y_2"), (width, height, width, height), strict=True):
        images[column] = (images.pop(pixels) / side).clip(0, 1)
    return Catalogue.build("deepfashion", folder, images, layers=["section", "category"],
                           attributes=[], licence=LICENCE, provenance={
        "split": "as published, by item", "train_items": train_items, "val_items": val_items, "seed": seed})


def read_tables(folder: Path) -> pd.DataFrame:
    """One row per picture on the list of pairs: image_id, path, split, item, domain, role, section, category, and its
    box in pixels x_1 … y_2."""
    pairs = read_list(folder / PAIRS)
    rows = [pairs[["image_pair_name_1", "item_id", "evaluation_status"]].assign(domain="consumer", role="query"),
            pairs[["image_pair_name_2", "item_id", "evaluation_status"]].assign(domain="shop", role="gallery")]
    names = ["path", "item", "split", "domain", "role"]
    images = pd.concat([table.set_axis(names, axis=1) for table in rows]).drop_duplicates(ignore_index=True)
    if (twice := images["path"].duplicated()).any():
        raise DataError(f"{PAIRS}: {images.loc[twice, 'path'].iloc[0]} stands there as two items, in two splits, or "
                        f"on both sides")
    if (torn := images.groupby("item")["split"].nunique() > 1).any():
        raise DataError(f"{PAIRS}: {torn.index[torn][0]} stands in two splits")
    boxes = read_list(folder / BOXES).rename(columns={"image_name": "path"})
    images = images.merge(boxes, on="path", how="left")
    if (absent := images["x_1"].isna()).any():
        raise DataError(f"{BOXES} has no box for {int(absent.sum())} pictures of {PAIRS}, e.g. "
                        f"{images.loc[absent, 'path'].iloc[0]}")
    if (wrong := images["source_type"].map(SOURCES) != images["domain"]).any():
        raise DataError(f"{BOXES} and {PAIRS} disagree on which side {images.loc[wrong, 'path'].iloc[0]} is")
    parts = images["path"].map(lambda path: PurePosixPath(path).parts)
    images["section"], images["category"] = parts.str[1], parts.str[2]
    images["image_id"] = images["path"].str.removeprefix("img/").str.removesuffix(".jpg")
    images["path"] = "Img/" + images["path"]
    return images.drop(columns=["clothes_type", "source_type"])


def read_list(file: Path) -> pd.DataFrame:
    """A list of the benchmark: the first line counts the rows, the second names the columns."""
    with open(file, encoding="utf-8") as lines:
        announced = lines.readline().strip()
    table = pd.read_csv(file, sep=r"\s+", skiprows=1)
    if announced != str(len(table)):
        raise DataError(f"{file.name} announces {announced} rows and has {len(table)}: it is cut off or edited")
    return table


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def problems(folder: Path) -> list[str]:
    """What is missing in `folder`, or contradicts itself."""
    if missing := [name for name in (PAIRS, BOXES, ITEMS) if not (folder / name).is_file()]:
        return [f"{name} is missing" for name in missing]
    try:
        images = read_tables(folder)
    except DataError as error:
        return [str(error)]
    with open(folder / ITEMS, encoding="utf-8") as lines:
        announced, *items = lines.read().split()
    found = [f"{ITEMS} announces {announced} items and has {len(items)}"] if announced != str(len(items)) else []
    if strangers := sorted(set(images["item"]) - set(items)):
        found.append(f"{len(strangers)} items of {PAIRS} are not in {ITEMS}, e.g. {strangers[0]}")
    if absent := [path for path in images["path"] if not (folder / path).is_file()]:
        found.append(f"{len(absent)} pictures are missing, e.g. {absent[0]}")
    return found
