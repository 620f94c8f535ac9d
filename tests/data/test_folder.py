"""A catalogue of your own: what the CSV may hold, and the message where it holds something wrong."""

import shutil
from pathlib import Path

import pytest
from shop import HEADER, Shop

from shoplens.data import registry
from shoplens.data.catalogue import CatalogueError
from shoplens.data.sources.fetch import DataError
from shoplens.data.sources.readable import unreadable_images
from shoplens.prepare_data import main

REPOSITORY = Path(__file__).parents[2]
@pytest.fixture
def shop(tmp_path, scratch_root, monkeypatch) -> Shop:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "data"))
    return Shop(tmp_path / "data" / "folder")


# ---- what works

def test_a_plain_catalogue(shop):
    catalogue = shop.prepare()
    assert catalogue.hierarchy.classes == {"root": ("bags", "wear"), "leaf": ("shirt", "tote")}
    assert catalogue.attributes == {"colour": ("red",)}
    assert (catalogue.states("colour") > 0).sum() == 10
    assert [len(catalogue.rows(s)) for s in ("train", "test", "val")] == [14, 4, 2]
    assert all(file.is_file() for file in catalogue.files())
    assert catalogue.images["image_id"][0] == "shirt/0.jpg"


def test_default_place_is_the_data_folder(shop, capsys):
    shop.write()
    assert registry.prepare("folder").split_hash() == shop.prepare().split_hash()
    assert main(["--dataset", "folder"]) == 0
    assert "20 images" in capsys.readouterr().out


def test_place_that_study_yml_names(shop, scratch_root, capsys):
    """`make data` reads what run 01 would read."""
    shop.write()
    shop.csv.rename(scratch_root / "mine.csv")
    shop.images.rename(scratch_root / "pictures")
    (scratch_root / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks" / "01_catalogue.ipynb", scratch_root / "notebooks")
    text = (REPOSITORY / "study.yml").read_text()
    usual = "MIN_PER_ATTRIBUTE: 1, SOURCE: {}"
    elsewhere = text.replace(usual, usual.replace("{}", "{csv: mine.csv, images: pictures}"))
    assert elsewhere != text
    (scratch_root / "study.yml").write_text(elsewhere)
    assert main(["--dataset", "folder"]) == 1, "by itself the source looks under $STUDY_DATA"
    assert main(["--dataset", "folder", "--profile", "laptop"]) == 0
    assert "20 images" in capsys.readouterr().out
    assert main(["--dataset", "folder", "--profile", "laptops"]) == 1
    assert "PROFILE=laptops is not in study.yml" in capsys.readouterr().err
    assert main(["--dataset", "nowhere", "--profile", "laptop"]) == 1
    assert "there is no dataset 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize("writing", [{"separator": ";"}, {"separator": "\t"}, {"encoding": "utf-8-sig"},
                                     {"newline": "\r\n"}])
def test_csv_as_spreadsheets_write_it(shop, writing):
    expected = shop.prepare().split_hash()
    shop.write(**writing)
    assert registry.prepare("folder").split_hash() == expected


def test_one_layer_will_do(shop):
    shop.header = "image,extra,layer:leaf,attribute:colour"
    catalogue = shop.prepare()
    assert catalogue.hierarchy.layers == ("leaf",)
    assert catalogue.provenance["ignored_columns"] == ["extra"]


def test_given_split_is_kept(shop):
    given = ["train"] * 6 + ["Val", "val", "test", "TEST"]
    shop.add_column("split", given * 2)
    catalogue = shop.prepare()
    assert catalogue.images["split"].tolist() == [g.lower() for g in given] * 2
    assert catalogue.provenance["split"] == "as given"


def test_items_stay_together(shop):
    shop.add_column("item", [f"p{k // 2}" for k in range(20)])
    images = shop.prepare().images
    assert (images.groupby("item")["split"].nunique() == 1).all()


def test_search_roles_boxes_and_masks(shop):
    shop.draw("masks/0.png")
    shop.add_column("domain", ["consumer", "shop"] * 10)
    shop.add_column("role", (["query"] * 9 + ["distractor"]) + ["gallery"] * 10)
    shop.add_column("classify", [""] * 18 + ["0", "no"])
    for name, value in (("left", .1), ("top", .2), ("right", .8), ("bottom", 1)):
        shop.add_column(f"box_{name}", [value] + [""] * 19)
    shop.add_column("mask", ["masks/0.png"] + [""] * 19)
    shop.change(11, "wear,shirt", ",")
    images = shop.prepare().images.set_index("image_id")
    assert images["classify"].sum() == 17
    assert not images.loc["shirt/9.jpg", "classify"]
    assert (images.loc[~images["classify"], "split"] == "").all()
    assert images.loc["shirt/0.jpg", ["box_left", "box_top", "box_right", "box_bottom"]].tolist() == [.1, .2, .8, 1]
    assert images["box_left"].notna().sum() == 1
    assert images["mask"].dropna().tolist() == ["masks/0.png"]


def test_rare_leaves_and_attributes_can_be_dropped(shop):
    shop.draw("cap.jpg")
    shop.lines.append("cap.jpg,wear,cap,")
    assert len(shop.prepare(min_per_leaf=2)) == 20
    assert shop.prepare(min_per_attribute=11).attributes == {}


# ---- what is wrong, and its message

def test_missing_image_column(shop):
    shop.header = shop.header.replace("image", "photo")
    with pytest.raises(CatalogueError, match="no column `image`: name the column of image paths"):
        shop.prepare()


def test_missing_layer_column(shop):
    shop.header = "image,root,leaf,attribute:colour"
    with pytest.raises(CatalogueError, match="has the columns image, root, leaf.*name the category columns `layer:"):
        shop.prepare()


@pytest.mark.parametrize(("old", "new", "message"), [
    ("attribute:colour", "trait:colour", "trait:colour is neither `layer:…` nor `attribute:…`"),
    ("attribute:colour", "attribute:", "lacks the name after the colon"),
    ("attribute:colour", "attribute:leaf", "share a name after the colon"),
    ("attribute:colour", "layer:leaf", "more than once"),
    ("attribute:colour", "attribute:split", "cannot name a layer or an attribute"),
    ("attribute:colour", "box_left", "a box needs all of box_left, box_top, box_right, box_bottom"),
])
def test_misnamed_columns(shop, old, new, message):
    shop.header = shop.header.replace(old, new)
    with pytest.raises(CatalogueError, match=message):
        shop.prepare()


def test_missing_image_names_line_and_file(shop):
    (shop.images / "shirt/3.jpg").unlink()
    (shop.images / "tote/0.jpg").unlink()
    with pytest.raises(DataError, match="2 of 20 files .* line 5 'shirt/3.jpg', line 12 'tote/0.jpg'"):
        shop.prepare()


def test_corrupt_and_truncated_images_are_named_by_path(shop):
    (shop.images / "shirt/3.jpg").write_bytes(b"no picture at all")
    whole = (shop.images / "tote/5.jpg").read_bytes()
    (shop.images / "tote/5.jpg").write_bytes(whole[:len(whole) - 40])
    with pytest.raises(DataError, match="2 of 20 images cannot be decoded") as error:
        shop.prepare()
    assert f"{shop.images / 'shirt/3.jpg'} (not an image)" in str(error.value)
    assert f"{shop.images / 'tote/5.jpg'} (" in str(error.value)
    assert [file.name for file, _ in unreadable_images(sorted(shop.images.rglob("*.jpg")))] == ["3.jpg", "5.jpg"]


def test_one_class_only(shop):
    shop.lines = shop.lines[:10]
    with pytest.raises(CatalogueError, match="only one leaf, 'shirt': classification needs two"):
        shop.prepare()


def test_leaf_with_two_parents(shop):
    shop.change(12, "bags,tote", "wear,tote")
    with pytest.raises(CatalogueError, match=r"'tote' under 'wear' \(1 rows, e.g. tote/0.jpg\)"):
        shop.prepare()


def test_duplicate_rows(shop):
    shop.lines.append(shop.lines[4].replace("shirt/4", "shirt/./4"))
    with pytest.raises(CatalogueError, match="one line only, but line 6 'shirt/4.jpg', line 22 'shirt/./4.jpg'"):
        shop.prepare()


@pytest.mark.parametrize("name", ["../outside.jpg", "/outside.jpg", "shirt/../../outside.jpg"])
def test_images_outside_the_folder(shop, name):
    shop.draw("../outside.jpg")
    shop.change(2, "shirt/0.jpg", name)
    with pytest.raises(CatalogueError, match="must stay inside .* line 2 "):
        shop.prepare()


def test_row_without_image_or_label(shop):
    shop.change(4, "shirt/2.jpg", "")
    with pytest.raises(CatalogueError, match="no image is named on line 4"):
        shop.prepare()
    shop.change(4, ",wear", "shirt/2.jpg,")
    with pytest.raises(CatalogueError, match="no label in column 'root': shirt/2.jpg"):
        shop.prepare()


@pytest.mark.parametrize("content", ["", "\n\n", HEADER + "\n", HEADER + "\n,,,\n"])
def test_empty_csv(shop, content):
    shop.csv.write_text(content)
    with pytest.raises(CatalogueError, match="holds no products"):
        registry.prepare("folder")


def test_csv_in_another_encoding_names_the_line(shop):
    shop.change(7, ",red", ",grün")
    shop.write(encoding="latin-1")
    with pytest.raises(CatalogueError, match=r"not UTF-8 \(line 7\): save it again"):
        registry.prepare("folder")


def test_ragged_lines(shop):
    shop.change(3, "red", "red, dark")
    with pytest.raises(CatalogueError, match="has 4 columns, but another number on line 3: put text that holds a ','"):
        shop.prepare()


def test_unreadable_csv(shop):
    shop.csv.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    with pytest.raises(CatalogueError, match="not UTF-8"):
        registry.prepare("folder")
    shop.csv.write_text(HEADER + '\n"' + "x" * 200_000)
    with pytest.raises(CatalogueError, match="is no CSV"):
        registry.prepare("folder")


@pytest.mark.parametrize(("column", "cell", "message"), [
    ("classify", "perhaps", "`classify` must hold 1, 0 or nothing: line 2 'perhaps'"),
    ("role", "buyer", "role is none of"), ("domain", "street", "domain is none of"),
    ("split", "dev", "split is none of"),
])
def test_cells_that_mean_nothing(shop, column, cell, message):
    shop.add_column(column, [cell] + [""] * 19)
    with pytest.raises(CatalogueError, match=message):
        shop.prepare()


def test_box_that_is_no_number(shop):
    for name, value in (("left", "a tenth"), ("top", .2), ("right", .8), ("bottom", 1)):
        shop.add_column(f"box_{name}", [value] + [""] * 19)
    with pytest.raises(CatalogueError, match="`box_left` must hold a number such as 0.25.*line 2 'a tenth'"):
        shop.prepare()


def test_item_under_two_leaves(shop):
    shop.add_column("item", ["p"] * 20)
    with pytest.raises(CatalogueError, match="an item belongs to one leaf only, but p stands under several"):
        shop.prepare()


def test_given_split_without_validation(shop):
    shop.add_column("split", (["train"] * 8 + ["test"] * 2) * 2)
    with pytest.raises(CatalogueError, match="split 'val' holds no image"):
        shop.prepare()


def test_nothing_there_is_one_sentence_and_no_traceback(scratch_root, monkeypatch, capsys):
    monkeypatch.delenv("STUDY_DATA", raising=False)
    assert main(["--dataset", "folder"]) == 1
    error = capsys.readouterr().err
    assert "folder/products.csv and folder/images/ under $STUDY_DATA" in error
    assert len(error.splitlines()) == 1
