"""Raw data: found where it lies, else downloaded whole and verified before anyone sees it."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pooch
from requests.exceptions import RequestException

from shoplens import paths


class DataError(RuntimeError):
    """Raw data is not there, or not whole: one sentence with what to put where."""


@dataclass(frozen=True)
class Raw:
    """What a publisher distributes, and how to get it.

    folder: its name under `paths.data_dir()`. url: a zip archive. gigabytes: free disk the download needs, with
    the archive and the unpacked files lying side by side. place: archive member's name → path inside the folder,
    or None for a member that is not needed. problems: folder, `published` → what is missing or wrong in it, one
    sentence each; `published` asks for every file of the publisher's, else a subset will do.
    by_hand: what a person without network puts into the folder.
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
        download(raw, folder)
    elif problems := raw.problems(folder, False):
        raise DataError(f"{folder} is not whole ({'; '.join(problems)}): remove it to download it again, "
                        f"or complete it by hand: {raw.by_hand}.")
    return folder


def download(raw: Raw, folder: Path) -> None:
    """Download and unpack into a temporary folder beside `folder`, verify, move into place."""
    print(f"{raw.folder} is not in {folder.parent}: downloading it from {raw.url}", flush=True)
    try:
        with paths.publish_folder(folder) as temporary:
            free = shutil.disk_usage(temporary).free / 1e9
            if free < raw.gigabytes:
                raise DataError(f"{raw.folder} needs {raw.gigabytes:g} GB of disk to download and {folder.parent} has "
                                f"{free:.1f} GB free: set STUDY_DATA to a folder on a larger disk.")
            archive = _retrieve(raw.url, temporary)
            _unpack(archive, temporary, raw.place)
            archive.unlink()
            if problems := raw.problems(temporary, True):
                raise DataError(f"the download of {raw.folder} is not what its publisher lists "
                                f"({'; '.join(problems)}): try again, or by hand: {raw.by_hand}.")
    except (OSError, RequestException, zipfile.BadZipFile) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{raw.folder} is not in {folder.parent} and could not be downloaded ({why}): "
                        f"put {raw.by_hand}, or set STUDY_DATA to the folder that holds {raw.folder}/.") from None


def _retrieve(url: str, into: Path) -> Path:
    pooch.get_logger().setLevel("WARNING")
    # No hash of the archive: hosts zip it anew at any time. `Raw.problems` verifies what is inside.
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
