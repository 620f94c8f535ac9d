"""Does every file hold a picture? Each is decoded once, and those that fail are named."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

# What Pillow raises for files that are missing, truncated, broken or far too large.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def verify_images(files: Iterable[Path]) -> list[tuple[Path, str]]:
    """Decode each file whole; return (file, why) of those that are missing, truncated or no image."""
    files = list(files)
    errors = in_parallel(_error, files, "checking images")
    return [(file, error) for file, error in zip(files, errors, strict=True) if error]


def _error(file: Path) -> str:
    try:
        with Image.open(file) as image:
            image.load()
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


def in_parallel(function: Callable, arguments: list, told: str) -> list:
    """Results of `function` over `arguments`, in their order, on as many threads as there are cores.

    Pillow decodes without the interpreter's lock, so threads are enough. A bar shows on a terminal.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(function, arguments), total=len(arguments), desc=told,
                         unit="image", leave=False, disable=None))
