"""GroceryStoreDataset: smartphone photos of groceries, and one clean shop image of each kind.

Hierarchy root > coarse > fine. The published splits are kept as they are: every class is trained and tested;
validation, added by the publisher later, covers 60 of the 81 fine classes. What README and paper call 42 coarse
classes are 43 in `classes.csv` (IDs 0 … 42) and in the image lists, and the 5,125 photos they count are those of
training and test. We follow the files.
"""

import hashlib
from pathlib import Path, PurePosixPath

import pandas as pd

from shoplens.data.catalogue import Catalogue, check_splits
from shoplens.data.sources.fetch import Raw, find_raw

LICENCE = ("GroceryStoreDataset · Klasson, Zhang, Kjellström, WACV 2019 · MIT · "
           "https://github.com/marcusklasson/GroceryStoreDataset")
COMMIT = "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"
PHOTOS = {"train": 2640, "val": 296, "test": 2485}
CLASSES = {"fine": 81, "coarse": 43, "root": 3}
# sha256 over "path<tab>sha256" of every file the catalogue reads, at the commit above.
CONTENT = "aa129f94fe15f5dc832a5d5c73918fd1d46608b06cac4de82c8205c9df2771d6"
LISTS = ["classes.csv", *(f"{split}.txt" for split in PHOTOS)]


def prepare() -> Catalogue:
    """Catalogue of the 5,421 photos (P1's images, with their published split) and the 81 iconic shop images.

    item is the fine class: the publisher knows no finer identity, so an item stands in all splits. Photos are
    of domain "consumer", in the role "query" in val and test and "gallery" in train; iconic images are "shop" and
    "gallery", and outside P1's images.
    """
    folder = find_raw(RAW)
    photos, iconic = read_tables(folder / "dataset")
    photos["role"] = photos["split"].map({"train": "gallery", "val": "query", "test": "query"})
    photos = photos.assign(domain="consumer", classify=True)
    iconic = iconic.assign(split="", role="gallery", domain="shop", classify=False)
    images = pd.concat([photos, iconic], ignore_index=True)
    images["item"] = images["fine"]
    images["image_id"] = images["path"].str.removesuffix(".jpg")
    images["path"] = "dataset/" + images["path"]
    catalogue = Catalogue.build("grocery", folder, images, layers=["root", "coarse", "fine"], attributes=[],
                                licence=LICENCE, provenance={
        "commit": COMMIT,
        "split": "as published",
        "item_shared_between_splits": "an item is a fine class, which every published split holds photos of"})
    check_splits(catalogue)
    return catalogue


def read_tables(dataset: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Photos (path within `dataset`, split, root, coarse, fine) and iconic images (the same without split)."""
    classes = pd.read_csv(dataset / "classes.csv", skipinitialspace=True)
    classes.columns = ["fine", "fine_id", "coarse", "coarse_id", "path", "description"]
    classes["path"] = classes["path"].str.lstrip("/")
    lists = [pd.read_csv(dataset / f"{split}.txt", names=["path", "fine_id", "coarse_id"],
                         skipinitialspace=True).assign(split=split) for split in PHOTOS]
    photos = pd.concat(lists).merge(classes.drop(columns="path"), on=["fine_id", "coarse_id"], how="left")
    for table in (photos, classes):
        table["root"] = [PurePosixPath(p).parts[1] for p in table["path"]]
    return photos[["path", "split", "root", "coarse", "fine"]], classes[["path", "root", "coarse", "fine"]]


def problems(folder: Path, published: bool) -> list[str]:
    """What is missing in `folder`, or differs from the published counts; with `published`, contents count too."""
    dataset = folder / "dataset"
    if missing := [name for name in LISTS if not (dataset / name).is_file()]:
        return [f"dataset/{name} is missing" for name in missing]
    photos, iconic = read_tables(dataset)
    found = [f"{n} photos in {split}.txt where {PHOTOS[split]} were published"
             for split, n in photos["split"].value_counts().items() if n != PHOTOS[split]]
    found += [f"{n} {layer} classes where {CLASSES[layer]} were published"
              for layer in CLASSES if (n := photos[layer].nunique()) != CLASSES[layer]]
    files = [*photos["path"], *iconic["path"]]
    if absent := [f for f in files if not (dataset / f).is_file()]:
        found.append(f"{len(absent)} images are missing, e.g. dataset/{absent[0]}")
    if published and not found and content_hash(dataset, [*files, *LISTS]) != CONTENT:
        found.append(f"contents differ from those of commit {COMMIT[:7]}")
    return found


def content_hash(dataset: Path, files: list[str]) -> str:
    """sha256 over the sorted lines "path<tab>sha256 of the file"."""
    lines = sorted(f"{f}\t{hashlib.sha256((dataset / f).read_bytes()).hexdigest()}" for f in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def place(member: str) -> str | None:
    """GitHub puts everything below one folder named after the commit; `dataset/` and the licence are used."""
    inside = PurePosixPath(*PurePosixPath(member).parts[1:])
    return str(inside) if inside.parts[:1] == ("dataset",) or str(inside) in ("LICENSE", "README.md") else None


RAW = Raw(folder="GroceryStoreDataset", gigabytes=0.5, place=place, problems=problems,
          url=f"https://github.com/marcusklasson/GroceryStoreDataset/archive/{COMMIT}.zip",
          by_hand="clone https://github.com/marcusklasson/GroceryStoreDataset so that dataset/ lies in it")
