"""A catalogue of your own end to end: a CSV and a folder of pictures, classified."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from smoke import copy_of_sources, edit_study, make, metrics_of, reproduce


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study and sixty pictures of three leaves, distinguished by their colours: there is something to learn."""
    root = copy_of_sources(tmp_path_factory.mktemp("study"))
    rng, folder = np.random.default_rng(0), root / "data" / "folder"
    (folder / "images").mkdir(parents=True)
    lines = ["image,layer:thing,attribute:shade"]
    for i in range(60):
        leaf, colour = (("apple", (200, 40, 40)), ("lime", (60, 180, 60)), ("sky", (60, 80, 200)))[i % 3]
        pixels = np.clip(np.array(colour) + rng.normal(0, 25, (40, 50, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        lines.append(f"{i}.png,{leaf},{'dark' if i % 4 else ''}")
    (folder / "products.csv").write_text("\n".join(lines))
    return root


def test_a_catalogue_of_your_own(study, warm_python):
    """A CSV of a single layer, and study.yml as it is."""
    reproduce(study, "DATASET=folder", python=warm_python)
    assert set(pd.read_csv(study / "results/folder/smoke/tables/table1_classification.csv")["variant"]) == {
        "bCNN", "ssCNN", "ours"}
    table = pd.read_csv(study / "results/folder/smoke/tables/02_bcnn.csv")
    assert set(table["variant"]) == {"bCNN", "frozen features + LR"}


def test_a_catalogue_that_cannot_be_used_says_why_in_one_line(study):
    """What folder.py says reaches the person at the terminal, through notebook, runner and make."""
    table = study / "data/folder/products.csv"
    whole = table.read_text()
    table.write_text(whole.replace("59.png", "60.png"))
    result = make(study, "reproduce", "DATASET=folder", "PROFILE=smoke", "RUN=01_catalogue")
    table.write_text(whole)
    assert result.returncode != 0
    assert "60.png" in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_is_chosen_by_the_test_split(study, warm_python):
    """Twice the same catalogue, the second time with the labels of its test images moved on by one leaf: every epoch,
    weight, λ and τ must come out the same, and only the test scores may differ."""
    edit_study(study, lambda content: content["datasets"]["folder"].update(capabilities=["hierarchy"]))
    results = study / "results/folder/smoke"
    leaves, kind = ("apple", "lime", "sky"), {"apple": "fruit", "lime": "fruit", "sky": "other"}
    chosen, tested = [], []
    for shift in (0, 1):
        lines = ["image,layer:kind,layer:thing,split"]
        for i in range(60):
            split = ("test", "val", "train", "train", "train")[i // 3 % 5]
            leaf = leaves[(i + (shift if split == "test" else 0)) % 3]
            lines.append(f"{i}.png,{kind[leaf]},{leaf},{split}")
        (study / "data/folder/products.csv").write_text("\n".join(lines))
        for run in ("04_bcnn_mcr", "06b_long_tail"):
            reproduce(study, "DATASET=folder", f"RUN={run}", python=warm_python)
        histories = [pd.read_csv(results / "artefacts" / run / "history.csv").drop(
            columns=["seconds", "images_per_second"]) for run in ("02_bcnn", "02_bcnn_root", "06b_long_tail")]
        weights = np.load(results / "artefacts/04_bcnn_mcr/weights.npz")
        tau = [m["value"] for m in metrics_of(study, "06b_long_tail", "folder") if m["name"] == "tau"]
        chosen.append([*[h.to_numpy().tolist() for h in histories], *[weights[w].tolist() for w in ("lam", "W")], tau])
        tested.append(pd.read_csv(results / "tables/04_bcnn_mcr.csv")["value"].tolist())
    assert chosen[0] == chosen[1]
    assert tested[0] != tested[1]
