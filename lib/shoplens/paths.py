"""Where things are. Every folder of the study is found here, so no notebook holds a path of its own."""

import errno
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """Root of the repository (`STUDY_ROOT`, else the folder that holds `lib/`)."""
    return Path(os.environ.get("STUDY_ROOT") or Path(__file__).parents[2]).resolve()


def _folder(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    # A relative path is meant from the root: papermill, Lab and pytest start in different folders.
    return (root() / given).resolve() if given else root() / default


def data_dir() -> Path:
    """Raw data as published (`STUDY_DATA`, default `data/`); may be read-only."""
    return _folder("STUDY_DATA", "data")


def weights_dir() -> Path:
    """Pretrained weights (`STUDY_WEIGHTS`, default `weights/`); may be read-only."""
    return _folder("STUDY_WEIGHTS", "weights")


def cache_dir() -> Path:
    """What can be made again from raw data: drawings, reduced originals, image stores (`STUDY_CACHE`)."""
    return _folder("STUDY_CACHE", "cache")


def results_dir(dataset: str, profile: str) -> Path:
    """Everything the runs of one dataset and profile emit."""
    return root() / "results" / dataset / profile


@contextmanager
def publish_folder(final: Path):
    """Yield an empty folder beside `final`; move it into place when the block ends well, delete it otherwise.

    >>> with publish_folder(cache_dir() / "store") as folder:   # doctest: +SKIP
    ...     write_everything(folder)
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        yield temporary
        replace_dir(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unpublished(final: Path) -> None:
    """Remove what a killed process left of publishing `final`; nobody else may be publishing it now."""
    for left in final.parent.glob(f".{final.name}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def require_space(folder: Path, size: int, what: str) -> None:
    """OSError, before anything is written, where the disk of `folder` has no room for `size` more bytes."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(errno.ENOSPC, f"{what} needs {size / 2**20:,.0f} MiB and the disk of {folder} has "
                                    f"{free / 2**20:,.0f} MiB left: make room there")


def replace_dir(temporary: Path, final: Path) -> None:
    """Rename `temporary` to `final`, taking the place of an older folder of that name."""
    old = final.parent / f".{final.name}.{uuid.uuid4().hex[:8]}.old"
    if final.exists():
        os.replace(final, old)
    try:
        os.replace(temporary, final)
    except OSError:
        # Another process published the same content in the meantime: its folder is as good as ours.
        if not final.exists():
            raise
    shutil.rmtree(old, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a kill, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, one space of indent, through `write_atomic`."""
    write_atomic(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict:
    """Content of a JSON file; FileNotFoundError where there is none."""
    return json.loads(path.read_text(encoding="utf-8"))
