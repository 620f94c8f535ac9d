"""`make bench`: our input path, training step and MCR beside what a user would write, on this machine, in one run.

The other side is `ImageFolder` + `DataLoader` with per-image transforms: same pictures, network, batch size and
augmentations (crop, mirror, deformation). Both are held against the machine's matrix product, the ceiling of any
training step. MCR's other side is scikit-learn's multinomial regression on the same scores, at P1's size; search's are
exact against approximate, and an epoch of learning by rank against the same epoch as one writes it first.
"""

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.mcr import bench_mcr
from benchmarks.measure import peak_gib, seconds, timed
from benchmarks.search import bench_epoch, bench_index, bench_mining, on_paper
from shoplens.data import registry
from shoplens.data.catalogue import Catalogue, CatalogueError
from shoplens.data.images import Augmentation, Batches, normalise, open_store
from shoplens.models.backbones import load_backbone
from shoplens.models.flat import FlatClassifier
from shoplens.models.netvlad import Descriptor, NetVLAD, cut_trunk, descriptors, initialise
from shoplens.search.protocols import PROTOCOLS, SearchProtocol, build_protocol
from shoplens.training import pick_device

BATCH_SIZE = 64
QUERIES = 64        # of the epoch of learning by rank


def matrix_product(device: torch.device, side: int) -> float:
    """GFLOP/s of a float32 product of two side×side matrices."""
    a, b = torch.randn(2, side, side, device=device)
    return 2 * side**3 / seconds(lambda: a @ b, 5) / 1e9


def image_folder(catalogue: Catalogue, size: int, augmentation: Augmentation, mean, std, folder: Path) -> ImageFolder:
    """The usual way: one folder per class (links to the same files), each image decoded and transformed alone."""
    labels = catalogue.labels(catalogue.hierarchy.leaf)
    for row, (file, label) in enumerate(zip(catalogue.files(), labels, strict=True)):
        place = folder / str(label)
        place.mkdir(exist_ok=True)
        (place / f"{row}{file.suffix}").symlink_to(file)
    degrees = float(np.degrees(augmentation.deform))
    return ImageFolder(folder, v2.Compose([
        v2.ToImage(),
        v2.RandomResizedCrop(size, scale=(augmentation.crop**2, 1.0),
                             ratio=(np.exp(-augmentation.deform), np.exp(augmentation.deform))),
        v2.RandomHorizontalFlip(augmentation.mirror),
        v2.RandomAffine(degrees, shear=degrees),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean, std),
    ]))


def train_over(batches: Iterable[tuple[torch.Tensor, torch.Tensor]], model, optimizer) -> None:
    """One epoch of plain training: forward, backward, step."""
    for images, labels in batches:
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def compare(catalogue: Catalogue, count: int, size: int, backbone_name: str) -> pd.DataFrame:
    """Images per second of each path: input alone, and with the training step. count: images per epoch."""
    device, augmentation, leaf = pick_device(), Augmentation(), catalogue.hierarchy.leaf
    backbone = load_backbone(backbone_name, pretrained=False, width=0.5)
    model = FlatClassifier(backbone, len(catalogue.hierarchy.classes[leaf]))
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
    catalogue = catalogue.keep(np.sort(np.random.default_rng(0).permutation(catalogue.rows("train"))[:count]))
    total, epochs = len(catalogue), itertools.count()
    opening, store = timed(lambda: open_store(catalogue.files(), size))
    print(f"opening the store of {total:,} pictures, decoding them if nobody has yet: {total / opening:,.0f} images/s")
    ours = Batches(store, np.arange(total), {"label": catalogue.labels(leaf)}, BATCH_SIZE, backbone.mean, backbone.std,
                   augmentation)

    def our_batches():
        return ((b["images"], b["label"]) for b in ours.epoch(next(epochs), device))

    def measured(path: str, batches: Callable[[], Iterable]) -> dict:
        return {"path": path, "input alone": total / seconds(lambda: [None for _ in batches()]),
                "input + training": total / seconds(lambda: train_over(batches(), model, optimizer))}

    table = [measured("store + batched augmentation (ours)", our_batches)]
    with tempfile.TemporaryDirectory() as folder:
        pictures = image_folder(catalogue, size, augmentation, backbone.mean, backbone.std, Path(folder))
        for workers in (0, min(4, os.cpu_count())):
            loader = DataLoader(pictures, BATCH_SIZE, shuffle=True, num_workers=workers,
                                pin_memory=torch.cuda.is_available(), persistent_workers=workers > 0)
            table.append(measured(f"ImageFolder + DataLoader, {workers} workers", lambda loader=loader: (
                (x.to(device, memory_format=torch.channels_last), y.to(device)) for x, y in loader)))
    fixed = [next(our_batches())]
    step = seconds(lambda: train_over(fixed, model, optimizer), 10)
    table.append({"path": "training step alone (one batch, over and over)", "input + training": BATCH_SIZE / step})
    with FlopCounterMode(display=False) as counter:
        train_over(fixed, model, optimizer)
    table = pd.DataFrame(table)
    return table.assign(**{"GFLOP/s": table["input + training"] * counter.get_total_flops() / BATCH_SIZE / 1e9})


def training_protocol(catalogue: Catalogue) -> SearchProtocol | None:
    """The first protocol whose training queries and gallery the catalogue has, None where it has none."""
    for name in PROTOCOLS:
        try:
            return build_protocol(catalogue, name)
        except CatalogueError:
            continue
    return None


def show(title: str, table: pd.DataFrame, form: str) -> None:
    """Print a table below its title; what was not measured stays empty."""
    print(f"\n{title}")
    print(table.astype(object).where(table.notna(), None).to_markdown(index=False, floatfmt=form))


def by_side(measured: dict[str, dict[str, float]], name: str) -> pd.DataFrame:
    """One row per side of a comparison, which the column `name` names."""
    return pd.DataFrame(measured).T.rename_axis(name).reset_index()


def listed(spent: dict[str, float], form: str) -> str:
    """Seconds or rates by name, on one line."""
    return ", ".join(f"{name} {value:{form}}" for name, value in spent.items())


def print_learning(catalogue: Catalogue, protocol: SearchProtocol, device: torch.device) -> float:
    """Print steps per second of learning by rank; images per second that become features."""
    train = protocol.splits["train"]
    queries = train.queries[:QUERIES]
    rows = np.union1d(queries, train.gallery)
    store = open_store([catalogue.files()[row] for row in rows], 192)
    backbone = load_backbone("squeezenet1_1", pretrained=False)
    frozen, block = cut_trunk(backbone.trunk.to(device).eval())
    with torch.no_grad():
        images = normalise(store.images(np.arange(32)).to(device), backbone.mean, backbone.std)
        sample = descriptors(block(frozen(images))).flatten(0, 1).cpu().numpy()
    model = Descriptor(block, NetVLAD(initialise(sample, 64, iterations=5, restarts=1))).to(device)
    spent = bench_epoch(frozen, model, store, protocol.items[rows], np.searchsorted(rows, queries),
                        np.searchsorted(rows, train.gallery), backbone.mean, backbone.std)
    rate = spent.pop("describing")
    print(f"\nSqueezeNet at 192 px, pictures of {catalogue.name}: {rate:,.0f} images/s from pixels to 32,768 numbers, "
          f"so a million distractors take {10**6 / rate / 3600:,.1f} h")
    print(f"an epoch of learning by rank, {len(queries)} queries and a gallery of {len(train.gallery):,}; steps per "
          f"second, four queries a step, mining included: {listed(spent, '.2f')}")
    return rate


def print_search(catalogue: Catalogue, count: int, device: torch.device, ceiling: float) -> None:
    """Exact and approximate search of `count` features; mining; where the catalogue has products to search, an epoch
    of learning by rank and the rate at which pictures become features; what the paper's gallery would take."""
    show(f"{count:,} features of 256 numbers, streamed; milliseconds a query", by_side(bench_index(count), "search"),
         ",.3g")
    print("mining 200 queries among 5,000 images, seconds:", listed(bench_mining(), ".2f"))
    protocol = training_protocol(catalogue)
    if protocol is None:
        print(f"learning by rank: left out, {catalogue.name} has no products to search")
    print(on_paper(ceiling, print_learning(catalogue, protocol, device) if protocol else None))


def main(arguments: list[str] | None = None) -> int:
    """Print the comparisons: input and training for one or two networks, then MCR (minutes at its full size)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("--dataset", default="bazaar")
    parser.add_argument("--images", type=int, default=1024, help="images per epoch")
    parser.add_argument("--networks", nargs="*", default=["small_vgg:64", "squeezenet1_1:128"], help="name:pixels")
    parser.add_argument("--distractors", type=int, default=1_000_000, help="size of the searched gallery, 0: no search")
    parser.add_argument("--mcr-images", type=int, default=600_000, help="images of the MCR comparison, 0: without it")
    given = parser.parse_args(arguments)
    device = pick_device()
    catalogue = registry.prepare(given.dataset)
    ceiling = matrix_product(device, 8192 if device.type == "cuda" else 2048)
    print(f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}; "
          f"float32, batch {BATCH_SIZE}, {given.dataset}")
    print(f"ceiling: a float32 matrix product runs at {ceiling:,.0f} GFLOP/s")
    for network in given.networks:
        name, size = network.split(":")
        table = compare(catalogue, given.images, int(size), name)
        table["of the ceiling"] = (table["GFLOP/s"] / ceiling).map("{:.0%}".format)
        show(f"{name} at {size} px, images per second", table, ",.0f")
    if given.mcr_images:
        columns = ["side", "seconds_first_step", "seconds", "peak_gib", "objective_first_step", "leaf_accuracy"]
        sides = by_side(bench_mcr(given.mcr_images), "side")[columns]
        show(f"MCR and scikit-learn's multinomial regression, {given.mcr_images:,} images, 10 + 129 categories; "
             "scikit-learn fits what MCR's first step does", sides, ".3g")
    if given.distractors:
        print_search(catalogue, given.distractors, device, ceiling)
    print(f"\ninput and training: medians of three repeats, the rest timed once; "
          f"peak memory of this process {1024 * peak_gib():,.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
