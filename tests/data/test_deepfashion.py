"""DeepFashion's consumer-to-shop files, in miniature and in exactly their format."""

import pytest
from deepfashion_files import ITEMS, lay_down

from shoplens.data import registry
from shoplens.data.sources import deepfashion
from shoplens.data.sources.fetch import DataError


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    lay_down(tmp_path / "DeepFashion")
    return tmp_path / "DeepFashion"


def test_pictures_roles_items_and_boxes(raw):
    catalogue = deepfashion.prepare()
    images = catalogue.images
    assert len(images) == sum(consumers + shops for *_, consumers, shops in ITEMS)
    for item, split, category, consumers, shops in ITEMS:
        own = images[images["item"] == item]
        assert set(own["split"]) == {split}
        assert own["role"].value_counts().to_dict() == {"query": consumers, "gallery": shops}
        assert set(own["section"] + "/" + own["category"]) == {category}
    assert set(zip(images["role"], images["domain"], strict=True)) == {("query", "consumer"), ("gallery", "shop")}
    # 20 … 60 of 80 pixels across, 10 … 45 of 40 down: what leaves the picture is cut.
    box = images[["box_left", "box_top", "box_right", "box_bottom"]].drop_duplicates().to_numpy()
    assert box.tolist() == [[0.25, 0.25, 0.75, 1.0]]
    assert all(file.is_file() for file in catalogue.files())


def test_items_can_be_sampled_but_test_is_kept_whole(raw):
    items = {seed: deepfashion.prepare(train_items=1, seed=seed).images.groupby("split")["item"].unique()
             for seed in range(8)}
    assert all(len(found["train"]) == 1 for found in items.values())
    assert all(found["test"].tolist() == ["id_00000004"] for found in items.values())
    assert len({found["train"][0] for found in items.values()}) == 2


@pytest.mark.parametrize(("name", "change", "message"), [
    ("Eval/list_eval_partition.txt", lambda text: text.rsplit("\n", 2)[0] + "\n", "announces 9 rows and has 8"),
    ("Anno/list_bbox_consumer2shop.txt", lambda text: text.replace("1 2 20", "1 1 20", 1), "disagree on which side"),
    ("Anno/list_bbox_consumer2shop.txt", lambda text: text.replace("comsumer_01", "other_01", 1), "has no box for 1"),
    ("Eval/list_eval_partition.txt", lambda text: text.replace("id_00000001 train", "id_00000001 val", 1),
     "in two splits"),
    ("Anno/list_item_consumer2shop.txt", lambda text: text.replace("4\n", "3\n").replace("id_00000004\n", ""),
     "1 items of"),
    ("Anno/list_item_consumer2shop.txt", None, "is missing")])
def test_contradicting_files_are_named(raw, name, change, message):
    if change:
        (raw / name).write_text(change((raw / name).read_text()))
    else:
        (raw / name).unlink()
    with pytest.raises(DataError, match=message):
        deepfashion.prepare()


def test_a_missing_picture_and_a_missing_folder_are_named(raw, monkeypatch):
    (raw / "Img/img/DRESSES/Lace_Dress/id_00000004/shop_02.jpg").unlink()
    with pytest.raises(DataError, match="shop_02"):
        deepfashion.prepare()
    monkeypatch.setenv("STUDY_DATA", str(raw))
    with pytest.raises(DataError, match="Sign the agreement"):
        deepfashion.prepare()


def test_the_study_asks_for_a_signature_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_DATA", str(tmp_path))
    with pytest.raises(DataError, match="Sign the agreement"):
        registry.ensure_raw("deepfashion")
