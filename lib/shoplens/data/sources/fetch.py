"""Raw data: found where it lies, else downloaded whole and checked before anything reads it."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch
import requests

from shoplens import paths, sealed


class DataError(RuntimeError):
    """Raw data is missing or incomplete; the message says in one sentence what to put where."""


@dataclass(frozen=True)
class Raw:
    """What a publisher distributes, and how to get it.

    folder: its name under `paths.data_dir()`. url: a zip archive. gigabytes: free disk the download needs, archive
    and unpacked files side by side. place: name of an archive member → its path inside the folder, None for one
    that is not needed. problems: (folder, published) → what is missing or wrong in it; `published` asks for every
    file the publisher has, where otherwise a subset will do. by_hand: what a person without network does.
    """

    folder: str
    url: str
    gigabytes: float
    place: Callable[[str], str | None]
    problems: Callable[[Path, bool], list[str]]
    by_hand: str


def find_raw(raw: Raw) -> Path:
    """Folder of the raw data: the one under `paths.data_dir()`, else a fresh download of it.

    Raises DataError where the folder is not whole (it is never overwritten) and where it cannot be downloaded.
    """
    folder = paths.data_dir() / raw.folder
    if not folder.exists():
        with sealed.locked(folder):     # another process may have downloaded it meanwhile
            if not folder.exists():
                download(raw, folder)
    elif problems := raw.problems(folder, False):
        raise DataError(f"{folder} is not whole ({'; '.join(problems)}): remove it to have it downloaded again, or "
                        f"{raw.by_hand}.")
    return folder


def download(raw: Raw, folder: Path) -> None:
    """Download and unpack into a temporary folder beside `folder`, check it, move it into place."""
    print(f"{folder} is not there: downloading {raw.url}", flush=True)
    try:
        with paths.publish_folder(folder) as temporary:
            free = shutil.disk_usage(temporary).free / 1e9
            if free < raw.gigabytes:
                raise OSError(f"it needs {raw.gigabytes:g} GB of disk, {free:.1f} GB are free")
            archive = _retrieve(raw.url, temporary)
            _unpack(archive, temporary, raw.place)
            archive.unlink()
            if problems := raw.problems(temporary, True):
                raise OSError(f"what came is not what was published: {'; '.join(problems)}")
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{raw.folder} is not there and could not be downloaded ({_why(error, raw.url)}): "
                        f"{raw.by_hand}, and put it at {folder}, or set STUDY_DATA to the folder it lies in.") from None


def _why(error: Exception, url: str) -> str:
    host = urlsplit(url).netloc
    if isinstance(error, requests.HTTPError):
        return f"{host} answered {error.response.status_code}"
    if isinstance(error, (requests.ConnectionError, requests.Timeout)):
        return f"{host} cannot be reached"
    return str(error) or type(error).__name__


def _retrieve(url: str, into: Path) -> Path:
    pooch.get_logger().setLevel("WARNING")
    # No hash of the archive: hosts zip it anew at any time. `Raw.problems` checks what is inside.
    return Path(pooch.retrieve(url, known_hash=None, path=into, fname=".archive.zip",
                               downloader=pooch.HTTPDownloader(progressbar=True, timeout=60)))


def _unpack(archive: Path, into: Path, place: Callable[[str], str | None]) -> None:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            relative = None if member.is_dir() else place(member.filename)
            if relative is None or ".." in PurePosixPath(relative).parts or (into / relative).exists():
                continue
            (into / relative).parent.mkdir(parents=True, exist_ok=True)
            with members.open(member) as source, open(into / relative, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
