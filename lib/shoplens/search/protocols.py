"""Which images ask and which answer, in training, validation and test (P2 §4.3)."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from shoplens.data.catalogue import SPLITS, Catalogue, CatalogueError

PROTOCOLS = {
    "items": "queries and gallery as the catalogue's roles say; no item in two splits",
    "unseen": "published test and validation photographs ask, published training photographs of the same products "
              "answer; products are split, so a test product is never seen in training",
    "iconic": "as unseen, but the one clean shop picture of each product answers",
    "known": "new photographs of known products: all products in every split, training photographs answer",
}


@dataclass(frozen=True)
class SearchSplit:
    """Row numbers of the catalogue: queries, and the gallery they search."""

    queries: np.ndarray
    gallery: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Queries and gallery together, sorted, each row once."""
        return np.union1d(self.queries, self.gallery)


@dataclass(frozen=True)
class SearchProtocol:
    """name: one of PROTOCOLS. items: int64 of all rows, the product each shows, −1 where unknown. splits: "train",
    "val", "test" → SearchSplit. In "known", the training queries are gallery images themselves: a query is never its
    own positive."""

    name: str
    items: np.ndarray
    splits: dict[str, SearchSplit]

    def relevant(self, split: str) -> np.ndarray:
        """How many images of the gallery show each query's product: Q counts."""
        return _relevant(self.items, self.splits[split].queries, self.splits[split].gallery)

    def products(self, split: str) -> np.ndarray:
        """Product of each query of a split: Q."""
        return self.items[self.splits[split].queries]


def sample_queries(protocol: SearchProtocol, split: str, most: int = 500, seed: int = 0) -> SearchProtocol:
    """The protocol with at most `most` queries of a split, in their order, the same for everyone who asks with this
    seed; galleries and the other splits stay whole."""
    own = protocol.splits[split]
    drawn = np.sort(np.random.default_rng(seed).permutation(len(own.queries))[:most])
    return replace(protocol, splits=protocol.splits | {split: SearchSplit(own.queries[drawn], own.gallery)})


def build_protocol(catalogue: Catalogue, name: str, *, seed: int = 0,
                   ratios: tuple[int, int, int] = (6, 2, 2)) -> SearchProtocol:
    """Queries and gallery of each split. ratios: products in train : val : test, where the protocol splits products;
    they stand in the order of a hash of name and seed, and the first of them train.

    Queries without anything relevant in their gallery are left out. Raises CatalogueError where the catalogue cannot
    serve the protocol, or a split is left without a query.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is one of {list(PROTOCOLS)}, got {name!r}")
    products = catalogue.images
    if missing := [column for column in ("item", "role") if column not in products]:
        raise CatalogueError(f"{catalogue.name!r} has no column {missing}: product search needs to know which images "
                             f"show the same item and which ask and answer")
    codes, names = products["item"].astype("category").cat.codes.to_numpy(np.int64), products["item"].dropna().unique()
    split, role = products["split"].to_numpy(), products["role"].to_numpy()
    domain = products["domain"].to_numpy() if "domain" in products else np.full(len(products), "")
    if name == "items":
        of_split = {s: (np.flatnonzero((split == s) & (role == "query")),
                        np.flatnonzero((split == s) & (role == "gallery"))) for s in SPLITS}
    elif name == "known":
        photos = np.flatnonzero((split == "train") & (domain == "consumer") & (codes >= 0))
        of_split = {"train": (photos, photos)} | {
            s: (np.flatnonzero((split == s) & (role == "query")), photos) for s in ("val", "test")}
    else:
        place = _places(sorted(names), ratios, seed)
        part = products["item"].map(place).to_numpy()
        asks = (role == "query") & np.isin(split, ("val", "test"))
        answers = (domain == "shop") if name == "iconic" else (split == "train") & (domain == "consumer")
        of_split = {s: (np.flatnonzero(asks & (part == s)), np.flatnonzero(answers & (part == s))) for s in SPLITS}
    splits = {}
    for s, (queries, gallery) in of_split.items():
        splits[s] = SearchSplit(queries[_relevant(codes, queries, gallery) > 0], gallery)
        if not len(splits[s].queries):
            raise CatalogueError(f"{catalogue.name!r} has no {s} query with an answer under protocol {name!r}")
    return SearchProtocol(name, codes, splits)


def _relevant(items: np.ndarray, queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """How many images of the gallery, itself aside, show each query's product; none where that is not known."""
    shown = items[gallery]
    counts = np.bincount(shown[shown >= 0], minlength=max(items.max() + 1, 1))
    return np.where(items[queries] < 0, 0, counts[items[queries]] - np.isin(queries, gallery))


def _places(items: list[str], ratios: tuple[int, int, int], seed: int) -> dict[str, str]:
    """item → split, by the order of hashes."""
    order = sorted(items, key=lambda item: hashlib.sha256(f"{seed}|{item}".encode()).hexdigest())
    ends = np.round(np.cumsum(ratios) / sum(ratios) * len(order)).astype(int)
    return {item: SPLITS[int(np.searchsorted(ends, rank, side="right"))] for rank, item in enumerate(order)}
