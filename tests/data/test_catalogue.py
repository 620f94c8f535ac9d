"""catalogue.py against tables small enough to check by hand, and against properties over random ones."""

import hashlib

import numpy as np
import pandas as pd
import pytest

from shoplens.data.catalogue import Catalogue, CatalogueError, Hierarchy, check_splits, split_products

ROWS = [  # image_id, split, root, leaf, colour, neck
    ("a", "train", "wear", "shirt", "red", None),
    ("b", "train", "wear", "shirt", None, "round"),
    ("c", "val", "wear", "shirt", None, None),
    ("d", "test", "wear", "skirt", "blue", None),
    ("e", "train", "wear", "skirt", "red", None),
    ("f", "train", "bags", "tote", None, None),
    ("g", "test", "bags", "tote", None, None),
]


def table(rows=ROWS) -> pd.DataFrame:
    images = pd.DataFrame(rows, columns=["image_id", "split", "root", "leaf", "colour", "neck"])
    return images.assign(path=images["image_id"] + ".jpg")


def catalogue(images=None, **provenance) -> Catalogue:
    return Catalogue.build("toy", "images", table() if images is None else images, layers=["root", "leaf"],
                           attributes=["colour", "neck"], licence="none", provenance=provenance)


def random_products(seed: int, n: int = 400, leaves: int = 9, items: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    item = rng.zipf(1.6, n) % items
    return pd.DataFrame({"image_id": [f"i{k:04d}" for k in rng.permutation(n)], "item": [f"p{k}" for k in item],
                         "leaf": [f"leaf{k % leaves}" for k in item]})


# ---- hierarchy

def test_hierarchy_is_read_off_the_table():
    tree = catalogue().hierarchy
    assert tree.classes == {"root": ("bags", "wear"), "leaf": ("shirt", "skirt", "tote")}
    assert tree.parent == {"leaf": (1, 1, 0)}
    assert tree.leaf == "leaf"


def test_ancestor_of_every_class_over_three_layers():
    images = pd.DataFrame({"image_id": list("abcd"), "top": ["x", "x", "y", "y"], "mid": ["m1", "m2", "m3", "m3"],
                             "low": ["l3", "l2", "l1", "l0"]})
    tree = Hierarchy.from_table(images, ["top", "mid", "low"])
    assert tree.ancestor("mid").tolist() == [2, 2, 1, 0]  # l0, l1 → m3; l2 → m2; l3 → m1
    assert tree.ancestor("top").tolist() == [1, 1, 0, 0]
    assert tree.ancestor("top", of="mid").tolist() == [0, 0, 1]
    assert tree.ancestor("low").tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="lies below"):
        tree.ancestor("low", of="mid")


def test_leaf_under_two_roots_names_both_and_a_row():
    images = table()
    images.loc[images["image_id"] == "e", "root"] = "bags"
    with pytest.raises(CatalogueError, match="under one root only") as error:
        catalogue(images)
    assert all(part in str(error.value) for part in ("'skirt'", "'bags'", "'wear'", "e.g. e"))


# ---- validation

@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.assign(image_id=t["image_id"].replace("b", "a")), "given more than once: a, a"),
    (lambda t: t.assign(split=t["split"].replace("val", "dev")), "split is none of .*: c"),
    (lambda t: t.assign(leaf=t["leaf"].replace("tote", None)), "no label in column 'leaf': f, g"),
    (lambda t: t.assign(role="shopper"), "role is none of"),
    (lambda t: t.assign(domain="street"), "domain is none of"),
    (lambda t: t.drop(columns="leaf"), r"missing column\(s\) \['leaf'\]"),
    (lambda t: t.iloc[:0], "no rows"),
    (lambda t: t.assign(neck=None), r"\['neck'\] are labelled on no image"),
    (lambda t: t.assign(box_left=.5, box_right=.4, box_top=0, box_bottom=1), "box is empty"),
    (lambda t: t.assign(box_left=-.1, box_right=.4, box_top=0, box_bottom=1), r"box .* leaves \[0, 1\]"),
])
def test_what_is_wrong_is_named_with_its_rows(change, message):
    with pytest.raises(CatalogueError, match=message):
        catalogue(change(table()))


def test_every_problem_is_told_at_once():
    images = table().assign(role="shopper")
    images.loc[0, "split"] = "dev"
    with pytest.raises(CatalogueError, match="split is none of") as error:
        catalogue(images)
    assert "role is none of" in str(error.value)


def test_attribute_cannot_take_a_column_of_the_schema():
    with pytest.raises(CatalogueError, match=r"\['split'\] cannot name a layer or an attribute"):
        Catalogue.build("toy", "images", table(), layers=["leaf"], attributes=["split"], licence="none")


def test_check_splits_accepts_the_toy():
    check_splits(catalogue())


@pytest.mark.parametrize(("change", "message"), [
    (lambda t: t.assign(split=t["split"].replace("val", "train")), "'val' holds no image"),
    (lambda t: t.assign(split=t["split"].replace("val", "")), "'val' holds no image"),
    (lambda t: t[t["leaf"] == "shirt"], "only one leaf, 'shirt'"),
    (lambda t: t.assign(split=t["split"].where(t["image_id"] != "f", "test")), "no training image for leaf tote"),
    (lambda t: t.assign(item=["p", "q", "p", "r", "s", "t", "u"]), "item in two splits: p"),
    (lambda t: t.assign(path="same.jpg"), "path in two splits: same.jpg"),
])
def test_what_cannot_be_trained_on(change, message):
    with pytest.raises(CatalogueError, match=message):
        check_splits(catalogue(change(table())))


def test_published_splits_may_share_items_when_the_source_says_why():
    images = table().assign(item="p")
    check_splits(catalogue(images, item_shared_between_splits="the publisher's own split"))


# ---- codes and subsets

def test_labels_and_states():
    toy = catalogue()
    assert toy.labels("leaf").tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert toy.attributes == {"colour": ("blue", "red"), "neck": ("round",)}
    assert toy.states("colour").tolist() == [2, 0, 0, 1, 2, 0, 0]
    assert toy.states("neck").tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_rows_without_labels_have_code_minus_one():
    images = pd.concat([table(), pd.DataFrame([{"image_id": "z", "path": "z.jpg", "split": "", "classify": False}])],
                         ignore_index=True)
    images["classify"] = images["classify"].fillna(True).astype(bool)
    toy = catalogue(images)
    assert toy.labels("leaf")[-1] == -1
    assert toy.states("colour")[-1] == 0
    assert toy.rows("train").tolist() == [0, 1, 4, 5]


def test_core_subset_by_hand():
    toy = catalogue()
    assert toy.has_attributes().tolist() == [True, True, False, True, True, False, False]
    assert toy.rows("train", "full").tolist() == [0, 1, 4, 5]
    assert toy.rows("train", "core").tolist() == [0, 1, 4]
    assert toy.rows("val", "core").tolist() == []
    assert toy.rows("test", "core").tolist() == [3]
    with pytest.raises(ValueError, match="subset"):
        toy.rows("train", "most")


def test_rows_come_out_in_one_order_whatever_order_they_came_in():
    shuffled = catalogue(table().sample(frac=1, random_state=3))
    pd.testing.assert_frame_equal(shuffled.images, catalogue().images, check_like=True)


# ---- P1's filters

def test_drop_rare_by_hand():
    small = catalogue().drop_rare(min_per_leaf=3)
    assert small.hierarchy.classes == {"root": ("wear",), "leaf": ("shirt",)}
    assert small.attributes == {"colour": ("red",), "neck": ("round",)}  # blue went with the skirts
    assert small.images["image_id"].tolist() == ["a", "b", "c"]

    sparse = catalogue().drop_rare(min_per_leaf=2, min_per_attribute=2)
    assert sparse.attributes == {"colour": ("blue", "red")}
    assert "neck" not in sparse.images
    assert len(sparse) == 7  # dropping an attribute drops no image
    assert sparse.has_attributes().sum() == 3


def test_attributes_are_counted_after_leaves_are_dropped():
    kept = catalogue().drop_rare(min_per_leaf=3, min_per_attribute=2)
    assert kept.attributes == {}  # colour was on three images, but on one of the shirts


def test_drop_rare_counts_classified_rows_only_and_keeps_the_others():
    images = table().assign(classify=[True] * 5 + [False, False])
    kept = catalogue(images).drop_rare(min_per_leaf=2)
    assert kept.images["image_id"].tolist() == list("abcdefg")
    assert set(kept.images.loc[kept.images["classify"], "leaf"]) == {"shirt", "skirt"}


def test_drop_rare_of_everything_says_what_the_largest_leaf_has():
    with pytest.raises(CatalogueError, match="largest has 3"):
        catalogue().drop_rare(min_per_leaf=100)


# ---- splitting

def test_split_is_7_2_1_inside_each_leaf():
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(150)], "leaf": ["big"] * 100 + ["small"] * 50})
    split = split_products(images, layer="leaf")
    assert split[:100].value_counts().to_dict() == {"train": 70, "test": 20, "val": 10}
    assert split[100:].value_counts().to_dict() == {"train": 35, "test": 10, "val": 5}


@pytest.mark.parametrize(("n", "counts"), [(1, {"train": 1}), (2, {"train": 1, "test": 1}),
                                         (3, {"train": 1, "test": 1, "val": 1})])
def test_split_of_tiny_leaves(n, counts):
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "leaf": "rare"})
    assert split_products(images, layer="leaf").value_counts().to_dict() == counts


def test_split_follows_the_hash_of_the_name():
    names = [f"i{k}" for k in range(10)]
    order = sorted(names, key=lambda name: hashlib.sha256(f"7|{name}".encode()).hexdigest())
    split = split_products(pd.DataFrame({"image_id": names, "leaf": "x"}), layer="leaf", seed=7)
    assert dict(zip(names, split, strict=True)) == dict(zip(order, ["test"] * 2 + ["val"] + ["train"] * 7,
                                                            strict=True))


@pytest.mark.parametrize("sizes", [[1, 1, 25], [25, 1, 1], [30, 30, 30], [5, 1], [1, 1, 1, 1, 40]])
def test_items_of_very_different_size_still_fill_every_split(sizes):
    for seed in range(8):
        item = np.repeat([f"p{k}" for k in range(len(sizes))], sizes)
        images = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(item))], "item": item, "leaf": "x"})
        split = split_products(images, layer="leaf", seed=seed, group="item")
        assert set(split) == ({"train", "test", "val"} if len(sizes) > 2 else {"train", "test"})


@pytest.mark.parametrize("seed", range(6))
def test_properties_over_random_tables(seed):
    images = random_products(seed)
    images.loc[images.index % 7 == 0, "item"] = None
    split = split_products(images, layer="leaf", seed=seed, group="item")
    assert set(split) == {"train", "val", "test"}
    assert images.assign(split=split).dropna(subset="item").groupby("item")["split"].nunique().max() == 1

    shuffled = images.sample(frac=1, random_state=seed)
    pd.testing.assert_series_equal(split_products(shuffled, layer="leaf", seed=seed, group="item").sort_index(),
                                   split, check_names=False)
    alone = images[images["leaf"] == "leaf3"]
    pd.testing.assert_series_equal(split_products(alone, layer="leaf", seed=seed, group="item"),
                                   split[alone.index], check_names=False)
    assert (split_products(images, layer="leaf", seed=seed + 100, group="item") != split).any()

    # Each leaf is off its ratios by less than its largest item, on either side of a boundary.
    unit = images["item"].where(images["item"].notna(), images["image_id"])
    for _, rows in images.groupby("leaf"):
        largest = unit[rows.index].value_counts().max()
        assert abs((split[rows.index] == "test").sum() - .2 * len(rows)) <= largest + 1
        assert abs((split[rows.index] != "train").sum() - .3 * len(rows)) <= largest + 1


def test_split_hash_is_of_the_split_alone():
    toy = catalogue()
    by_hand = "\n".join(f"{row[0]}\t{row[1]}" for row in ROWS)
    assert toy.split_hash() == hashlib.sha256(by_hand.encode()).hexdigest()
    assert catalogue(table().sample(frac=1, random_state=1)).split_hash() == toy.split_hash()
    assert catalogue(table().assign(colour="red")).split_hash() == toy.split_hash()
    moved = table()
    moved.loc[0, "split"] = "test"
    assert catalogue(moved).split_hash() != toy.split_hash()


# ---- files

def test_save_and_load(tmp_path, scratch_root):
    toy = catalogue(table().assign(item=["p", None, *"qrstu"]), why="a test")
    toy.save(tmp_path / "saved")
    back = Catalogue.load(tmp_path / "saved")
    assert back.hierarchy == toy.hierarchy
    assert back.attributes == toy.attributes
    assert back.provenance == {"why": "a test"}
    assert back.split_hash() == toy.split_hash()
    for column in ("colour", "neck", "item"):
        assert back.images[column].isna().tolist() == toy.images[column].isna().tolist()
        assert back.images[column].dropna().tolist() == toy.images[column].dropna().tolist()
    assert back.states("colour").tolist() == toy.states("colour").tolist()
    assert back.rows("train", "core").tolist() == toy.rows("train", "core").tolist()


def test_saved_catalogue_moves_with_the_data(tmp_path, monkeypatch, scratch_root):
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "old"))
    toy = Catalogue.build("toy", tmp_path / "old" / "toy", table(), layers=["leaf"], attributes=[], licence="none")
    toy.save(tmp_path / "saved")
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "new"))
    assert Catalogue.load(tmp_path / "saved").files()[0] == tmp_path / "new" / "toy" / "a.jpg"


def test_load_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        Catalogue.load(tmp_path / "nothing")
