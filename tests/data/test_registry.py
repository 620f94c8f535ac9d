"""Sources of published data: the real files where STUDY_DATA has them, small ones of the same layout elsewhere,
and downloads from a server on this machine."""

import dataclasses
import functools
import hashlib
import http.server
import json
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from shoplens import paths
from shoplens.data import registry
from shoplens.data.catalogue import CatalogueError, check_splits
from shoplens.data.sources import fashion, fetch, grocery
from shoplens.data.sources.fetch import DataError, find_raw
from shoplens.data.sources.reduce import reduced_images
from shoplens.prepare_data import main

# ---- the real files


def test_real_grocery(study_data, scratch_root):
    catalogue = registry.prepare("grocery")
    assert {layer: len(c) for layer, c in catalogue.hierarchy.classes.items()} == {"root": 3, "coarse": 43, "fine": 81}
    assert [len(catalogue.rows(split)) for split in ("train", "val", "test")] == [2640, 296, 2485]
    images = catalogue.images
    assert images[["domain", "role", "split"]].value_counts().to_dict() == {
        ("consumer", "gallery", "train"): 2640, ("consumer", "query", "test"): 2485,
        ("consumer", "query", "val"): 296, ("shop", "gallery", ""): 81}
    assert images[images["domain"] == "shop"]["fine"].is_unique
    assert images[images["split"] == "val"]["fine"].nunique() == 60
    row = images.set_index("image_id").loc["test/Fruit/Apple/Royal-Gala/Royal-Gala_001"]
    assert row[["root", "coarse", "fine", "item"]].tolist() == ["Fruit", "Apple", "Royal-Gala", "Royal-Gala"]
    assert all(file.is_file() for file in catalogue.files())
    assert grocery.problems(catalogue.folder, published=True) == []


def test_real_fashion(study_data, scratch_root):
    catalogue = registry.prepare("fashion")
    images = catalogue.images
    counts = images["articleType"].value_counts()
    assert counts.min() >= 60
    assert len(counts) == 30
    assert counts["Tshirts"] == 1646  # 1,647 published, one of them a byte copy of an image of another type
    assert list(catalogue.attributes) == ["colour", "pattern", "sleeve_length", "neck", "length"]
    assert set(catalogue.attributes["sleeve_length"]) == {"Long Sleeves", "No Sleeves", "Short Sleeves", "Sleeveless",
                                                          "Three-Quarter Sleeves"}
    assert not any(state in fashion.NOT_LABELLED for states in catalogue.attributes.values() for state in states)
    for _, leaf in images.groupby("articleType"):
        share = leaf["split"].value_counts(normalize=True)
        assert share["train"] == pytest.approx(.7, abs=.05)
        assert share["test"] == pytest.approx(.2, abs=.05)
    digest = [hashlib.sha256(file.read_bytes()).hexdigest() for file in catalogue.files()]
    assert (images.groupby(digest)["split"].nunique() == 1).all()
    assert registry.prepare("fashion", seed=1).split_hash() != catalogue.split_hash()


def test_real_fashion_whole(study_data, scratch_root):
    images, irregular = fashion.read_images(study_data / "fashion-dataset")
    assert len(images) == 9576
    # Flip Flops, Laptop Bag and Sandals stand once, once and twice elsewhere; Messenger Bag 4 : 3.
    assert irregular["left out: articleType under a second subCategory"] == 7
    assert dict(images[["articleType", "subCategory"]].drop_duplicates().to_numpy())["Messenger Bag"] == "Bags"
    assert images["pattern"].notna().sum() == pytest.approx(4607, abs=7)
    assert images["neck"].notna().sum() == pytest.approx(1981, abs=8)


# ---- fashion, in small

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,year,usage,productDisplayName"


def shot(file, shade, size=(24, 32)):
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(shade)
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(file)


@pytest.fixture
def shelf(tmp_path, scratch_root, monkeypatch):
    """Thirty shirts and ten shoes in the publisher's layout, with everything in it that goes wrong there."""
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "fashion-dataset"
    (folder / "styles").mkdir(parents=True)
    lines, kinds = [HEADER], [("Apparel", "Topwear", "Shirts")] * 30 + [("Footwear", "Shoes", "Flats")] * 10
    for k, kind in enumerate(kinds, start=100):
        lines.append(",".join([str(k), "Men", *kind, "NA" if k == 100 else "Blue", "Fall", "2011", "Casual",
                               f"Maker {kind[2]}, no {k}"]))
        shot(folder / "images" / f"{k}.jpg", k)
        attributes = {"Pattern": "Solid" if k % 2 else "NA", "Neck": ""} if k < 120 else []
        (folder / "styles" / f"{k}.json").write_text(json.dumps(
            {"data": {"brandName": "Maker", "articleAttributes": attributes}}))
    lines += ["500,Men,Apparel,Innerwear,Shirts,Blue,Fall,2011,Casual,second parent", "501,too,short",
              "502,Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,no image", ""]
    shot(folder / "images" / "500.jpg", 500)
    (folder / "styles.csv").write_text("\n".join(lines))
    return folder


def test_fashion_irregularities_are_counted(shelf):
    (shelf / "styles" / "139.json").unlink()
    catalogue = registry.prepare("fashion", min_per_leaf=2, min_per_attribute=5)
    assert catalogue.provenance["irregular"] == {
        "left out: unreadable line of styles.csv": 1, "left out: no image file": 1,
        "left out: articleType under a second subCategory": 1, "kept: no JSON, so colour only": 1}
    assert len(catalogue) == 40
    assert catalogue.attributes == {"colour": ("Blue",), "pattern": ("Solid",)}
    assert (catalogue.states("pattern") > 0).sum() == 10
    assert (catalogue.states("colour") == 0).sum() == 1
    assert "title" not in catalogue.images


def test_fashion_titles_may_hold_commas_with_or_without_quotes(shelf):
    path = shelf / "styles.csv"
    path.write_text(HEADER + "\n" + '7,Men,A,B,C,Red,Fall,2011,Casual,Blue, white and red\n'
                    '8,Men,A,B,C,Red,Fall,2011,Casual,"Blue, white"\n9,Men,A,B,C,,,,,\n')
    table, unreadable = fashion.read_styles(path)
    assert table["productDisplayName"].tolist() == ["Blue, white and red", "Blue, white", ""]
    assert unreadable == 0
    path.write_text("id;gender\n")
    with pytest.raises(CatalogueError, match="not with the publisher's columns"):
        fashion.read_styles(path)


def test_fashion_copies_stay_in_one_split_and_contradictions_go(shelf):
    for k in range(101, 111):  # ten shirts in pairs of one file, one shirt the same picture as a shoe
        (shelf / "images" / f"{k}.jpg").write_bytes((shelf / "images" / f"{k - k % 2}.jpg").read_bytes())
    (shelf / "images" / "130.jpg").write_bytes((shelf / "images" / "129.jpg").read_bytes())
    catalogue = registry.prepare("fashion", min_per_leaf=2, min_per_attribute=2)
    assert catalogue.provenance["irregular"]["left out: same image in two leaves"] == 2
    items = catalogue.images.groupby("item")["image_id"].apply(list)
    assert items["102"] == ["102", "103"]
    assert len(items) == 38 - 5
    check_splits(catalogue)


def test_fashion_same_product_follows_chains():
    images = pd.DataFrame([("a", "h1", "x"), ("b", "h1", "y"), ("c", "h2", "y"), ("d", "h3", "z")],
                            columns=["image_id", "sha256", "title"]).assign(brand="m", articleType="leaf")
    assert fashion.same_product(images).tolist() == ["a", "a", "a", "d"]
    images["articleType"] = ["l1", "l1", "l2", "l1"]
    assert fashion.same_product(images).tolist() == ["a", "a", "c", "d"]


def test_fashion_broken_json_is_named(shelf):
    (shelf / "styles" / "105.json").write_text("{")
    with pytest.raises(CatalogueError, match="105.json is not a product's JSON"):
        registry.prepare("fashion")


def test_large_originals_are_reduced_once(shelf, monkeypatch):
    shot(shelf / "images" / "101.jpg", 1, size=(300, 400))
    parameters = {"min_per_leaf": 2, "min_per_attribute": 2, "max_side": 100}
    catalogue = registry.prepare("fashion", **parameters)
    assert catalogue.folder.is_relative_to(paths.cache_dir())
    sizes = {file.stem: Image.open(file).size for file in catalogue.files()}
    assert sizes["101"] == (75, 100)
    assert sizes["102"] == (24, 32)
    original = registry.prepare("fashion", **parameters | {"max_side": 400})
    assert original.folder == shelf
    assert original.split_hash() == catalogue.split_hash()

    monkeypatch.setattr("shoplens.data.sources.reduce._reduce", lambda *_: pytest.fail("reduced a second time"))
    assert registry.prepare("fashion", **parameters).folder == catalogue.folder


def test_broken_originals_are_listed_and_nothing_is_published(shelf):
    shot(shelf / "images" / "101.jpg", 1, size=(300, 400))
    (shelf / "images" / "102.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 images of .* cannot be read: images/102.jpg \(not an image\)"):
        reduced_images(shelf, ["images/101.jpg", "images/102.jpg"], max_side=100)
    assert list((paths.cache_dir() / "fashion-dataset").iterdir()) == []


# ---- downloads


@pytest.fixture
def server(tmp_path):
    """(folder, address) of a web server on this machine."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.fixture
def small_grocery(tmp_path, server, scratch_root, monkeypatch):
    """GitHub's archive of a GroceryStoreDataset of two classes, served here; returns (zip, members)."""
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "data"))
    members = {"README.md": b"read me", "sample_images/x.jpg": b"not needed"}
    classes = ["Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),"
               "Iconic Image Path (str),Product Description Path (str)"]
    for k, (fine, coarse) in enumerate([("Lime", "Lime"), ("Anjou", "Pear")]):
        iconic = f"iconic/Fruit/{fine}_Iconic.jpg"
        classes.append(f"{fine},{k},{coarse},{k},/{iconic},/none.txt")
        members[f"dataset/{iconic}"] = b"iconic"
    for split in ("train", "val", "test"):
        listed = [(f"{split}/Fruit/{fine}_1.jpg", k) for k, fine in enumerate(["Lime", "Anjou"])]
        members[f"dataset/{split}.txt"] = "\n".join(f"{path}, {k}, {k}" for path, k in listed).encode()
        members |= {f"dataset/{path}": path.encode() for path, _ in listed}
    members["dataset/classes.csv"] = "\n".join(classes).encode()
    read = sorted(m for m in members if m.startswith("dataset/"))
    content = "\n".join(sorted(f"{m.removeprefix('dataset/')}\t{hashlib.sha256(members[m]).hexdigest()}" for m in read))
    monkeypatch.setattr(grocery, "PHOTOS", {"train": 2, "val": 2, "test": 2})
    monkeypatch.setattr(grocery, "CLASSES", {"fine": 2, "coarse": 2, "root": 1})
    monkeypatch.setattr(grocery, "CONTENT", hashlib.sha256(content.encode()).hexdigest())
    monkeypatch.setattr(grocery, "RAW", dataclasses.replace(grocery.RAW, url=f"{server[1]}/archive.zip",
                                                            gigabytes=0.001))
    return server[0] / "archive.zip", members


def pack(archive, members, top="GroceryStoreDataset-fc80ba9"):
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in members.items():
            file.writestr(f"{top}/{name}", content)


def test_download_verifies_and_moves_into_place(small_grocery, capsys):
    pack(*small_grocery)
    assert main(["--dataset", "grocery"]) == 0
    output = capsys.readouterr().out
    assert "downloading http://127.0.0.1" in output
    assert "8 images" in output
    assert "licence: GroceryStoreDataset" in output
    folder = paths.data_dir() / "GroceryStoreDataset"
    assert (folder / "dataset/train/Fruit/Lime_1.jpg").read_bytes() == b"train/Fruit/Lime_1.jpg"
    assert not (folder / "sample_images").exists()
    assert [p.name for p in paths.data_dir().iterdir()] == ["GroceryStoreDataset"]

    small_grocery[0].unlink()  # found at hand from now on
    assert main(["--dataset", "grocery"]) == 0


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda m: m.pop("dataset/val/Fruit/Lime_1.jpg"), "1 images are missing, e.g. dataset/val/Fruit/Lime_1.jpg"),
    (lambda m: m.update({"dataset/val/Fruit/Lime_1.jpg": b"other"}), "contents differ from those of commit fc80ba9"),
    (lambda m: m.pop("dataset/val.txt"), "dataset/val.txt is missing"),
    (lambda m: m.update({"dataset/val.txt": b"val/Fruit/Lime_1.jpg, 0, 0"}), "1 photos in val.txt where 2 were"),
])
def test_download_that_is_not_whole_is_refused(small_grocery, spoil, message, capsys):
    archive, members = small_grocery
    spoil(members)
    pack(archive, members)
    assert main(["--dataset", "grocery"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert list(paths.data_dir().iterdir()) == []


def test_no_file_no_server_no_zip_no_room(small_grocery, monkeypatch, capsys):
    def error():
        assert main(["--dataset", "grocery"]) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "clone https://github.com/marcusklasson/GroceryStoreDataset" in error
        assert f"put it at {paths.data_dir() / 'GroceryStoreDataset'}" in error
        assert list(paths.data_dir().iterdir()) == []
        return error

    assert "answered 404" in error()
    small_grocery[0].write_bytes(b"this is no archive")
    assert "not a zip file" in error()
    monkeypatch.setattr(grocery, "RAW", dataclasses.replace(grocery.RAW, gigabytes=1e9))
    assert "GB of disk" in error()
    monkeypatch.setattr(grocery, "RAW", dataclasses.replace(grocery.RAW, gigabytes=0, url="http://127.0.0.1:9/a.zip"))
    assert "127.0.0.1:9 cannot be reached" in error()


def test_incomplete_folder_is_reported_and_left_alone(small_grocery, capsys):
    pack(*small_grocery)
    find_raw(grocery.RAW)
    (paths.data_dir() / "GroceryStoreDataset/dataset/test/Fruit/Lime_1.jpg").unlink()
    assert main(["--dataset", "grocery"]) == 1
    assert "is not whole (1 images are missing" in capsys.readouterr().err
    assert (paths.data_dir() / "GroceryStoreDataset/dataset/test.txt").exists()


def test_members_cannot_leave_the_folder(tmp_path, small_grocery):
    archive, members = small_grocery
    pack(archive, members | {"dataset/../../../evil.txt": b"evil"})
    find_raw(grocery.RAW)
    assert not list(tmp_path.rglob("evil.txt"))


def test_fashion_archive_of_either_nesting(shelf, server, monkeypatch):
    archive = server[0] / "kaggle.zip"
    with zipfile.ZipFile(archive, "w") as file:  # the publisher's archive holds everything twice
        for top in ("fashion-dataset", "fashion-dataset/fashion-dataset"):
            for path in sorted(p for p in shelf.rglob("*") if p.is_file()):
                file.write(path, f"{top}/{path.relative_to(shelf)}")
            file.writestr(f"{top}/images.csv", "filename,link\n")
    before = {str(p.relative_to(shelf)): p.read_bytes() for p in shelf.rglob("*") if p.is_file()}
    monkeypatch.setenv("STUDY_DATA", str(server[0].parent / "elsewhere"))
    monkeypatch.setattr(fashion, "PUBLISHED", {"images": 41, "styles": 40})
    raw = dataclasses.replace(fashion.RAW, url=f"{server[1]}/kaggle.zip", gigabytes=0)
    folder = find_raw(raw)
    assert {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before

    monkeypatch.setattr(fashion, "PUBLISHED", {"images": 44441, "styles": 44446})
    with pytest.raises(DataError, match=r"images/ holds 41 .jpg files where 44441 were published"):
        fetch.download(raw, folder.with_name("again"))


# ---- the front door


def test_unknown_names_and_parameters():
    with pytest.raises(ValueError, match="no dataset 'fashon'; DATASET is one of bazaar, deepfashion,"):
        registry.prepare("fashon")
    with pytest.raises(ValueError, match="no dataset 'fetch'"):
        registry.prepare("fetch")
    with pytest.raises(ValueError, match="'grocery' takes no parameter 'min_per_leaf'; it takes none"):
        registry.prepare("grocery", min_per_leaf=3)
    with pytest.raises(ValueError, match="no parameter 'minimum'; it takes min_per_leaf, min_per_attribute, seed, max"):
        registry.prepare("fashion", minimum=3)
