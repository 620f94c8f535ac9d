"""Full-resolution originals are reduced once; images that are small already are used where they lie."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from shoplens import paths, sealed
from shoplens.data.sources.fetch import DataError
from shoplens.data.sources.readable import UNREADABLE, in_parallel, why


def reduced_images(folder: Path, images: list[str], *, max_side: int) -> tuple[Path, list[str]]:
    """Folder in which the longer side of every image is at most `max_side` pixels, and each image's sha256.

    images: paths relative to `folder`. Where none is larger, that is `folder` itself; else a folder in the cache
    with the same relative paths, in which larger images are reduced and the others copied. The hashes are those
    of the originals. Work done once is found again as long as names and content of the originals stay.
    Raises DataError listing images that cannot be read; then nothing is published.
    """
    hashes = sealed.file_hashes([folder / image for image in images], folder)
    digests = [hashes[folder / image] for image in images]
    key = repr((max_side, list(zip(images, digests, strict=True))))
    done = paths.cache_dir() / folder.name / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def reduce_into(temporary: Path) -> None:
        sides = in_parallel(lambda i: _longer_side(folder / i), images, "sizes")
        large = max(sides) > max_side
        errors = in_parallel(lambda i: _reduce(folder / i, temporary / i if large else None, max_side), images,
                             "reducing images" if large else "checking images")
        if failed := [f"{i} ({error})" for i, error in zip(images, errors, strict=True) if error]:
            raise DataError(f"{len(failed)} images of {folder} cannot be read: {', '.join(failed[:20])}. "
                            "Replace them by the published files, or delete them to go without.")

    sealed.made(done, reduce_into)
    return (done if (done / images[0]).exists() else folder), digests


def _longer_side(file: Path) -> int:
    try:
        with Image.open(file) as image:
            return max(image.size)
    except UNREADABLE:
        return 0  # `_reduce` meets the same file and says what is wrong with it


def _reduce(file: Path, target: Path | None, max_side: int) -> str:
    """What is wrong with an image, "" if nothing; writes the reduced image where there is a target."""
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                if max(image.size) <= max_side:
                    image.load()
                    target.write_bytes(data)
                else:
                    # JPEG can be decoded at a fraction of its size; twice the target loses nothing visible.
                    image.draft("RGB", (2 * max_side, 2 * max_side))
                    image = image.convert("RGB")
                    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
                    image.save(target, "JPEG", quality=92)
    except UNREADABLE as error:
        return why(error)
    return ""
