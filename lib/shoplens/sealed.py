"""What was written is what is read: content hashes of files, and folders that carry those of what is in them.

A hash is SHA-256. It is remembered with the size, time and inode that its file had, so that a file nobody touched is
not read again; VERIFY=1 reads every one.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from shoplens import paths
from shoplens.errors import StudyError

SEAL = ".seal.json"
SETTLED_S = 2       # a file younger than this may yet change without its time telling


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, read now; OSError where there is none."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(files: Iterable[Path], place: Path, anew: bool = False) -> dict[Path, str]:
    """SHA-256 of each file; what is remembered of them is kept per `place`, the folder they belong to. anew: read them
    all, whatever is remembered.

    OSError for a file that is not there or cannot be read.
    """
    memory = _of("hashes", place)
    remembered = {} if anew or os.environ.get("VERIFY") else _remembered(memory)
    found, new = {}, {}
    for file in files:
        stat = file.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        *before, known = remembered.get(str(file)) or [None]
        found[file] = known if before == state else file_hash(file)
        if before != state and time.time() - stat.st_mtime > SETTLED_S:
            new[str(file)] = [*state, found[file]]
    if new:
        with suppress(OSError):     # of a cache that nobody may write to, or a full disk: they are read again next time
            write_sealed(memory, remembered | new)
    return found


def _remembered(memory: Path) -> dict[str, list]:
    """What an earlier `file_hashes` wrote down: file → [size, time, inode, hash]; {} where nothing was."""
    try:
        return _parsed(memory, memory.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@lru_cache(maxsize=4)
def _parsed(memory: Path, written_ns: int) -> dict[str, list]:
    return _unsealed(memory) or {}


def _of(kind: str, folder: Path) -> Path:
    """A file of ours in the cache about a folder that may lie anywhere."""
    return paths.cache_dir() / kind / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]


def write_sealed(path: Path, content: dict) -> None:
    """Write a dictionary as JSON that carries its own hash, as its key `seal`."""
    text = json.dumps(content | {"seal": _own_hash(content)}, indent=1, ensure_ascii=False)
    paths.write_atomic(path, f"{text}\n".encode("utf-8", "surrogatepass"))     # a file's name may be no UTF-8


def read_sealed(path: Path) -> dict:
    """What `write_sealed` wrote; FileNotFoundError where there is nothing, StudyError naming a file that is not as it
    was written."""
    content = _unsealed(path)
    if content is None:
        path.stat()
        raise StudyError(f"{path} is not as it was written: damaged, or edited")
    return content


def _unsealed(path: Path) -> dict | None:
    """What `write_sealed` wrote, None where that cannot be had."""
    try:
        content = json.loads(path.read_bytes())
        return content if content.pop("seal") == _own_hash(content) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _own_hash(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def files_in(folder: Path) -> list[Path]:
    """All files below a folder, those behind links to folders too, by name; [] where there is no such folder."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen]
        found += [path for name in names if (path := Path(place, name)).is_file()]
    return sorted(found)


def seal(folder: Path) -> None:
    """Write down the hashes of all files of a folder, in the folder."""
    write_sealed(folder / SEAL, {file.relative_to(folder).as_posix(): file_hash(file) for file in files_in(folder)})


def damage(folder: Path) -> str:
    """What is wrong with a sealed folder, "" where it is as it was sealed."""
    hashes = _unsealed(folder / SEAL)
    if hashes is None:
        return "its list of files is missing or damaged" if folder.exists() else "it is not there"
    return next((f"{name} {what}" for name, what in altered(folder, hashes).items()), "")


def altered(folder: Path, hashes: dict[str, str], anew: bool = False) -> dict[str, str]:
    """Those of these files of a folder that are gone or no longer have their hash, name → "is gone" or "is not as it
    was written". hashes: name → hash. anew: as for `file_hashes`."""
    there = [name for name in hashes if (folder / name).is_file()]
    now = file_hashes([folder / name for name in there], folder, anew)
    return {name: "is gone" if name not in there else "is not as it was written" for name in hashes
            if name not in there or now[folder / name] != hashes[name]}


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, as `make(temporary folder)` fills it: now, where it is missing or damaged, or else some time before.

    Of several processes that ask at once, one makes it and the others wait. Nothing is left behind where `make` raises.
    """
    if not damage(folder):
        return folder
    with locked(folder):
        if why := damage(folder):
            if folder.exists():
                print(f"{folder} is made again: {why}", flush=True)
            with paths.publish_folder(folder) as temporary:
                make(temporary)
                seal(temporary)
    return folder


@contextmanager
def locked(folder: Path):
    """Hold the lock of a folder in the making; what an attempt left that was killed meanwhile is removed."""
    lock = _of("locks", folder)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        paths.remove_unpublished(folder)
        yield
