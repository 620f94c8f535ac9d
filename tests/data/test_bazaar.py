"""The procedural catalogue: what it promises of its pictures, its labels and its splits."""

import colorsys
import io
import itertools

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from shoplens.data.drawing import stream
from shoplens.data.drawing.compose import Causes, draw
from shoplens.data.drawing.items import make_item, number_of
from shoplens.data.drawing.stream import distractor, distractors
from shoplens.data.drawing.taxonomy import LEAVES, STATES, leaf_counts
from shoplens.data.sources import bazaar

SMALL = {"num_items": 170, "min_per_leaf": 3, "num_search_items": 6, "gallery_per_item": 24,
         "queries_per_item": 2, "size": 32}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A catalogue of thumbnails, drawn by two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield bazaar.prepare(**SMALL, workers=2)


def pixels(item, domain="shop", view=0, size=64):
    drawn = draw(item, domain, view, size)
    return np.asarray(drawn.image), np.asarray(drawn.mask)


def plain(leaf, index, **states):
    return make_item(3, "catalogue", number_of(leaf, index), pattern="plain", **states)


def test_ten_roots_and_43_leaves_whose_names_are_unique_in_their_layer():
    assert len({leaf.name for leaf in LEAVES}) == len(LEAVES) == 43
    assert len({leaf.root for leaf in LEAVES}) == 10
    used = {(name, state) for leaf in LEAVES for name, states in leaf.states.items() for state in states}
    assert used == {(name, state) for name, states in STATES.items() for state in states}


def test_frequencies_have_a_long_tail_and_add_up():
    counts = leaf_counts(4000, 15)
    assert sum(counts) == 4000
    assert min(counts) >= 15
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 10 * counts[-1]
    with pytest.raises(ValueError, match="at least 645 items"):
        leaf_counts(600, 15)


@pytest.mark.parametrize("leaf", [leaf.name for leaf in LEAVES])
def test_box_is_tight_around_a_mask_inside_the_frame(leaf):
    for domain, index in itertools.product(("shop", "consumer"), range(2)):
        drawn = draw(make_item(1, "catalogue", number_of(leaf, index)), domain, index, 48)
        mask = np.asarray(drawn.mask)
        assert set(np.unique(mask)) == {0, 255}
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (columns[0] / 48, rows[0] / 48, (columns[-1] + 1) / 48, (rows[-1] + 1) / 48)
        assert drawn.box == pytest.approx(box)
        assert drawn.image.size == drawn.mask.size == (48, 48)
        assert drawn.image.mode == "RGB"


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    wanted = [("catalogue", number_of("tote", 5)), ("search", number_of("tote", 5)), ("distractor", 5)]
    alone = {key: pixels(make_item(0, *key))[0] for key in wanted}
    for number in range(5):
        draw(make_item(0, "distractor", number), "consumer", number, 32)
    again = {key: pixels(make_item(0, *key))[0] for key in reversed(wanted)}
    for key in wanted:
        np.testing.assert_array_equal(alone[key], again[key])
    assert not np.array_equal(alone[wanted[0]], alone[wanted[1]])


def test_seed_item_domain_and_view_each_change_the_picture():
    first = pixels(make_item(0, "catalogue", 7))[0]
    others = [pixels(make_item(1, "catalogue", 7)), pixels(make_item(0, "catalogue", 8)),
              pixels(make_item(0, "catalogue", 7), "consumer"), pixels(make_item(0, "catalogue", 7), view=1)]
    assert all(not np.array_equal(first, other) for other, _ in others)


def test_the_same_bytes_from_one_worker_as_from_two(small, tmp_path):
    todo = bazaar.plan(seed=0, **SMALL)
    todo = todo[:6] + todo[-2:]
    table = bazaar.draw_all(tmp_path, todo[::-1], seed=0, size=32, workers=1)
    assert len(table) >= len(todo)
    columns = list(table.columns)
    expected = small.images.set_index("image_id").loc[table["image_id"]].reset_index()[columns]
    text = list(STATES)
    pd.testing.assert_frame_equal(table.drop(columns=text), expected.drop(columns=text), check_dtype=False)
    assert (table[text].fillna("") == expected[text].fillna("")).all(axis=None)
    for path in [*table["path"], *table["mask"]]:
        assert (tmp_path / path).read_bytes() == (small.folder / path).read_bytes()


def test_a_catalogue_is_drawn_once(small, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(small.folder.parents[1]))
    monkeypatch.setattr(bazaar, "draw_all", lambda *_: pytest.fail("drawn again"))
    again = bazaar.prepare(**SMALL, workers=1)
    assert again.split_hash() == small.split_hash()


def test_a_failed_drawing_leaves_no_catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(bazaar, "draw", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bazaar.prepare(**SMALL, workers=1)
    assert not list((tmp_path / "bazaar").iterdir())


@pytest.mark.parametrize(("name", "value"), [("size", 8), ("min_per_leaf", 0), ("num_items", 50)])
def test_counts_that_cannot_be_served_are_refused(name, value):
    with pytest.raises(ValueError, match=r"bazaar: .*at least"):
        bazaar.prepare(**(SMALL | {name: value}))


def test_no_product_stands_in_two_splits_and_every_leaf_in_all_three(small):
    images = small.images
    assert (images.groupby("item")["split"].nunique() == 1).all()
    assert set(images["split"]) == {"train", "val", "test"}
    p1 = images[images["classify"]]
    assert (p1.groupby("leaf")["split"].nunique() == 3).all()
    assert not set(p1["item"]) & set(images.loc[~images["classify"], "item"])
    counts = p1["leaf"].value_counts()
    assert counts.max() > 3 * counts.min()


def test_every_search_product_has_24_shop_views_and_its_consumer_queries(small):
    search = small.images[~small.images["classify"]]
    counts = search.groupby(["item", "role", "domain"]).size().unstack(["role", "domain"])
    assert len(counts) == 6
    assert (counts[("gallery", "shop")] == 24).all()
    assert (counts[("query", "consumer")] == 2).all()
    assert counts.shape[1] == 2


def test_core_is_a_strict_subset_and_labels_are_sparse(small):
    p1 = small.images["classify"].to_numpy(bool)
    assert 0.35 < small.has_attributes()[p1].mean() < 0.75
    for name in STATES:
        assert 0 < small.images.loc[p1, name].notna().mean() < 0.6


def test_labels_tell_the_truth_and_only_what_applies(small):
    for row in small.images.drop_duplicates("item").itertuples():
        kind = {"c": "catalogue", "s": "search"}[row.item[0]]
        item = make_item(0, kind, int(row.item[1:]))
        assert (item.leaf.name, item.leaf.root) == (row.leaf, row.root)
        for name in STATES:
            label = getattr(row, name)
            assert pd.isna(label) or label == item.states[name]


def test_colour_sets_the_hue_of_the_product_and_nothing_else():
    hues = {"red": 0.0, "green": 1 / 3, "blue": 0.61, "yellow": 0.14, "purple": 0.78}
    for leaf in ("t-shirt", "armchair", "tote", "thermos"):
        masks = []
        for colour, wanted in hues.items():
            image, mask = pixels(plain(leaf, 1, colour=colour))
            hue = colorsys.rgb_to_hsv(*np.median(image[mask > 0] / 255, axis=0))[0]
            assert abs((hue - wanted + 0.5) % 1 - 0.5) < 0.09, (leaf, colour, hue)
            masks.append(mask)
        assert all(np.array_equal(mask, masks[0]) for mask in masks)


def cloth_area(leaf, **states):
    """Area of the drawn outline in product units², which no framing rescales."""
    from shoplens.data.drawing.render import paint
    from shoplens.data.drawing.shapes.outlines import outline

    item = plain(leaf, 2, **states)
    sketch = outline(item, np.zeros(3))
    left, top, right, bottom = sketch.bounds()
    cover = np.asarray(paint(item, sketch, 128).cover) > 0
    return cover.mean() * max(right - left, bottom - top) ** 2


@pytest.mark.parametrize(("leaf", "name", "states"), [
    ("t-shirt", "sleeve_length", ("sleeveless", "short", "elbow", "long")),
    ("a-line dress", "sleeve_length", ("sleeveless", "short", "elbow", "long")),
    ("trench coat", "sleeve_length", ("sleeveless", "short", "elbow", "long")),
    ("jeans", "pants_length", ("short", "knee", "cropped", "long")),
    ("leggings", "pants_length", ("short", "knee", "cropped", "long")),
    ("sweater", "shape", ("slim", "regular", "loose")),
])
def test_longer_and_looser_means_more_cloth(leaf, name, states):
    areas = [cloth_area(leaf, **{name: state}) for state in states]
    assert all(longer > 1.02 * shorter for shorter, longer in itertools.pairwise(areas))


def test_pattern_and_shape_change_the_picture():
    looks = {}
    for pattern in STATES["pattern"]:
        looks[pattern], mask = pixels(make_item(3, "catalogue", number_of("tote", 4), pattern=pattern, colour="blue"))
    for first, second in itertools.combinations(STATES["pattern"], 2):
        changed = (np.abs(looks[first].astype(int) - looks[second]).max(axis=2) > 40)[mask > 0]
        assert changed.mean() > 0.04, (first, second)
    for leaf, shapes in (("sunglasses", ("round", "square", "cat-eye")), ("tote", ("square", "trapezoid", "round")),
                         ("pump", ("pointed", "round", "square")), ("thermos", ("slender", "stout"))):
        states = [{"shape": shape} for shape in shapes]
        masks = [pixels(make_item(3, "catalogue", number_of(leaf, 1), **each))[1] for each in states]
        assert all(not np.array_equal(a, b) for a, b in itertools.combinations(masks, 2)), leaf


def test_states_a_leaf_does_not_have_are_refused():
    with pytest.raises(ValueError, match="pants_length"):
        make_item(0, "catalogue", number_of("tote", 0), pants_length="long")


def test_distractors_stream_in_any_range_and_are_no_catalogue_items(small):
    first = list(itertools.islice(distractors(10**9, start=3, size=32), 4))
    assert [each.item for each in first] == [f"d{number:08d}" for number in range(3, 7)]
    assert first[2].file == distractor(5, size=32).file
    with Image.open(io.BytesIO(first[0].file)) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (32, 32), "RGB")
    assert not {each.item for each in first} & set(small.images["item"])
    shapes = {make_item(0, kind, 5).knobs.tobytes() for kind in ("catalogue", "search", "distractor")}
    assert len(shapes) == 3


def test_distractors_from_two_workers_are_those_of_one(monkeypatch):
    monkeypatch.setattr(stream, "_CHUNK", 2)
    pooled = list(distractors(13, size=32, workers=2))
    assert [each.item for each in pooled] == [f"d{number:08d}" for number in range(13)]
    for number in (0, 12):
        assert pooled[number].file == distractor(number, size=32).file


def test_a_distractor_is_kept_as_the_catalogues_pictures_are(small, tmp_path):
    """The same tables of quantisation and the same subsampling: nothing but what is shown tells them apart."""
    (tmp_path / "stranger.jpg").write_bytes(distractor(0, size=32).file)
    with Image.open(tmp_path / "stranger.jpg") as stranger, Image.open(small.files()[0]) as known:
        assert stranger.quantization == known.quantization
        assert [part[1:3] for part in stranger.layer] == [part[1:3] for part in known.layer]


def test_drawing_code_is_what_the_code_does(tmp_path, monkeypatch):
    """Another comment or docstring finds the pictures that are drawn; another line of code draws them anew."""
    source = '"""How wide."""\n\n\ndef width(size):\n    """In pixels."""\n    return size / 3  # a third\n'
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(bazaar.drawing, "__file__", str(tmp_path / "__init__.py"))

    def code(old="", new=""):
        (tmp_path / "shape.py").write_text(source.replace(old, new) if old else source)
        return bazaar.drawing_code()

    as_it_was = code()
    assert code("# a third", "# one third") == as_it_was
    assert code("In pixels.", "Number of pixels.") == as_it_was
    assert code("How wide.", "Width of a shape.") == as_it_was
    assert code("size / 3", "size / 4") != as_it_was


# --- causes -------------------------------------------------------------------------------------------------------


def test_more_labels_hold_all_the_fewer_ones_and_change_no_picture(small, monkeypatch):
    """Nested shares, so that a dose changes nothing else; pictures are drawn once."""
    monkeypatch.setattr(bazaar, "draw_all", None)       # nothing may be drawn
    tables = [bazaar.prepare(**SMALL, workers=1, labelled=share).images for share in (0.1, 0.3, 0.8, 1.0)]
    assert bazaar.prepare(**SMALL, workers=1, labelled=0.0).attributes == {}
    for attribute in STATES:
        counts = [table[attribute].notna().sum() for table in tables]
        assert counts == sorted(counts)
        applies = tables[-1][attribute].notna()
        assert counts[1] / applies.sum() == pytest.approx(0.3, abs=0.15)
        for fewer, more in zip(tables, tables[1:], strict=False):
            known = fewer[attribute].notna()
            assert fewer.loc[known, attribute].tolist() == more.loc[known, attribute].tolist()
    assert all(table["path"].equals(small.images["path"]) for table in tables)
    assert tables[-1]["colour"].notna().all()      # every product has a colour


def test_clutter_adds_to_what_is_not_the_product():
    """Pictures differ off the product, and the more the more clutter there is; without any, ground alone is left."""
    def drawn(clutter):
        return [draw(plain("tote", i), domain, 0, 64, Causes(clutter=clutter)) for i in range(6)
                for domain in ("shop", "consumer")]

    def edges(pictures):
        """Mean step between neighbouring pixels off the product."""
        found = []
        for each in pictures:
            grey = np.asarray(each.image.convert("L"), float)
            off = np.asarray(each.mask) == 0
            step = np.abs(np.diff(grey, axis=1))
            found.append(step[off[:, 1:] & off[:, :-1]].mean())
        return np.mean(found)

    amounts = [edges(drawn(clutter)) for clutter in (0.0, 1.0, 4.0)]
    assert amounts == sorted(amounts)
    assert amounts[2] > 1.2 * amounts[0]


def test_close_pictures_cut_the_outline():
    """alike = 1: products reach the border of nearly every picture; at 0 few do."""
    def cut(alike):
        boxes = [draw(plain("tote", i), domain, 0, 48, Causes(alike=alike)).box for i in range(12)
                 for domain in ("shop", "consumer")]
        return np.mean([min(box[:2]) == 0 or max(box[2:]) == 1 for box in boxes])

    assert cut(0.0) < 0.4
    assert cut(1.0) > 0.8


def test_causes_as_usual_change_no_picture():
    item = make_item(0, "catalogue", number_of("tote", 3))
    for domain in ("shop", "consumer"):
        assert draw(item, domain, 1, 48).image.tobytes() == draw(item, domain, 1, 48, Causes(1.0, 0.0)).image.tobytes()


@pytest.mark.parametrize(("given", "said"), [
    ({"labelled": 1.5}, "labelled must be a share"), ({"alike": -0.1}, "alike must be a share"),
    ({"clutter": -1.0}, "clutter must be at least 0")])
def test_causes_that_mean_nothing_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        bazaar.prepare(**SMALL, **given)
