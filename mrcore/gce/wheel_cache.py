"""Cache of wheels on this machine: `up` builds and downloads only what it has not before.

Each entry is a folder whose name is the digest of all that its wheels depend on. An entry appears
whole, has the digests of its files, and goes when no command has used it for a month.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

UNUSED_SECONDS: Final = 30 * 86400.0
_LIST: Final = "sha256sums"


def cache_folder() -> Path:
    """Return the folder of all entries, by the XDG rule."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mrcore" / "wheels"


def provide(parts: Iterable[str], folder: Path, make: Callable[[Path], None]) -> list[Path]:
    """Put the wheels that depend on `parts` into `folder`, and return them by name.

    make: puts them into a folder; called where the cache lacks them or cannot be written.
    """
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogateescape"))
    entry = cache_folder() / digest.hexdigest()
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        if not _is_whole(entry):
            _add(entry, make)
        os.utime(entry)
        for path in entry.glob("*.whl"):
            shutil.copy2(path, folder)
        _prune(entry)
    except OSError:  # a home that is full, or not to be written
        make(folder)
    return sorted(folder.glob("*.whl"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sums(folder: Path) -> str:
    return "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(folder.glob("*.whl")))


def _is_whole(entry: Path) -> bool:
    try:
        return (entry / _LIST).read_text() == _sums(entry)
    except OSError:
        return False


def _add(entry: Path, make: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="new-", dir=entry.parent) as scratch:
        made, old = Path(scratch) / "made", Path(scratch) / "old"
        made.mkdir()
        make(made)
        (made / _LIST).write_text(_sums(made))
        with contextlib.suppress(FileNotFoundError):  # one that is damaged gives way
            entry.rename(old)
        try:
            made.rename(entry)
        except OSError:
            if not _is_whole(entry):  # else another command was faster
                raise


def _prune(used: Path) -> None:
    """Remove entries, and what interrupted commands have left, long unused before this one was."""
    now = used.stat().st_mtime
    for entry in used.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another command was faster
            if now - entry.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)
