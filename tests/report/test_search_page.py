"""The search page: its data against hand-made rankings, its text against what could break it, and a browser's view."""

import base64
import io
import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
import torch
from browser import BROWSER, QUIET, browser
from earlier_runs import open_run, publish
from pictures import picture_files
from PIL import Image

from shoplens.data.catalogue import Catalogue
from shoplens.data.images import normalise, open_store
from shoplens.models.attention import attend
from shoplens.models.backbones import HALF, load_backbone
from shoplens.models.multitask import MultitaskClassifier
from shoplens.recorded.networks import multitask_recipe
from shoplens.report import search_page
from shoplens.report.search_page import SearchResults, Task
from shoplens.search.protocols import SearchProtocol, SearchSplit

NASTY = '</script><b onclick="x">tee & co'
LEAVES = [NASTY, "boot", NASTY, "boot", NASTY, "boot"]
# Rows 0 and 1 ask, rows 2 to 5 answer. Products: 2 and 4 are that of query 0, 3 that of query 1.
ITEMS = np.array([7, 8, 7, 8, 7, 9])
PROTOCOL = SearchProtocol("items", ITEMS, {"test": SearchSplit(np.array([0, 1]), np.arange(2, 6))})
BEFORE = np.array([[0, 0], [5, 0], [2, 0], [4, 0], [3, 0], [1, 0]], np.float32)     # on a line
AFTER = np.array([[0, 0], [5, 0], [1, 0], [5, 1], [2, 0], [9, 9]], np.float32)
TASKS = [Task("layer", "kind", "05_toy", ("shoes", "clothes"), np.array([[0.25, 0.75], [0.6, 0.4]]), np.array([1, 1])),
         Task("layer", "thing", "05_toy", (NASTY, "boot"), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])),
         Task("attribute", "shade", "06_toy", ("dark", "light"), np.array([[0.7, 0.3], [0.1, 0.9]]), np.array([1, -1]))]
WEIGHTS = np.array([[[0.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]], np.float32)


@pytest.fixture
def catalogue(tmp_path) -> Catalogue:
    picture_files(tmp_path / "pictures", count=6)
    products = pd.DataFrame({"image_id": [f"i{i}" for i in range(6)], "path": [f"{i}.png" for i in range(6)],
                             "kind": ["clothes", "shoes"] * 3, "thing": LEAVES, "split": "test",
                             "shade": ["light", None, "dark", "dark", None, "light"]})
    return Catalogue.build("toy", tmp_path / "pictures", products, layers=["kind", "thing"], attributes=["shade"],
                           licence="none")


def _rankings() -> list[SearchResults]:
    return [search_page.search(features, PROTOCOL, "test", 4, name, f"of {name}")
            for name, features in (("Off the shelf", BEFORE), ("Learned", AFTER))]


def _data(catalogue, chosen=(0, 1), **more) -> dict:
    return search_page.page_data(catalogue, PROTOCOL, "test", np.array(chosen), _rankings(), **more)


# --- what is found ------------------------------------------------------------------------------------------------


def test_a_ranking_is_that_by_hand():
    """Query 0 at 0: gallery at 2, 4, 3, 1, so rows 5, 2, 4, 3. Query 1 at 5: rows 3, 4, 2, 5."""
    ranking = _rankings()[0]
    assert ranking.ids.tolist() == [[5, 2, 4, 3], [3, 4, 2, 5]]
    assert ranking.distances.tolist() == [[1, 4, 9, 16], [1, 4, 9, 16]]
    assert ranking.hits.tolist() == [[False, True, True, False], [True, False, False, False]]
    assert ranking.precision.tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2, 1.0])


def test_frames_distances_and_scores_reach_the_page_in_order(catalogue):
    data = _data(catalogue)
    rows = [5, 2, 4, 3]         # of query 0, by hand; pictures stand in the page by row
    shown = [thumbnail["leaf"] for thumbnail in data["thumbnails"]]
    assert shown == LEAVES
    assert data["queries"][0]["rankings"][0] == {
        "precision": pytest.approx(7 / 12, abs=1e-4),
        "results": [[row, distance, ITEMS[row] == 7] for row, distance in zip(rows, [1, 4, 9, 16], strict=True)]}
    assert [query["relevant"] for query in data["queries"]] == [2, 1]
    assert [ranking["mean"] for ranking in data["rankings"]] == [pytest.approx(19 / 24, abs=1e-4), 1.0]
    assert (data["k"], data["asked"], data["gallery"]) == (4, 2, 4)


def test_chosen_queries_are_those_shown(catalogue):
    data = _data(catalogue, chosen=[1])
    assert [query["relevant"] for query in data["queries"]] == [1]
    assert data["asked"] == 2
    assert len(data["thumbnails"]) == 5         # the other query is nobody's result
    places = [place for place, *_ in data["queries"][0]["rankings"][0]["results"]]
    assert [data["thumbnails"][place]["leaf"] for place in places] == [LEAVES[row] for row in (3, 4, 2, 5)]


def test_a_gallery_smaller_than_k_leaves_no_empty_frames(catalogue):
    rankings = [search_page.search(BEFORE, PROTOCOL, "test", 6, name, "") for name in "ab"]
    data = search_page.page_data(catalogue, PROTOCOL, "test", np.array([0, 1]), rankings)
    assert [len(one["results"]) for query in data["queries"] for one in query["rankings"]] == [4] * 4
    search_page.embed(data)


def test_each_thumbnail_is_there_once_and_is_its_picture(catalogue):
    data = _data(catalogue, side=32, large=64)
    assert len(data["thumbnails"]) == len({thumbnail["jpeg"] for thumbnail in data["thumbnails"]}) == 6
    for side, code, row in [(32, data["thumbnails"][3]["jpeg"], 3), (64, data["queries"][1]["picture"], 1)]:
        with Image.open(io.BytesIO(base64.b64decode(code))) as image, Image.open(catalogue.files()[row]) as original:
            assert (image.format, image.size) == ("JPEG", (side, side))
            expected = np.asarray(original.resize((side, side), Image.Resampling.BICUBIC), float)
            assert np.abs(np.asarray(image, float) - expected).mean() < 8


@pytest.mark.parametrize(("total", "count"), [(124, 40), (30, 40), (1, 1)])
def test_queries_are_drawn_once_each_and_the_same_again(total, count):
    drawn = search_page.draw_queries(total, count, seed=3)
    assert len(set(drawn.tolist())) == len(drawn) == min(total, count)
    assert (np.diff(drawn) > 0).all()
    assert drawn.min() >= 0
    assert drawn.max() < total
    np.testing.assert_array_equal(drawn, search_page.draw_queries(total, count, seed=3))
    assert total < 100 or not np.array_equal(drawn, search_page.draw_queries(total, count, seed=4))


# --- what is said and weighed -------------------------------------------------------------------------------------


def test_predictions_come_with_probability_and_truth(catalogue):
    data = _data(catalogue, tasks=TASKS)
    assert data["networks"] == {"layer": ["05_toy"], "attribute": ["06_toy"]}
    assert data["queries"][0]["layers"] == [
        {"task": "kind", "predicted": "clothes", "probability": 0.75, "truth": "clothes"},
        {"task": "thing", "predicted": NASTY, "probability": 0.9, "truth": NASTY}]
    assert data["queries"][1]["attributes"] == [
        {"task": "shade", "predicted": "light", "probability": 0.9, "truth": None}]


def test_a_catalogue_without_attributes_and_a_study_without_networks(catalogue):
    for tasks in (TASKS[:2], ()):
        for query in _data(catalogue, tasks=tasks)["queries"]:
            assert query["attributes"] == []
            assert len(query["layers"]) == len(tasks)
            assert query["weights"] is None


def test_weights_run_from_the_smallest_to_the_largest_of_each_picture(catalogue):
    assert search_page.stretch(WEIGHTS).tolist() == [[[0, 25], [50, 100]], [[100, 100], [100, 100]]]
    assert [query["weights"] for query in _data(catalogue, weights=WEIGHTS)["queries"]] == [
        [[0, 25], [50, 100]], [[100, 100], [100, 100]]]


@pytest.mark.parametrize(("name", "attention", "branch"), [
    ("05_bmtl_rl", False, None), ("06_ssmtl_ca", True, "two_layer"), ("06_ssmtl_ca", False, "parallel")])
def test_multitask_networks_are_asked_as_they_were_trained(catalogue, scratch_root, monkeypatch, name, attention,
                                                           branch):
    torch.manual_seed(1)
    backbone = load_backbone("small_vgg", False, width=0.25)
    backbone = attend(backbone, 16) if attention else backbone
    sizes = {"kind": 2, "thing": 2} if branch is None else {"thing": 2}
    model = MultitaskClassifier(backbone, sizes, {"shade": 2} if branch else None, branch or "two_layer").eval()
    parameters = {"BACKBONE": "small_vgg", "PRETRAINED": False, "WIDTH": 0.25, "IMAGE_SIZE": 16, "STORE_SIZE": 16,
                  "ATTENTION": attention}
    parameters |= {"ATTRIBUTES": [], "BRANCH": branch} if branch else {}
    run = open_run(monkeypatch, {name: [name]})
    publish(run, name, {"parameters": parameters}, model.state_dict())
    rows = np.array([4, 0, 1])
    tasks = search_page.predict_tasks(multitask_recipe(run, name, catalogue), name, catalogue, rows, "cpu")
    images = normalise(open_store(catalogue.files(), 16).images(rows), HALF, HALF)
    with torch.no_grad():
        logits = model(images)
    assert [(task.kind, task.name) for task in tasks] == [
        ("layer" if task in sizes else "attribute", task) for task in logits]
    truth = {"kind": [0, 0, 1], "thing": [0, 0, 1], "shade": [-1, 1, -1]}
    for task in tasks:
        np.testing.assert_allclose(task.probabilities, logits[task.name].softmax(dim=1).numpy(), atol=1e-6)
        assert task.truth.tolist() == truth[task.name]
        assert task.run == name


# --- the page -----------------------------------------------------------------------------------------------------


def test_no_text_ends_the_script_it_stands_in():
    data = {"leaf": NASTY, "other": "<!-- <script>", "line": "a\u2028b"}
    text = search_page.embed(data)
    assert "<" not in text
    assert json.loads(text) == data
    with pytest.raises(ValueError, match="JSON compliant"):
        search_page.embed({"precision": float("nan")})


def test_the_page_asks_for_nothing(catalogue):
    page = search_page.page("Toy <& co>", _data(catalogue, tasks=TASKS, weights=WEIGHTS))
    code = re.sub(r'"(jpeg|picture)":"[^"]*"', "", page)
    assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttpRequest|import\(", code)
    assert re.findall(r'(?:src|href)="([^"]*)"', code) == ["data:,"]
    assert "default-src 'none'" in page
    assert page.count("<title>Toy &lt;&amp; co&gt;</title>") == 1
    assert "{{" not in page
    assert json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])["k"] == 4


# --- in a browser -------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(catalogue, tmp_path):
    """The page as a browser has drawn it. script: run after the page's own."""
    def view(fragment: str = "", script: str = "", width: int = 1000, **more) -> str:
        page = search_page.page("Toy", _data(catalogue, **({"tasks": TASKS, "weights": WEIGHTS} | more)))
        file = tmp_path / "explore.html"
        file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
        command = [BROWSER, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
                   "--dump-dom", f"{file.as_uri()}{fragment}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return view


def _status(dom: str) -> str:
    return re.search(r'<p id="status"[^>]*>(.*?)</p>', dom)[1]


def _frames(dom: str) -> list[str]:
    return re.findall(r'<li class="(\w+)">', dom)


@browser
def test_an_address_picks_the_query(seen):
    first, second = seen(), seen("#query=2&weights=1")
    tee = NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert _status(first) == f"Query 1 of 2, {tee}. AP@4: 0.58 off the shelf, 1.00 learned."
    assert _status(second) == "Query 2 of 2, boot. AP@4: 1.00 off the shelf, 1.00 learned."
    assert _frames(first) == ["wrong", "right", "right", "wrong", "right", "right", "wrong", "wrong"]
    assert _frames(second) == ["right", "wrong", "wrong", "wrong", "right", "wrong", "wrong", "wrong"]
    assert re.findall(r'aria-checked="(\w+)"', first) == ["true", "false"]
    assert re.findall(r'aria-checked="(\w+)"', second) == ["false", "true"]
    assert re.search(r'<canvas id="weights"[^>]*hidden', first)
    assert not re.search(r'<canvas id="weights"[^>]*hidden', second)
    assert 'aria-pressed="true"' in second
    assert not re.findall(r"<img(?![^>]*alt=\"[^\"]+\")[^>]*>", second)
    assert "SMOKE" not in first


@browser
def test_arrows_buttons_and_pictures_pick_too(seen):
    script = """
      const log = [], note = () => log.push(document.getElementById("status").textContent.slice(0, 7));
      const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key}));
      press("ArrowRight"); note(); press("ArrowRight"); note(); press("ArrowLeft"); note(); press("a"); note();
      document.getElementById("next").click(); note(); document.getElementById("previous").click(); note();
      document.querySelector("#strip button").click(); note(); press("ArrowLeft"); note(); press("ArrowRight"); note();
      document.getElementById("toggle").click();
      const shade = document.getElementById("weights").getContext("2d").getImageData(0, 0, 2, 2).data;
      document.body.dataset.log = log.map(text => text.at(-1)).join("") + " " + location.hash + " "
        + [3, 7, 11, 15].map(i => shade[i]).join(",");
      const broken = [...document.images].filter(image => !image.naturalWidth).length;
      document.body.dataset.wide = [innerWidth, document.documentElement.scrollWidth, broken].join(" ");"""
    dom = seen("#query=1", script, width=500, chosen=(0, 1, 0), tasks=(), weights=WEIGHTS[[0, 1, 0]],
               warning="SMOKE: not a result")
    log = re.search(r'data-log="([^"]*)"', dom)[1]
    assert log == "232232131 #query=1&amp;weights=1 217,163,108,0"      # 0.85 · 255 · (1 − share)
    width, content, broken = map(int, re.search(r'data-wide="([^"]*)"', dom)[1].split())
    assert content <= width <= 500
    assert broken == 0
    assert re.search(r'id="warning">SMOKE: not a result<', dom)


@browser
def test_without_attributes_networks_or_weights_their_places_stay_empty(seen):
    dom = seen(tasks=(), weights=None)
    assert '<div id="layers"></div>' in dom
    assert '<div id="attributes"></div>' in dom
    assert re.search(r'<button id="toggle"[^>]*hidden', dom)
    assert len(_frames(dom)) == 8
