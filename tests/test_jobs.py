"""Work that travels in a folder: what is pickled is small, and comes back as it was."""

import numpy as np
import pytest
import torch
from torch import nn
from trainings import noise

from shoplens import modules
from shoplens.data.images import ImageStore
from shoplens.jobs import digest, pack, unpack
from shoplens.search.activations import RowFeatures

MIB = 2**20


class Miner:
    """Batches that hold the model they mine with, as those of a search do."""

    def __init__(self, model, maps):
        self.model, self.maps = model, maps


@pytest.fixture
def large(tmp_path):
    """A network of 8 MiB, its miner with 4 MiB of memory map, a store of images in a map, 2 MiB of labels."""
    model = nn.Sequential(nn.Linear(1024, 2048), nn.BatchNorm1d(2048))
    model[0].bias.requires_grad_(False)
    for name, shape, dtype in (("maps", (1024, 1024), np.float32), ("images", (50, 64, 64, 3), np.uint8)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).integers(0, 99, shape).astype(dtype))
    maps, images = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("maps", "images"))
    labels = {"leaf": np.arange(2**18)}
    return model, Miner(model, maps), ImageStore(images, tmp_path, "digest"), labels


def test_a_job_is_small_whatever_it_works_on(large, tmp_path):
    pack(tmp_path, large)
    assert (tmp_path / "job.pkl").stat().st_size < MIB / 10
    assert (tmp_path / "tensors.pt").stat().st_size == pytest.approx(10 * MIB, rel=0.05)    # each tensor once


def test_what_comes_back_is_what_went_in(large, tmp_path):
    model, miner, store, labels = large
    pack(tmp_path, large)
    again, same_miner, same_store, same_labels = unpack(tmp_path)
    assert same_miner.model is again
    assert isinstance(again[0].weight, nn.Parameter)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    for mine, theirs in ((miner.maps, same_miner.maps), (store.array, same_store.array)):
        assert isinstance(theirs, np.memmap)
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(labels["leaf"], same_labels["leaf"])


def test_a_part_of_a_map_travels_as_an_array(large, tmp_path):
    part = large[1].maps[3:700:2]
    pack(tmp_path, (part,))
    np.testing.assert_array_equal(unpack(tmp_path)[0], part)
    assert (tmp_path / "job.pkl").stat().st_size < MIB / 10


def test_what_a_notebook_defines_travels_with_what_it_refers_to(tmp_path):
    """Functions of a module called __main__ are sent as they are, with the names they use."""
    names = {"__name__": "__main__"}
    exec("truth = list(range(5))\ndef validate(model):\n    return {'acc': float(len(truth)), 'of': model}", names)
    pack(tmp_path, (names["validate"],))
    [validate] = unpack(tmp_path)
    assert validate(3) == {"acc": 5.0, "of": 3}


def test_batches_and_features_travel(tmp_path):
    features = RowFeatures.of(np.array([4, 2]), np.ones((2, 3), np.float32))
    pack(tmp_path, (noise(), features))
    batches, same = unpack(tmp_path)
    for one, other in zip(noise().epoch(0), batches.epoch(0), strict=True):
        assert torch.equal(one["images"], other["images"])
    np.testing.assert_array_equal(same[np.array([2])], features[np.array([2])])


# --- what a job depends on ----------------------------------------------------------------------------------------

STEP = """
import torch.nn.functional as F
from shoplens.statistics import accuracy
RATE, truth = 0.5, [1, 2, 3]

def scale(loss, *, shift=0.0):
    return RATE * loss + shift

def step(model, batch):
    # how surprised the model is
    return scale(F.cross_entropy(model(batch), batch)), {"acc": accuracy.acc(truth)}
"""


def notebooks(source: str):
    """The step that a notebook defines."""
    names = {"__name__": "__main__"}
    exec(source, names)
    return names["step"]


def of(source=STEP, seed=0, **batches) -> str:
    torch.manual_seed(seed)
    return digest((nn.Linear(40, 50), notebooks(source), noise(**batches)), {"shoplens.data.images"})


def test_the_same_work_has_the_same_digest_wherever_it_is_written():
    moved = STEP.replace("import torch", "# a longer page\n\nshown = [7]\nimport torch")
    assert of() == of() == of(moved) == of(STEP.replace("# how surprised the model is", "# another comment"))


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"indices": np.arange(20)}, {"batch_size": 4}, {"source": STEP.replace("RATE * loss", "RATE + loss")},
    {"source": STEP.replace("shift=0.0", "shift=1.0")},
    {"source": STEP.replace("truth = 0.5", "truth = 0.25")}, {"source": STEP.replace("[1, 2, 3]", "[1, 2]")},
    {"source": STEP.replace("F.cross_entropy", "F.mse_loss")}])
def test_other_weights_images_code_or_values_are_other_work(change):
    assert of(**change) != of()


def test_the_librarys_code_counts_and_what_carries_things_does_not(monkeypatch):
    before, real = of(), modules.closure

    def changed(module):
        return lambda names: {name: own._replace(hash="other") if name == f"shoplens.{module}" else own
                              for name, own in real(names).items()}
    for module, same in (("data.images", False), ("statistics.accuracy", False), ("figures.charts", True),
                         ("sealed", True)):
        monkeypatch.setattr("shoplens.jobs.closure", changed(module))
        assert (of() == before) is same, module
