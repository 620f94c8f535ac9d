"""Decode once, then work in batches: a memory-mapped store of uint8 images and augmentation on the training device."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from shoplens import paths, sealed

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC,
                  "lanczos": Image.Resampling.LANCZOS}


class ImageError(ValueError):
    """Images that cannot be read; the message lists them by path."""


def decode(file: Path, size: int, interpolation: str = "bicubic") -> np.ndarray:
    """One image file as uint8 size×size×3 RGB; the whole picture is kept, its sides are stretched to a square.

    EXIF rotation is applied and transparency laid on white, as a shop page would show it.
    Raises OSError (from Pillow) when the file is no image or is truncated, ImageError for 32-bit pixels.
    """
    with Image.open(file) as image:
        image.draft("RGB", (2 * size, 2 * size))    # lets the JPEG decoder skip detail that would be thrown away
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):       # convert() would clip all but the darkest 256 of 65,536 levels
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ImageError(f"pixels of mode {image.mode} have no known range: save it with 8 bits per channel")
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        resized = image.convert("RGB").resize((size, size), INTERPOLATIONS[interpolation], reducing_gap=3.0)
        return np.asarray(resized, dtype=np.uint8)


@dataclass(frozen=True)
class ImageStore:
    """N decoded images in one memory-mapped file. array: uint8 N×S×S×3. place: int64, row of the list of files → place
    in the array, −1 where the store has none of it; None where it has all."""

    array: np.ndarray
    folder: Path
    digest: str
    place: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return self.array.shape[1]

    def __len__(self) -> int:
        return len(self.array)

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """uint8 B×S×S×3 of the given rows, a copy; KeyError for a row that the store was not made for."""
        places = rows if self.place is None else self.place[rows]
        if self.place is not None and np.min(places, initial=0) < 0:
            raise KeyError(f"the store holds no image of rows {np.asarray(rows)[places < 0][:5]}")
        return self.array[places]

    def images(self, rows: np.ndarray) -> Tensor:
        """The same as a tensor B×3×S×S, in channels-last memory order (no pixel is moved twice)."""
        return torch.from_numpy(self.pictures(rows)).permute(0, 3, 1, 2)


def open_store(files: list[Path], size: int, interpolation: str = "bicubic", workers: int = 0,
               rows: np.ndarray | None = None) -> ImageStore:
    """The store of `files` at size×size pixels: made at the first call, opened at the next. rows: those of the files
    that are needed, others take no room; None: all.

    The store's key is a digest of the files' bytes, in order, with size and interpolation; so the same images are
    never decoded twice and changed ones never read from an old store. Raises ImageError listing every file that is
    missing or, where all are there, every one that is corrupt or truncated; nothing is left behind then.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {list(INTERPOLATIONS)}, got {interpolation!r}")
    if size < 8:
        raise ValueError(f"size must be at least 8 pixels, got {size}")
    place = None
    if rows is not None:
        rows, place = np.unique(rows), np.full(len(files), -1)
        place[rows] = np.arange(len(rows))
        files = [files[row] for row in rows]
    digest = _content_digest(files)
    folder = paths.cache_dir() / "stores" / f"{digest[:16]}_{size}px_{interpolation}"
    sealed.made(folder, lambda temporary: _decode_all(files, size, interpolation, temporary, workers))
    return ImageStore(np.load(folder / "images.npy", mmap_mode="r"), folder, digest, place)


def _content_digest(files: list[Path]) -> str:
    """sha256 over the files' bytes."""
    missing = [str(f) for f in files if not Path(f).is_file()]
    if missing or not files:
        raise ImageError(_listing(len(files), [(f, "no such file") for f in missing]) if files else "no images given")
    hashes = sealed.file_hashes(map(Path, files), Path(os.path.commonpath([Path(file).parent for file in files])))
    return hashlib.sha256("".join(hashes[Path(file)] for file in files).encode()).hexdigest()


def _decode_all(files: list[Path], size: int, interpolation: str, folder: Path, workers: int) -> None:
    errors, array = [], allocate(folder / "images.npy", (len(files), size, size, 3), np.uint8)

    def one(row: int) -> None:
        try:
            array[row] = decode(files[row], size, interpolation)
        except Exception as error:      # Pillow raises many kinds; each names a file we must report
            errors.append((str(files[row]), str(error) or type(error).__name__))

    # Threads do: Pillow lets go of the interpreter lock while it works.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        list(tqdm(pool.map(one, range(len(files))), total=len(files), desc=f"decode to {size} px",
                  unit=" images", disable=None))     # a bar on a terminal, nothing in a notebook's page
    if errors:
        raise ImageError(_listing(len(files), sorted(errors)))
    array.flush()


def allocate(file: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    """A new .npy file of zeros, as a memory map to write to; OSError where the disk has no room for it.

    A map that is only extended takes room as it is written to, and a full disk kills the process then.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    paths.require_space(file.parent, size, file.name)
    array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(file, "r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return array


def _listing(total: int, errors: list[tuple[str, str]]) -> str:
    lines = "\n  ".join(f"{file}: {why}" for file, why in errors[:50])
    more = f"\n  and {len(errors) - 50} more" if len(errors) > 50 else ""
    first = ": ".join(errors[0])       # in the first line, which may be all that is shown
    return (f"{len(errors)} of {total} images cannot be read, {first}; replace them or take their rows out of the "
            f"table:\n  {lines}{more}")


@dataclass(frozen=True)
class Augmentation:
    """Random crop, mirror and deformation (P1 §4.2) as one affine map per picture, and a change of light.

    The paper names the three and gives no sizes; these are ours. crop: smallest share of the picture's area that a
    crop keeps. aspect: largest ratio of a crop's sides, either way round. mirror: probability of a left-right flip.
    turn: largest rotation and shear (radians). light: largest relative change of brightness, and of contrast; the paper
    has none.
    """

    crop: float = 0.64
    aspect: float = 1.1
    mirror: float = 0.5
    turn: float = 0.1
    light: float = 0.0

    def draw(self, count: int, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """For `count` pictures: affine maps float32 count×2×3, and factors of brightness and contrast count×2; the same
        for the same seed on any device and however work is shared out."""
        rng = np.random.default_rng(seed)
        area = rng.uniform(self.crop, 1.0, count)
        ratio = np.exp(rng.uniform(-1, 1, count) * np.log(self.aspect))
        across, down = np.minimum(np.sqrt([area * ratio, area / ratio]), 1)
        angle, shear = rng.uniform(-self.turn, self.turn, (2, count))
        flip = np.where(rng.random(count) < self.mirror, -1.0, 1.0)
        # Where the window may move without leaving the picture; coordinates run from −1 to 1.
        shift = rng.uniform(-1, 1, (2, count)) * (1 - np.stack([across, down]))
        theta = np.empty((count, 2, 3), np.float32)
        theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = flip * across * np.cos(angle), across * shear, shift[0]
        theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = flip * down * np.sin(angle), down * np.cos(angle), shift[1]
        light = 1 + rng.uniform(-self.light, self.light, (count, 2))
        return torch.from_numpy(theta), torch.from_numpy(light.astype(np.float32))


def warp(images: Tensor, theta: Tensor, size: int = 0) -> Tensor:
    """Resample float images B×3×S×S under affine maps B×2×3 to `size` pixels a side (0: S); what falls outside repeats
    the border. A map that crops makes a resized crop, as P1 §4.2 wants it: first cut, then brought to size."""
    side = size or images.shape[-1]
    grid = F.affine_grid(theta, [*images.shape[:2], side, side], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def relight(images: Tensor, light: Tensor) -> Tensor:
    """Float images B×3×S×S from 0 to 255 with each one's contrast and brightness multiplied. light: B×2, brightness
    and contrast; contrast stretches about the picture's own mean."""
    brightness, contrast = light.view(-1, 2, 1, 1, 1).unbind(1)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean).mul_(brightness).clamp_(0, 255)


def resize(images: Tensor, size: int) -> Tensor:
    """Float images B×3×S×S brought to `size` pixels a side; unchanged where they have it."""
    same = images.shape[-1] == size
    return images if same else F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """B×3×S×S from 0 to 255, uint8 or float32 (which is overwritten) → float32, (x / 255 − mean) / std by channel, on
    whatever device the images are."""
    scale = torch.tensor(std, device=images.device).mul(255).reciprocal().view(1, 3, 1, 1)
    shift = torch.tensor(mean, device=images.device).div(torch.tensor(std, device=images.device)).view(1, 3, 1, 1)
    return images.float().mul_(scale).sub_(shift)


@dataclass(frozen=True)
class Batches:
    """Batches of some rows of a store with their labels; picklable, and the same for any number of processes.

    indices: row numbers in the store. targets: name → int64 array over ALL rows of the store. size: side of the images
    in a batch [px], 0 for the store's; where the store's are larger, crops are cut from them and then brought to size.
    A pass visits each row once, in batches of nearly equal size (at most `batch_size`), so no lone image is left for
    the last. An epoch is one pass, or as many batches as `steps` says: passes follow one another, each in an order of
    its own, so that the length of a training need not depend on the number of images.
    """

    store: ImageStore
    indices: np.ndarray
    targets: dict[str, np.ndarray]
    batch_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation | None = None
    seed: int = 0
    workers: int = 0
    size: int = 0
    steps: int = 0

    def __post_init__(self):
        if self.batch_size < 1 or not len(self.indices):
            raise ValueError("need at least one row and a batch size of 1, "
                             f"got {len(self.indices)} and {self.batch_size}")

    def state_dict(self) -> dict:
        """What a checkpoint must hold of the batches: nothing, an epoch follows from its number."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """The counterpart of `state_dict`."""

    def plan(self, epoch: int | None) -> list[np.ndarray]:
        """Row numbers of each batch: shuffled by (seed, number of the pass), in the given order when epoch is None."""
        if epoch is None or not self.steps:
            return self._pass(epoch)
        length = -(-len(self.indices) // self.batch_size)
        first = epoch * self.steps
        passes = {number: self._pass(number)
                  for number in range(first // length, (first + self.steps - 1) // length + 1)}
        return [passes[step // length][step % length] for step in range(first, first + self.steps)]

    def _pass(self, number: int | None) -> list[np.ndarray]:
        indices = np.asarray(self.indices)
        if number is not None:
            indices = np.random.default_rng((self.seed, number)).permutation(indices)
        return np.array_split(indices, -(-len(indices) // self.batch_size))

    def epoch(self, epoch: int | None, device: torch.device | str = "cpu", rank: int = 0,
              world: int = 1) -> Iterator[dict[str, Tensor]]:
        """Batches on `device` for process `rank` of `world`: "images" float32 B×3×S×S, the targets (int64 B),
        "indices", and "loss_scale": what this process's mean loss must be multiplied by, so that the average over
        processes is the mean over the whole batch. Augmented where the epoch is given and an augmentation is set.
        """
        augmented = epoch is not None and self.augmentation is not None
        jobs = []
        for step, indices in enumerate(self.plan(epoch)):
            if len(indices) < world:
                raise ValueError(f"a batch of {len(indices)} cannot be shared among {world} processes: "
                                 f"raise BATCH_SIZE")
            drawn = self.augmentation.draw(len(indices), (self.seed, epoch, step)) if augmented else ()
            mine = slice(rank, None, world)
            jobs.append((indices[mine], [part[mine] for part in drawn], len(indices[mine]) * world / len(indices)))
        pinned = torch.device(device).type == "cuda"
        for batch in DataLoader(_Fetch(self), sampler=jobs, batch_size=None, num_workers=self.workers,
                                pin_memory=pinned):
            batch = {k: v.to(device, non_blocking=pinned) if torch.is_tensor(v) else v for k, v in batch.items()}
            images, size = batch["images"].float(), self.size or self.store.size
            if augmented:
                images = relight(warp(images, batch.pop("theta"), size), batch.pop("light"))
            batch["images"] = normalise(resize(images, size), self.mean, self.std)
            yield batch


@dataclass(frozen=True)
class _Fetch:
    """What a DataLoader asks for its items: one item is one whole batch."""

    batches: Batches

    def __getitem__(self, job: tuple) -> dict:
        indices, drawn, loss_scale = job
        batch = {"images": self.batches.store.images(indices), "indices": torch.from_numpy(indices),
                 "loss_scale": loss_scale}
        batch |= {name: torch.from_numpy(codes[indices]) for name, codes in self.batches.targets.items()}
        return batch | dict(zip(("theta", "light"), drawn, strict=False))
