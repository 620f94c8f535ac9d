"""Protocols of search against loops over tables small enough to read, and against the real groceries."""

import hashlib
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from benchmarks.__main__ import training_protocol
from shoplens.data import registry
from shoplens.data.catalogue import SPLITS, Catalogue, CatalogueError
from shoplens.search.protocols import PROTOCOLS, SearchProtocol, SearchSplit, build_protocol, sample_queries

SPLITTING = ("unseen", "iconic")
PRODUCTS = 20


def _table() -> pd.DataFrame:
    """20 products with unequal numbers of pictures of each kind, some with none, and pictures of nobody knows what;
    products do not lie together."""
    rows = []

    def add(item, split, domain, role, count=1):
        rows.extend({"item": item, "split": split, "domain": domain, "role": role} for _ in range(count))

    for p in range(PRODUCTS):
        add(f"p{p:02}", "train", "consumer", "gallery", p % 4)
        add(f"p{p:02}", "train", "shop", "gallery", p % 7 == 0)
        add(f"p{p:02}", "val", "consumer", "query", p % 3)
        add(f"p{p:02}", "test", "consumer", "query", 1 + p % 2)
        add(f"p{p:02}", "", "shop", "gallery", p % 5 > 0)
    for split, domain, role in (("train", "consumer", "gallery"), ("val", "consumer", "query"),
                                ("test", "consumer", "query"), ("", "shop", "gallery"), ("", "shop", "distractor")):
        add(None, split, domain, role)
    ids = np.random.default_rng(1).permutation(len(rows))
    return pd.DataFrame(rows).assign(image_id=[f"i{i:03}" for i in ids])


def _by_roles() -> pd.DataFrame:
    """What "items" asks for: each product in one split, with pictures that ask and pictures that answer."""
    rows = [{"item": f"p{p:02}", "split": SPLITS[p % 3], "role": role, "domain": ""}
            for p in range(12) for role, count in (("query", 1 + p % 2), ("gallery", p % 4)) for _ in range(count)]
    rows += [{"item": None, "split": split, "role": role, "domain": ""}
             for split in SPLITS for role in ("query", "gallery", "distractor")]
    ids = np.random.default_rng(2).permutation(len(rows))
    return pd.DataFrame(rows).assign(image_id=[f"i{i:03}" for i in ids])


def _catalogue(products: pd.DataFrame) -> Catalogue:
    return Catalogue.build("toy", "images", products.assign(path=products["image_id"] + ".jpg", leaf="x"),
                           layers=["leaf"], attributes=[], licence="none")


def _plain(products: int) -> Catalogue:
    """Products with one training photograph and one test photograph each."""
    rows = [{"item": f"p{p}", "split": split, "role": role, "domain": "consumer", "image_id": f"{split}{p:03}"}
            for p in range(products) for split, role in (("train", "gallery"), ("test", "query"))]
    return _catalogue(pd.DataFrame(rows))


def _own(item, other) -> bool:
    return isinstance(item, str) and item == other


def _expected(catalogue: Catalogue, name: str, seed: int = 0) -> dict[str, tuple[dict[int, int], list[int]]]:
    """split → ({query: images that show its product}, gallery), row by row of the table."""
    rows = list(catalogue.images.itertuples())
    order = sorted({r.item for r in rows if isinstance(r.item, str)},
                   key=lambda item: hashlib.sha256(f"{seed}|{item}".encode()).hexdigest())
    products = {"train": order[:12], "val": order[12:16], "test": order[16:]}
    expected, left_out = {}, []
    for split in SPLITS:
        queries, gallery = [], []
        for r in rows:
            photo = r.split == "train" and r.domain == "consumer" and isinstance(r.item, str)
            asks = {"items": r.split == split and r.role == "query",
                    "known": photo if split == "train" else r.split == split and r.role == "query",
                    }.get(name, r.split in ("val", "test") and r.role == "query" and r.item in products[split])
            answers = {"items": r.split == split and r.role == "gallery", "known": photo,
                       "unseen": photo and r.item in products[split],
                       "iconic": r.domain == "shop" and r.item in products[split]}[name]
            queries += [r.Index] * asks
            gallery += [r.Index] * answers
        counts = {q: sum(g != q and _own(rows[q].item, rows[g].item) for g in gallery) for q in queries}
        expected[split] = {q: count for q, count in counts.items() if count}, gallery
        left_out += [q for q, count in counts.items() if not count]
    assert left_out, "the table must hold queries without an answer"
    return expected


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_queries_and_gallery_are_those_a_loop_over_the_table_finds(name):
    catalogue = _catalogue(_by_roles() if name == "items" else _table())
    protocol, expected = build_protocol(catalogue, name), _expected(catalogue, name)
    assert protocol.name == name
    assert list(protocol.splits) == list(SPLITS)
    for split, (queries, gallery) in expected.items():
        own = protocol.splits[split]
        assert own.queries.tolist() == list(queries)
        assert own.gallery.tolist() == gallery
        assert protocol.relevant(split).tolist() == list(queries.values())
    published = catalogue.images["item"].tolist()
    for one, item in zip(protocol.items, published, strict=True):
        same = [row for row, other in enumerate(published) if _own(item, other)]
        assert np.flatnonzero(protocol.items == one).tolist() == same if same else one == -1


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("name", SPLITTING)
def test_another_seed_splits_products_by_its_own_hashes(name, seed):
    catalogue = _catalogue(_table())
    for split, (queries, gallery) in _expected(catalogue, name, seed).items():
        own = build_protocol(catalogue, name, seed=seed).splits[split]
        assert own.queries.tolist() == list(queries)
        assert own.gallery.tolist() == gallery


def test_in_items_a_gallery_image_of_no_known_product_is_a_stranger():
    """A table of one's own may leave the cell empty; nobody finds such an image, and it asks nothing."""
    catalogue = _catalogue(_by_roles())
    protocol = build_protocol(catalogue, "items")
    for split, own in protocol.splits.items():
        assert (protocol.items[own.gallery] == -1).sum() == 1, split
        assert (protocol.items[own.queries] >= 0).all()


# --- products, where the protocol splits them ---------------------------------------------------------------------


def _places(catalogue: Catalogue, name: str, **known) -> dict[str, str]:
    """product → the split whose queries or gallery show it; fails for a product in two."""
    found = defaultdict(set)
    items = catalogue.images["item"].to_numpy()
    for split, own in build_protocol(catalogue, name, **known).splits.items():
        for row in (*own.queries, *own.gallery):
            found[items[row]].add(split)
    assert all(len(splits) == 1 for splits in found.values()), found
    return {item: splits.pop() for item, splits in found.items()}


def _shared(first: dict, second: dict) -> list[tuple]:
    return [(first[item], second[item]) for item in first.keys() & second.keys()]


def test_no_product_stands_in_two_splits_and_both_protocols_agree_on_its_own():
    for seed in range(3):
        unseen, iconic = (_places(_catalogue(_table()), name, seed=seed) for name in SPLITTING)
        shared = _shared(unseen, iconic)
        assert len(shared) > PRODUCTS / 2
        assert all(a == b for a, b in shared)


@pytest.mark.parametrize("name", SPLITTING)
def test_a_products_place_follows_from_its_name_and_the_seed(name):
    """Not from its rows: their order, their number, other columns."""
    table, before = _table(), _places(_catalogue(_table()), name)
    turned = table.assign(image_id=table["image_id"].to_numpy()[::-1])
    some = table[table["item"].isin(["p03", "p07"])]
    more = pd.concat([table, some.assign(image_id="more" + some["image_id"])])
    for other in (turned, more, table.sample(frac=1, random_state=0)):
        assert _places(_catalogue(other), name) == before
    assert any(a != b for a, b in _shared(before, _places(_catalogue(table), name, seed=1)))
    renamed = table.assign(item=table["item"].map(lambda i: f"other {i}" if isinstance(i, str) else None))
    after = {item.removeprefix("other "): split for item, split in _places(_catalogue(renamed), name).items()}
    assert any(a != b for a, b in _shared(before, after))


@pytest.mark.parametrize(("products", "ratios", "sizes"), [
    (10, (6, 2, 2), [6, 2, 2]), (81, (6, 2, 2), [49, 16, 16]), (30, (1, 1, 1), [10, 10, 10]),
    (20, (16, 2, 2), [16, 2, 2]), (5, (6, 2, 2), [3, 1, 1])])
def test_ratios_are_kept_to_a_product(products, ratios, sizes):
    for seed in range(3):
        splits = build_protocol(_plain(products), "unseen", seed=seed, ratios=ratios).splits.values()
        assert [len(own.gallery) for own in splits] == [len(own.queries) for own in splits] == sizes


@pytest.mark.parametrize("products", [7, 11, 13, 52])
def test_ratios_that_cannot_be_kept_are_off_by_less_than_a_product(products):
    splits = build_protocol(_plain(products), "unseen").splits.values()
    sizes = [len(own.gallery) for own in splits]
    assert sum(sizes) == products
    assert all(abs(size - products * share) < 1 for size, share in zip(sizes, (0.6, 0.2, 0.2), strict=True))


# --- known products -----------------------------------------------------------------------------------------------


def test_in_known_a_training_query_is_in_the_gallery_and_is_not_its_own_answer():
    catalogue = _catalogue(_table())
    protocol = build_protocol(catalogue, "known")
    own, items = protocol.splits["train"], catalogue.images["item"].to_numpy()
    assert set(own.queries) < set(own.gallery)
    alone = set(own.gallery) - set(own.queries)
    photos = pd.Series(items[own.gallery]).value_counts()
    assert {items[row] for row in alone} == set(photos.index[photos == 1])     # nothing left to be found
    assert protocol.relevant("train").tolist() == [photos[items[row]] - 1 for row in own.queries]
    for split in ("val", "test"):
        assert not set(protocol.splits[split].queries) & set(own.gallery)
        assert protocol.relevant(split).tolist() == [photos[items[row]] for row in protocol.splits[split].queries]


# --- what cannot be served ----------------------------------------------------------------------------------------


def test_an_unknown_protocol_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"protocol is one of \['items', 'unseen', 'iconic', 'known'\], got 'seen'"):
        build_protocol(_catalogue(_table()), "seen")


@pytest.mark.parametrize("name", list(PROTOCOLS))
@pytest.mark.parametrize("missing", [["item"], ["role"], ["item", "role"]])
def test_a_catalogue_that_does_not_say_who_asks_or_what_is_shown_cannot_be_searched(name, missing):
    with pytest.raises(CatalogueError, match="'toy' has no column ") as error:
        build_protocol(_catalogue(_table().drop(columns=missing)), name)
    assert str(missing) in str(error.value)


@pytest.mark.parametrize(("name", "change", "split"), [
    ("items", lambda t: t[t["split"] != "val"], "val"),
    ("items", lambda t: t[(t["role"] != "gallery") | (t["split"] != "test")], "test"),
    ("items", lambda t: t.assign(item=None), "train"),
    ("known", lambda t: t[t["split"] != "val"], "val"),
    ("known", lambda t: t[(t["split"] != "train") | ~t["item"].duplicated()], "train"),
    ("known", lambda t: t.drop(columns="domain"), "train"),
    ("known", lambda t: t.assign(item=None), "train"),
    ("unseen", lambda t: t[t["role"] != "query"], "train"),
    ("unseen", lambda t: t[t["item"].isin(["p01", "p03"])], "test"),
    ("unseen", lambda t: t.assign(item=None), "train"),
    ("iconic", lambda t: t[t["domain"] != "shop"], "train"),
    ("iconic", lambda t: t.drop(columns="domain"), "train"),
])
def test_a_split_left_without_a_query_is_named(name, change, split):
    products = change(_by_roles() if name == "items" else _table())
    with pytest.raises(CatalogueError, match=f"'toy' has no {split} query with an answer under protocol '{name}'"):
        build_protocol(_catalogue(products), name)


# --- real photographs ---------------------------------------------------------------------------------------------


def test_the_81_groceries(study_data, scratch_root):
    catalogue = registry.prepare("grocery")
    products = catalogue.images
    places = {name: _places(catalogue, name) for name in SPLITTING}
    assert places["unseen"] == places["iconic"]
    assert [list(places["unseen"].values()).count(split) for split in SPLITS] == [49, 16, 16]
    of = {split: {item for item, place in places["unseen"].items() if place == split} for split in SPLITS}
    assert not of["train"] & of["test"]

    unseen = build_protocol(catalogue, "unseen")
    assert sum(len(own.queries) for own in unseen.splits.values()) == 296 + 2485
    assert sum(len(own.gallery) for own in unseen.splits.values()) == 2640
    assert set(products["item"].iloc[unseen.splits["test"].queries]) <= of["test"]
    iconic = build_protocol(catalogue, "iconic")
    assert [len(own.gallery) for own in iconic.splits.values()] == [49, 16, 16]
    assert all((iconic.relevant(split) == 1).all() for split in SPLITS)
    for split in SPLITS:
        assert iconic.splits[split].queries.tolist() == unseen.splits[split].queries.tolist()

    known = build_protocol(catalogue, "known")
    assert [len(own.queries) for own in known.splits.values()] == [2640, 296, 2485]
    assert all(len(own.gallery) == 2640 for own in known.splits.values())
    photos = products[(products["split"] == "train")]["item"].value_counts()
    tested = products["item"].iloc[known.splits["test"].queries]
    assert known.relevant("test").tolist() == photos[tested].tolist()
    assert known.relevant("train").sum() == (photos * (photos - 1)).sum()
    with pytest.raises(CatalogueError, match="no train query"):
        build_protocol(catalogue, "items")


@pytest.mark.parametrize(("table", "name"), [(_by_roles(), "items"), (_table(), "unseen"),
                                             (_table().drop(columns="role"), None)])
def test_the_benchmark_learns_by_a_protocol_the_catalogue_can_serve(table, name):
    protocol = training_protocol(_catalogue(table))
    assert (protocol and protocol.name) == name


def test_a_sample_of_queries_is_the_same_for_everyone_and_leaves_the_rest_whole():
    split = SearchSplit(np.arange(0, 40), np.arange(20, 70))
    splits = {"train": split, "test": SearchSplit(np.arange(5), split.gallery)}
    whole = SearchProtocol("known", np.arange(70) // 7, splits)
    few = sample_queries(whole, "train", 12)
    queries = few.splits["train"].queries
    assert len(set(queries)) == 12
    assert queries.tolist() == sorted(queries)
    assert set(queries) < set(split.queries)
    assert few.splits["train"].gallery is split.gallery
    assert few.splits["test"] is whole.splits["test"]
    assert few.products("train").tolist() == [row // 7 for row in queries]
    np.testing.assert_array_equal(sample_queries(whole, "train", 12).splits["train"].queries, queries)
    assert (sample_queries(whole, "train", 12, seed=1).splits["train"].queries != queries).any()
    assert sample_queries(whole, "train", 99).splits["train"].queries.tolist() == split.queries.tolist()
