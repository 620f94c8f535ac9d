"""Can every picture be opened, as training will open it? Those that cannot be are listed with the reason."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from shoplens.data.images import decode

SIDE = 64       # pixels; what is decoded here is thrown away

# What Pillow raises for files that are missing, truncated, broken or far too large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def unreadable_images(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """(file, reason) of those that cannot be opened: missing, truncated, not an image, or of 32-bit pixels."""
    files = list(files)
    errors = in_parallel(_error, files, "checking images")
    return [(file, error) for file, error in zip(files, errors, strict=True) if error]


def _error(file: Path) -> str:
    try:
        decode(file, SIDE)
    except UNREADABLE as error:
        return why(error)
    return ""


def why(error: Exception) -> str:
    """The error in a few words; the caller names the file."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__


def in_parallel(function: Callable, arguments: list, description: str) -> list:
    """Results of `function` over `arguments`, in their order, on as many threads as there are cores.

    Pillow decodes without the interpreter's lock, so threads are enough. On a terminal a bar shows the description.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(function, arguments), total=len(arguments), desc=description,
                         unit="image", leave=False, disable=None))
