"""Search end to end on data that a test lays down: products of your own, and DeepFashion's files."""

import numpy as np
import pandas as pd
import pytest
from deepfashion_files import lay_down
from PIL import Image
from smoke import copy_of_sources, edit_study, keep_runs, reproduce


@pytest.fixture
def study(tmp_path):
    return copy_of_sources(tmp_path)


def test_products_of_your_own_are_searched(study, warm_python):
    """Items, roles and one word in study.yml: notebooks 08 to 10 on a CSV made here; a colour is a product."""
    rng, folder = np.random.default_rng(1), study / "data" / "folder"
    folder.joinpath("images").mkdir(parents=True)
    lines = ["image,layer:thing,item,role"]
    for i in range(160):
        item, role = i % 20, "query" if i < 60 else "gallery"
        pixels = np.clip(np.random.default_rng(item).integers(0, 256, 3) + rng.normal(0, 40, (48, 48, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"item_{i}.png")
        lines.append(f"item_{i}.png,{'apple' if item % 2 else 'lime'},{item},{role}")
    (folder / "products.csv").write_text("\n".join(lines))
    edit_study(study, lambda content: content["datasets"]["folder"].update(capabilities=["search"]))
    keep_runs(study, "folder", {"01_catalogue", "02_bcnn", "08_netvlad", "09_global_pos10", "09_global_again",
                                "09_local_pos10", "10_search_analysis"})
    reproduce(study, "DATASET=folder", "RUN=10_search_analysis", python=warm_python)
    table = pd.read_csv(study / "results/folder/smoke/tables/table5_search.csv")
    assert {"O", "L", "G", "L+G", "G+G"} <= set(table["variant"])
    assert table["value"].between(0, 1).all()


def test_deepfashions_own_files(study, warm_python):
    """A miniature in the publisher's format, from the lists to a network learned by rank, by study.yml as it is."""
    kinds = ["CLOTHING/Blouses_Shirts", "DRESSES/Lace_Dress"]
    items = [(f"id_{i:08d}", ("train", "train", "val", "test")[i % 4], kinds[i // 4 % 2], 3, 2) for i in range(24)]
    lay_down(study / "data" / "DeepFashion", items)
    reproduce(study, "DATASET=deepfashion", "RUN=09_global_closest", python=warm_python)
    table = pd.read_csv(study / "results/deepfashion/smoke/tables/09_global_closest.csv")
    assert table.query("split == 'test'")["n"].unique().tolist() == [6 * 3]
    assert table["value"].between(0, 1).all()
