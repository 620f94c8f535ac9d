"""Your own catalogue: one CSV and a folder of images. The CSV says what is what by its column names:

column              required  what it holds
image               yes       path of the image inside the images folder, one row per image
layer:NAME          yes       category; one column per layer, root-most first from left to right: layer:root,layer:leaf
attribute:NAME      no        state of an attribute, e.g. attribute:colour; an empty cell means not labelled
split               no        train, val or test, for all or none; without it images are split 7:2:1 inside each leaf
item                no        same text = same product; its images stay in one split
domain              no        consumer or shop
role                no        query, gallery or distractor, for search; a distractor needs no layers
classify            no        0 keeps a row out of classification (a gallery image, say); empty means 1
box_left, box_top,  no        all four: where the product is, in fractions of width and height from the top left
box_right, box_bottom
mask                no        path of an 8-bit image in the images folder, 255 = product

Any other column is left alone. Comma, semicolon and tab are all understood between columns; the text is UTF-8.
"""

import csv
import difflib
import hashlib
import io
import os
from collections import Counter
from pathlib import Path

import pandas as pd

from shoplens import paths
from shoplens.data.catalogue import BOX, Catalogue, CatalogueError, check_splits, split_products
from shoplens.data.sources.fetch import DataError
from shoplens.data.sources.readable import unreadable_images

LICENCE = "your own catalogue: its images stay yours, and on this machine"
OPTIONAL = ["split", "item", "domain", "role", "classify", "mask", *BOX]
CLASSIFY = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def prepare(*, csv: str = "", images: str = "", min_per_leaf: int = 0, min_per_attribute: int = 0,
            seed: int = 0) -> Catalogue:
    """Catalogue of a CSV and a folder of images, laid out as the head of this module says.

    csv, images: where they are; default `folder/products.csv` and `folder/images` under `$STUDY_DATA`.
    min_per_leaf, min_per_attribute: images that a leaf (an attribute) needs to stay, 0 = keep all. seed: of the split.
    Raises DataError where a file is missing or broken and CatalogueError where the table is, naming the lines.
    """
    table_file, folder = _locate(csv, "folder/products.csv"), _locate(images, "folder/images")
    table = read_table(table_file)
    layers = [c.removeprefix("layer:") for c in table if c.startswith("layer:")]
    attributes = [c.removeprefix("attribute:") for c in table if c.startswith("attribute:")]
    ignored = [c for c in table if c not in ["image", *OPTIONAL] and ":" not in c]
    check_images(table, table_file, folder)
    catalogue = Catalogue.build("folder", folder, to_images(table.drop(columns=ignored), layers), layers=layers,
                                attributes=attributes, licence=LICENCE, provenance={
        "csv_sha256": hashlib.sha256(table_file.read_bytes()).hexdigest(), "ignored_columns": ignored})
    catalogue = catalogue.drop_rare(min_per_leaf=min_per_leaf, min_per_attribute=min_per_attribute)
    given = (catalogue.images["split"] != "").any()
    _check_given(table_file, catalogue.images)
    catalogue.provenance["split"] = "as given" if given else _split(catalogue, seed)
    check_splits(catalogue)
    return catalogue


def _check_given(path: Path, images: pd.DataFrame) -> None:
    """CatalogueError where some of P1's images have a split and others have none."""
    p1 = images[images["classify"].astype(bool)]
    without = p1[p1["split"] == ""]
    if 0 < len(without) < len(p1):
        raise CatalogueError(f"{path}: column `split` is filled in for {len(p1) - len(without):,} of {len(p1):,} "
                             f"images and empty for {len(without):,} (such as {without['path'].iloc[0]!r}): fill it in "
                             "for all, or leave the column out to have them split 7:2:1.")


def _locate(given: str, default: str) -> Path:
    path = (paths.root() / Path(given).expanduser()) if given else paths.data_dir() / default
    if not path.exists():
        raise DataError(f"{path} is not there: a catalogue of your own is folder/products.csv and folder/images/ "
                        "under $STUDY_DATA, or wherever the parameters `csv` and `images` say.")
    return path.resolve()


def read_table(path: Path) -> pd.DataFrame:
    """The CSV as text, one row per image, with the line it stands on as index; empty cells are "".

    Raises CatalogueError for what is not such a table: encoding, ragged lines, no rows, missing or misspelt columns.
    """
    if not path.is_file():
        raise DataError(f"{path} is a folder: it must be the CSV itself.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[:error.start].count(b"\n") + 1
        raise CatalogueError(f"{path} is not UTF-8 (line {line}): save it again as 'CSV UTF-8'.") from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        numbered = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise CatalogueError(f"{path} is no CSV (line {reader.line_num}: {error}).") from None
    rows = {line: row for line, row in numbered if any(row)}
    if len(rows) < 2:
        raise CatalogueError(f"{path} holds no products: line 1 names the columns, every other line an image.")
    columns = rows.pop(next(iter(rows)))
    _check_columns(path, columns)
    if ragged := [line for line, row in rows.items() if len(row) != len(columns)]:
        raise CatalogueError(f"{path} has {len(columns)} columns, but another number on {_lines(ragged)}: put text "
                             f"that holds a {separator!r} in double quotes.")
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _check_columns(path: Path, columns: list[str]) -> None:
    given = f"{path} has the columns {', '.join(columns)}"
    if twice := [c for c, n in Counter(columns).items() if n > 1]:
        raise CatalogueError(f"{given}: {', '.join(twice)} stands there more than once; rename one.")
    if near := _near_misses(columns):
        raise CatalogueError(f"{given}: {near}.")
    if "image" not in columns:
        raise CatalogueError(f"{given}, but no column `image`: name the column of image paths `image`.")
    if not any(c.startswith("layer:") for c in columns):
        raise CatalogueError(f"{given}, but none for a category: name the category columns `layer:…`, root-most "
                             "first, e.g. `layer:root` and `layer:leaf` (one is enough).")
    if odd := [c for c in columns if ":" in c and c.partition(":")[0] not in ("layer", "attribute")]:
        raise CatalogueError(f"{given}: {', '.join(odd)} is neither `layer:…` nor `attribute:…`.")
    if nameless := [c for c in columns if c in ("layer:", "attribute:")]:
        raise CatalogueError(f"{given}: {', '.join(nameless)} lacks the name after the colon.")
    if (box := [c for c in BOX if c in columns]) and box != BOX:
        raise CatalogueError(f"{given}: a box needs all of {', '.join(BOX)}.")


def _near_misses(columns: list[str]) -> str:
    """Columns that are almost one of those that mean something, with the name meant; "" where there are none."""
    known, found = ["image", *OPTIONAL, "layer", "attribute"], []
    for column in columns:
        kind, colon, name = column.partition(":")
        plain = kind.strip().lower().replace(" ", "_").replace("-", "_")
        # One letter of five makes 0.8; one of four makes 0.75, and a column `rule` is not meant as `role`.
        near = difflib.get_close_matches(plain, [k for k in known if abs(len(k) - len(plain)) < 2], 1, 0.8)
        meant = next(iter(near), "")
        if meant and kind != meant and bool(colon) == (meant in ("layer", "attribute")) and meant not in columns:
            found.append(f"did you mean `{meant}{colon}{name}` by `{column}`? Write it so, or rename the column")
    return "; ".join(found)


def check_images(table: pd.DataFrame, path: Path, folder: Path) -> None:
    """Raise for images that are named twice or not at all, and for images and masks that lie outside `folder`, are
    missing or cannot be decoded."""
    images = table["image"]
    if (images == "").any():
        raise CatalogueError(f"{path}: no image is named on {_lines(images.index[images == ''])}.")
    if (twice := images.map(os.path.normpath).duplicated(keep=False)).any():
        raise CatalogueError(f"{path}: an image may stand on one line only, but {_named(images[twice])}: keep one "
                             "line of each.")
    for column in {"image", "mask"} & set(table):
        names = table.loc[table[column] != "", column]
        outside = names[[not _inside(name, folder) for name in names]]
        if len(outside):
            raise CatalogueError(f"{path}: paths in column `{column}` must stay inside {folder}, but "
                                 f"{_named(outside)}.")
        missing = names[[not (folder / name).is_file() for name in names]]
        if len(missing):
            raise DataError(f"{len(missing)} of {len(names)} files named in column `{column}` of {path} are not in "
                            f"{folder}: {_named(missing)}. Add the files or correct the column.")
        if broken := unreadable_images(folder / name for name in names):
            listed = "; ".join(f"{file} ({error})" for file, error in broken[:10])
            raise DataError(f"{len(broken)} of {len(names)} images cannot be decoded: {listed}. Replace them, or take "
                            f"their lines out of {path}.")


def _inside(name: str, folder: Path) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())      # a link may lead out


def to_images(table: pd.DataFrame, layers: list[str]) -> pd.DataFrame:
    """The catalogue's table of images from the text of the CSV: names, missing values, types."""
    labelled = [c for c in table if ":" in c or c in ("item", "mask")]
    images = table.astype(object)
    images[labelled] = images[labelled].where(images[labelled] != "", None)
    images = images.rename(columns=lambda c: c.partition(":")[2] or c)
    if len(set(images.columns)) < len(images.columns):
        raise CatalogueError(f"two of the columns {', '.join(table)} share a name after the colon: rename one.")
    images["image_id"] = images["path"] = [Path(os.path.normpath(i)).as_posix() for i in table["image"]]
    if "role" in table:
        images["role"] = table["role"].str.lower()
    if "domain" in table:
        images["domain"] = table["domain"].str.lower()
    images["split"] = table["split"].str.lower() if "split" in table else ""
    images["classify"] = True
    if "classify" in table:
        answers = table["classify"].str.lower().map(CLASSIFY)
        _refuse(table["classify"], answers.isna(), "1, 0 or nothing")
        images["classify"] = answers.astype(bool)
    if "role" in table:
        images["classify"] &= images["role"] != "distractor"
    for column in set(BOX) & set(table):
        numbers = pd.to_numeric(table[column], errors="coerce")
        _refuse(table[column], numbers.isna() & (table[column] != ""), "a number such as 0.25, or nothing")
        images[column] = numbers.astype(float)
    return images.drop(columns="image")


def _refuse(cells: pd.Series, wrong: pd.Series, wanted: str) -> None:
    if wrong.any():
        raise CatalogueError(f"column `{cells.name}` must hold {wanted}: {_named(cells[wrong])}.")


def _split(catalogue: Catalogue, seed: int) -> str:
    """Split P1's images 7:2:1 in place; returns how, for the provenance."""
    images, leaf = catalogue.images, catalogue.hierarchy.leaf
    p1 = images[images["classify"].astype(bool)]
    group = "item" if "item" in images else None
    if group and (several := p1.groupby("item")[leaf].nunique()).gt(1).any():
        torn = ", ".join(several.index[several > 1][:5])
        raise CatalogueError(f"an item belongs to one {leaf} only, but {torn} stands under several: correct the "
                             f"column `layer:{leaf}` or `item`.")
    images.loc[p1.index, "split"] = split_products(p1, layer=leaf, seed=seed, group=group)
    return f"7:2:1 in each {leaf}, seed {seed}" + (", items kept together" if group else "")


def _lines(lines) -> str:
    lines = list(lines)
    return ("line " if len(lines) == 1 else "lines ") + ", ".join(map(str, lines[:8])) + (
        f" and {len(lines) - 8} more" if len(lines) > 8 else "")


def _named(cells: pd.Series) -> str:
    first = [f"line {line} {value!r}" for line, value in cells.head(5).items()]
    return ", ".join(first) + (f" and {len(cells) - 5} more" if len(cells) > 5 else "")
