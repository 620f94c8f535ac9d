"""Images of products, their category hierarchy and their sparse attributes (P1 §3.1, §4.1)."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from shoplens import paths, sealed

SPLITS = ("train", "val", "test")
ROLES = ("query", "gallery", "distractor", "")
DOMAINS = ("consumer", "shop", "")
BOX = ["box_left", "box_top", "box_right", "box_bottom"]
RESERVED = ["image_id", "path", "split", "classify", "item", "domain", "role", "mask", *BOX]


class CatalogueError(ValueError):
    """A catalogue cannot be used; the message says what is wrong, with the rows at fault, and what to do about it."""


@dataclass(frozen=True)
class Hierarchy:
    """Category layers Ω = {C¹ … Cʰ}, root-most first (P1 §3.1).

    layers: names of the h layers. classes: layer → class names, sorted. parent: layer (all but the first) →
    for each of its classes the index of its parent in the layer above.
    """

    layers: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    parent: dict[str, tuple[int, ...]]

    @classmethod
    def from_table(cls, images: pd.DataFrame, layers: list[str]) -> "Hierarchy":
        """Read the tree off the rows that carry a label in every layer.

        Raises CatalogueError when a class has two parents, naming both and the rows of the rarer one.
        """
        missing = [layer for layer in layers if layer not in images]
        if missing or not layers:
            raise CatalogueError(f"the table of images has no column {missing or 'for any layer'}; "
                                 f"columns are {list(images.columns)}")
        labelled = images.dropna(subset=layers)
        classes = {layer: tuple(sorted(labelled[layer].unique())) for layer in layers}
        parent = {}
        for above, layer in zip(layers, layers[1:], strict=False):
            pairs = labelled.groupby([layer, above], observed=True)["image_id"].agg(["size", "first"])
            torn = pairs.index.get_level_values(0).duplicated(keep=False)
            if torn.any():
                rows = pairs[torn].sort_values("size").reset_index()
                found = "; ".join(f"{r[layer]!r} under {r[above]!r} ({r['size']} rows, e.g. {r['first']})"
                                  for _, r in rows.head(6).iterrows())
                raise CatalogueError(f"a {layer} must lie under one {above} only: {found}. "
                                     f"Correct column {above!r}, or give the two kinds of {layer} different names.")
            index = {name: i for i, name in enumerate(classes[above])}
            of = dict(pairs.index.to_list())
            parent[layer] = tuple(index[of[name]] for name in classes[layer])
        return cls(tuple(layers), classes, parent)

    @property
    def leaf(self) -> str:
        """Name of the deepest layer."""
        return self.layers[-1]

    def ancestor(self, layer: str, of: str | None = None) -> np.ndarray:
        """int64 array over the classes of `of` (default: leaf): index of each one's ancestor in `layer`."""
        below = self.layers.index(of or self.leaf)
        target = self.layers.index(layer)
        if target > below:
            raise ValueError(f"{layer!r} lies below {of or self.leaf!r}")
        codes = np.arange(len(self.classes[self.layers[below]]))
        for step in range(below, target, -1):
            codes = np.asarray(self.parent[self.layers[step]])[codes]
        return codes


@dataclass(frozen=True)
class Catalogue:
    """One row per image, with everything that is known about it.

    images: a table with the columns image_id · path (relative to `folder`) · split ("train", "val", "test" or "") ·
    one column per layer (class name or None) · one column per attribute (state or None = not labelled) · classify (is
    one of P1's images) · where known: item (its product), domain, role, mask, box_left … box_bottom (fractions).
    attributes: name → sorted states. A state's code is its position plus 1; code 0 means not labelled (P1 Eq. 7).
    core_by: the attributes of which a *core* image carries at least one; empty = any attribute, as P1 has it.
    source: parameters of the source that prepared it, None where no source did.
    """

    name: str
    folder: Path
    images: pd.DataFrame
    hierarchy: Hierarchy
    attributes: dict[str, tuple[str, ...]]
    licence: str
    provenance: dict = field(default_factory=dict)
    core_by: tuple[str, ...] = ()
    source: dict | None = None

    @classmethod
    def build(cls, name: str, folder: Path, images: pd.DataFrame, *, layers: list[str], attributes: list[str],
              licence: str, provenance: dict | None = None) -> "Catalogue":
        """Assemble and validate a catalogue; rows come out sorted by image_id, whatever order they came in."""
        images = images.copy()
        for column, default in (("split", ""), ("classify", True)):
            if column not in images:
                images[column] = default
        check_table(images, layers, attributes)
        images = images.sort_values("image_id").reset_index(drop=True)
        hierarchy = Hierarchy.from_table(images, layers)
        states = {a: tuple(sorted(images[a].dropna().unique())) for a in attributes}
        empty = [a for a, found in states.items() if not found]
        if empty:
            raise CatalogueError(f"attributes {empty} are labelled on no image: fill the columns or leave them out")
        return cls(name, Path(folder), images, hierarchy, states, licence, provenance or {})

    def __len__(self) -> int:
        return len(self.images)

    def labels(self, layer: str) -> np.ndarray:
        """int64 array of N class indices in `layer`; −1 where a row carries no label."""
        return self._codes(layer, self.hierarchy.classes[layer])

    def states(self, attribute: str) -> np.ndarray:
        """int64 array of N state codes of `attribute`: 0 = not labelled, 1 … m as in `attributes` (P1 Eq. 7)."""
        return self._codes(attribute, self.attributes[attribute]) + 1

    def _codes(self, column: str, names: tuple[str, ...]) -> np.ndarray:
        return pd.Categorical(self.images[column], categories=names).codes.astype(np.int64)

    def classified(self) -> np.ndarray:
        """Row numbers of P1's images, of every split."""
        return np.flatnonzero(self.images["classify"].to_numpy(bool))

    def has_attributes(self) -> np.ndarray:
        """bool array of N: at least one attribute (of `core_by`) is labelled (P1 §4.1, the *core* images)."""
        chosen = [a for a in self.attributes if not self.core_by or a in self.core_by]
        return self.images[chosen].notna().any(axis=1).to_numpy() if chosen else np.zeros(len(self), bool)

    def with_core(self, attributes: list[str]) -> "Catalogue":
        """The same catalogue with `core_by` set; raises CatalogueError for an attribute it does not have."""
        if unknown := sorted(set(attributes) - set(self.attributes)):
            raise CatalogueError(f"CORE_BY names {unknown}; {self.name!r} has the attributes {list(self.attributes)}")
        return replace(self, core_by=tuple(attributes))

    def rows(self, split: str, subset: str = "full") -> np.ndarray:
        """int64 row numbers of P1's images in `split` ("train", "val", "test") and `subset` ("full", "core")."""
        if split not in SPLITS or subset not in ("full", "core"):
            raise ValueError(f"split must be one of {SPLITS} and subset 'full' or 'core', got {split!r}, {subset!r}")
        chosen = self.images["classify"].to_numpy(bool) & (self.images["split"] == split).to_numpy()
        return np.flatnonzero(chosen & self.has_attributes() if subset == "core" else chosen)

    def files(self) -> list[Path]:
        """Path of each row's image."""
        return [self.folder / p for p in self.images["path"]]

    def keep(self, rows: np.ndarray) -> "Catalogue":
        """Catalogue of the given rows only; classes and states that no row carries any more are gone."""
        images = self.images.iloc[rows].reset_index(drop=True)
        return replace(self, images=images,
                       hierarchy=Hierarchy.from_table(images, list(self.hierarchy.layers)),
                       attributes={a: tuple(sorted(images[a].dropna().unique())) for a in self.attributes})

    def drop_rare(self, *, min_per_leaf: int = 0, min_per_attribute: int = 0) -> "Catalogue":
        """P1 §4.1's filters, in the paper's order: leaves with fewer than `min_per_leaf` images go with their
        images; then attributes labelled on fewer than `min_per_attribute` of what is left go, images stay.

        Both count P1's images only (`classify`); rows outside P1, such as search galleries, are kept.
        """
        leaf, classify = self.hierarchy.leaf, self.images["classify"].to_numpy(bool)
        if not classify.any():
            raise CatalogueError(f"{self.name!r} has no image to classify: column `classify` is 0 on every row")
        counts = self.images.loc[classify, leaf].value_counts()
        big = self.images[leaf].map(counts).fillna(0).to_numpy() >= min_per_leaf
        if not (big & classify).any():
            raise CatalogueError(f"no {leaf} of {self.name!r} has {min_per_leaf} images; the largest has "
                                 f"{counts.max()}. Lower MIN_PER_LEAF.")
        kept = self.keep(np.flatnonzero(big | ~classify))
        in_p1 = kept.images["classify"].to_numpy(bool)
        rare = [a for a in kept.attributes if kept.images.loc[in_p1, a].notna().sum() < max(min_per_attribute, 1)]
        return replace(kept, images=kept.images.drop(columns=rare),
                       attributes={a: s for a, s in kept.attributes.items() if a not in rare})

    def split_hash(self) -> str:
        """sha256 over (image_id, split) of all rows, in order of image_id: the same split has the same hash."""
        lines = sorted(f"{i}\t{s}" for i, s in zip(self.images["image_id"], self.images["split"], strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write products.parquet and catalogue.json into `folder`, all or nothing."""
        with paths.publish_folder(Path(folder)) as temporary:
            self.images.to_parquet(temporary / "products.parquet", index=False)
            (temporary / "catalogue.json").write_text(json.dumps({
                "name": self.name, "folder": _portable(self.folder), "layers": self.hierarchy.layers,
                "classes": self.hierarchy.classes, "parent": self.hierarchy.parent, "attributes": self.attributes,
                "licence": self.licence, "provenance": self.provenance, "core_by": self.core_by,
                "source": self.source,
            }, indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Catalogue":
        """Read what `save` wrote. Pictures in the cache that are gone or altered are made again by their source.

        Raises FileNotFoundError where there is no catalogue, and CatalogueError where its source no longer makes the
        pictures it was made of.
        """
        meta = json.loads((Path(folder) / "catalogue.json").read_text(encoding="utf-8"))
        hierarchy = Hierarchy(tuple(meta["layers"]), {k: tuple(v) for k, v in meta["classes"].items()},
                              {k: tuple(v) for k, v in meta["parent"].items()})
        base, relative = meta["folder"]
        where = {"data": paths.data_dir, "cache": paths.cache_dir}[base]() / relative if base else Path(relative)
        if base == "cache":
            _restore(where, meta["name"], meta["source"])
        return cls(meta["name"], where, pd.read_parquet(Path(folder) / "products.parquet"), hierarchy,
                   {k: tuple(v) for k, v in meta["attributes"].items()}, meta["licence"], meta["provenance"],
                   tuple(meta["core_by"]), meta["source"])


def _restore(folder: Path, name: str, source: dict | None) -> None:
    """Have the source make a folder of pictures in the cache again where it is not as it was made."""
    if source is not None and sealed.damage(folder):
        from shoplens.data import registry  # which imports this module

        registry.prepare(name, **source)
    if why := sealed.damage(folder):
        raise CatalogueError(f"the pictures of {name!r} cannot be made again in {folder} ({why}): run notebook 01, "
                             "which prepares the catalogue, anew")


def _portable(folder: Path) -> list[str]:
    """`folder` relative to the data or the cache folder, so that a saved catalogue can move with them."""
    for base, where in (("data", paths.data_dir()), ("cache", paths.cache_dir())):
        if Path(folder).resolve().is_relative_to(where.resolve()):
            return [base, str(Path(folder).resolve().relative_to(where.resolve()))]
    return ["", str(Path(folder).resolve())]


def _some(values) -> str:
    values = [str(v) for v in values]
    return ", ".join(values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "")


def check_table(images: pd.DataFrame, layers: list[str], attributes: list[str]) -> None:
    """Raise CatalogueError naming every problem of the table, with the rows at fault (five of each kind)."""
    missing = [c for c in ["image_id", "path", *layers, *attributes] if c not in images]
    if missing:
        raise CatalogueError(f"missing column(s) {missing}; found {list(images.columns)}")
    if clash := sorted(set(RESERVED) & {*layers, *attributes} | set(layers) & set(attributes)):
        raise CatalogueError(f"{clash} cannot name a layer or an attribute: the name is taken; rename the column")
    if images.empty:
        raise CatalogueError("the table of images has no rows")
    ids, problems = images["image_id"].astype(str), []

    def at_fault(mask, text):
        if mask.any():
            problems.append(f"{text}: {_some(ids[mask])}")

    at_fault(ids.duplicated(keep=False), "image_id given more than once")
    at_fault(~images["split"].isin([*SPLITS, ""]), f"split is none of {[*SPLITS, '']}")
    for column, allowed in (("role", ROLES), ("domain", DOMAINS)):
        if column in images:
            at_fault(~images[column].fillna("").isin(allowed), f"{column} is none of {list(allowed)}")
    for layer in layers:
        at_fault(images["classify"].astype(bool) & images[layer].isna(), f"no label in column {layer!r}")
    if set(BOX) <= set(images.columns):
        box = images[BOX]
        wrong = (box < 0).any(axis=1) | (box > 1).any(axis=1)
        wrong |= (box["box_left"] >= box["box_right"]) | (box["box_top"] >= box["box_bottom"])
        at_fault(wrong, "box is empty or leaves [0, 1]")
    if problems:
        raise CatalogueError("the table of images is not usable:\n  - " + "\n  - ".join(problems))


def check_splits(catalogue: Catalogue) -> None:
    """Raise CatalogueError for an empty split, a class that is never trained, fewer than two classes, or an item
    (or an image file) that stands in two splits."""
    images, problems = catalogue.images, []
    for split in SPLITS:
        if not len(catalogue.rows(split)):
            problems.append(f"split {split!r} holds no image")
    leaf = catalogue.hierarchy.leaf
    if len(catalogue.hierarchy.classes[leaf]) < 2:
        problems.append(f"there is only one {leaf}, {catalogue.hierarchy.classes[leaf][0]!r}: classification needs two")
    p1 = images[images["classify"].astype(bool)]
    untrained = sorted(set(p1[leaf]) - set(p1.loc[p1["split"] == "train", leaf]))
    if untrained:
        problems.append(f"no training image for {leaf} {_some(untrained)}")
    placed = images[images["split"] != ""]
    for column in {"path", "item"} & set(images.columns):
        splits = placed.dropna(subset=[column]).groupby(column)["split"].nunique()
        if (splits > 1).any() and not catalogue.provenance.get(f"{column}_shared_between_splits"):
            problems.append(f"{column} in two splits: {_some(splits.index[splits > 1])}")
    if problems:
        raise CatalogueError(f"{catalogue.name!r} cannot be trained on:\n  - " + "\n  - ".join(problems))


def split_products(images: pd.DataFrame, *, layer: str, ratios: tuple[int, int, int] = (7, 2, 1), seed: int = 0,
                   group: str | None = None) -> pd.Series:
    """Split of each row, index as `images`: "train", "test" or "val", drawn inside each class of `layer`.

    ratios: train : TEST : validation as in P1 §4.1, of rows, as near as whole units allow. group: column whose equal
    values stay together (the views of a product); rows where it is empty stand alone. A unit's place follows from the
    hash of its own name and the seed, so neither file order nor worker count matters. Every split gets at least one
    unit of each class that has three; a class with two goes to train and test.
    """
    unit = images["image_id"].astype(str)
    if group:
        unit = images[group].where(images[group].notna(), "image:" + unit).astype(str)
    key = unit.map({u: hashlib.sha256(f"{seed}|{u}".encode()).hexdigest() for u in unit.unique()})
    split = pd.Series("", index=images.index, dtype=object)
    for _, rows in key.groupby(images[layer]):
        size = rows.value_counts().sort_index()
        test, val = (max(1, round(len(rows) * r / sum(ratios))) if len(size) >= n else 0
                     for r, n in zip(ratios[1:], (2, 3), strict=True))
        middle = (size.cumsum() - size / 2).to_numpy()
        place = np.select([middle <= test, middle <= test + val], ["test", "val"], "train").astype(object)
        if len(size) >= 2 and "test" not in place:
            place[0] = "test"
        if len(size) >= 3 and "val" not in place:
            tests = (place == "test").sum()
            place[tests - 1 if tests > 1 else tests] = "val"
        split[rows.index] = rows.map(dict(zip(size.index, place, strict=True)))
    return split
