"""What users lay down: near misses of the catalogue's CSV, pictures and weights, one clear line each."""

import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from shop import Shop

from shoplens import paths
from shoplens.data import registry
from shoplens.data.catalogue import CatalogueError
from shoplens.data.images import ImageError, open_store
from shoplens.data.sources.fetch import DataError
from shoplens.figures import charts
from shoplens.figures.classification_charts import root_bars, weight_heatmaps
from shoplens.models import weights
from shoplens.models.backbones import load_backbone
from shoplens.models.weights import WeightsError


@pytest.fixture
def shop(tmp_path, scratch_root, monkeypatch) -> Shop:
    monkeypatch.setenv("STUDY_DATA", str(tmp_path / "data"))
    return Shop(tmp_path / "data" / "folder")


@pytest.mark.parametrize("label", [r"$\frac$", "$5 to $10", "a $", r"\frac{", "50 % & more_less^2"])
def test_a_label_is_drawn_as_it_is(label):
    counts = pd.DataFrame({"leaf": [label, "b"], "root": [label, "r"], "images": [5, 3]})
    figures = [charts.leaf_counts(counts, "leaf", "root"),
               charts.attribute_coverage(pd.DataFrame({"attribute": [label], "images": [3], "share": [0.5]})),
               charts.confusion_excerpt(np.array([0, 1, 1]), np.array([1, 1, 0]), [label, "b"]),
               charts.contact_sheet(np.zeros((2, 8, 8, 3), np.uint8), [label, "b"]),
               charts.attention_sheet(np.zeros((1, 8, 8, 3), np.uint8), np.random.rand(1, 2, 2), [label]),
               root_bars(pd.DataFrame({"root": [label, "r"], "variant": ["bCNN"] * 2, "value": [0.5, 0.4], "low": 0.3,
                                       "high": 0.6, "n": 9})),
               weight_heatmaps(np.ones((2, 2)), np.ones((2, 2)), np.eye(2, dtype=bool), (1, 1), (label, "leaf"))]
    for figure in figures:
        figure.canvas.draw()
        plt.close(figure)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pictures_are_opened_as_training_opens_them(shop, mode):
    Image.new(mode, (12, 9)).save(shop.images / "shirt/3.tiff")
    shop.change(5, "shirt/3.jpg", "shirt/3.tiff")
    with pytest.raises(DataError, match=rf"1 of 20 images cannot be decoded: .*3\.tiff \(pixels of mode {mode}"):
        shop.prepare()


def test_the_first_line_names_a_picture_that_cannot_be_read(scratch_root):
    (scratch_root / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError) as error:
        open_store([scratch_root / "a.jpg"], 16)
    assert "a.jpg" in str(error.value).splitlines()[0]


def test_a_split_that_is_filled_in_for_some(shop):
    shop.add_column("split", ["train"] * 12 + ["val"] * 2 + ["test"] * 3 + [""] * 3)
    with pytest.raises(CatalogueError, match=r"`split` is filled in for 17 of 20 images and empty for 3 .*tote/7\.jpg"):
        shop.prepare()


@pytest.mark.parametrize(("column", "meant"), [
    ("Split", "split"), ("SPLIT", "split"), ("splt", "split"), ("Classify", "classify"), ("Item", "item"),
    ("atribute:size", "attribute:size"), ("Layer:third", "layer:third"), ("Attribute:size", "attribute:size"),
    ("spilt", "split"), ("splot", "split"), ("domian", "domain"), ("leyer:third", "layer:third"),
    ("box left", "box_left"), ("domains", "domain"),
])
def test_a_column_that_is_almost_one_of_ours(shop, column, meant):
    shop.add_column(column, ["a"] * 20)
    with pytest.raises(CatalogueError, match=f"did you mean `{meant}` by `{column}`"):
        shop.prepare()


@pytest.mark.parametrize("column", ["price", "title", "imagery", "notes", "splitting hairs", "mission", "url"])
def test_another_column_is_left_alone(shop, column):
    shop.add_column(column, ["a"] * 20)
    assert shop.prepare().provenance["ignored_columns"] == [column]


def test_a_csv_that_is_a_folder(shop):
    shop.csv.mkdir()
    with pytest.raises(DataError, match=r"products\.csv is a folder: it must be the CSV itself"):
        registry.prepare("folder")


def test_a_catalogue_with_nothing_to_classify(shop):
    shop.add_column("classify", ["0"] * 20)
    with pytest.raises(CatalogueError, match="no image to classify: column `classify` is 0 on every row"):
        shop.prepare(min_per_leaf=2)


def test_a_link_that_leads_out_of_the_folder(shop, tmp_path):
    outside = tmp_path / "outside.jpg"
    shutil.move(shop.images / "shirt/3.jpg", outside)
    (shop.images / "shirt/3.jpg").symlink_to(outside)
    with pytest.raises(CatalogueError, match="must stay inside"):
        shop.prepare()


def test_the_folder_itself_may_be_a_link(shop, tmp_path):
    shutil.move(shop.images, tmp_path / "elsewhere")
    shop.images.symlink_to(tmp_path / "elsewhere")
    assert len(shop.prepare()) == 20


def test_weights_that_are_damaged_are_named(scratch_root, monkeypatch):
    monkeypatch.setenv("STUDY_WEIGHTS", str(scratch_root))
    file = paths.weights_dir() / "squeezenet1_1_imagenet.safetensors"
    save_file({"a": torch.zeros(100)}, file)
    with pytest.raises(WeightsError, match=r"squeezenet1_1_imagenet\.safetensors is not the file known by that name"):
        load_backbone("squeezenet1_1", pretrained=True)
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(WeightsError, match=r"squeezenet1_1_imagenet\.safetensors is damaged .*: copy it anew"):
        load_backbone("squeezenet1_1", pretrained=True)


def test_one_flipped_byte_of_the_weights_is_seen(study_weights, scratch_root, monkeypatch):
    for name in weights.SHA256:
        content = bytearray((study_weights / name).read_bytes())
        content[-100] ^= 1
        (scratch_root / name).write_bytes(content)
    monkeypatch.setenv("STUDY_WEIGHTS", str(scratch_root))
    for name in ("squeezenet1_1", "mobilenetv2_100"):
        with pytest.raises(WeightsError, match="is not the file known by that name"):
            load_backbone(name, pretrained=True)
