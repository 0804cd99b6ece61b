"""The root file system that VMs boot from: made once, kept in a cache, shared read-only.

It stands for Google's Debian 12: systemd and python3, but neither python3-venv nor pip nor gcloud.
Making it takes half a minute and the package mirror; what is in the cache is used as it is until
the recipe changes. A lock, shared by all users of a folder of the cache, makes that safe between
processes, and what an interrupted build has left is thrown away by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)
CLEAN_UP = r"""
rm -f "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*_* "$1"/etc/hostname
rm -f "$1"/var/lib/dbus/machine-id
: > "$1"/etc/machine-id
ln -sf /dev/null "$1"/etc/systemd/system/console-getty.service
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all; do
    ln -sf /dev/null "$1/etc/systemd/system/$timer.timer"
done
"""
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")
"""Files that no VM reads."""
RECIPE = "\n".join([SUITE, *PACKAGES, *LEFT_OUT, CLEAN_UP])
GUEST = Path(__file__).parent / "guest"
"""Files that are laid over the root, in a layer of their own, fresh for every cloud."""


class ImageError(Exception):
    """The root cannot be made; the text is a sentence for the user."""


def default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "mrcore-cloud"


def why_not(cache: Path) -> str | None:
    """Return why a root that is not in the cache cannot be made now, in a sentence, or None."""
    if (cache / _name()).exists():
        return None
    try:
        with urllib.request.urlopen(f"{MIRROR}/dists/{SUITE}/Release", timeout=20):
            return None
    except (urllib.error.URLError, TimeoutError) as error:
        return f"{MIRROR} cannot be reached ({error}): the image of the VMs is made from there."


def _name() -> str:
    return f"root-{hashlib.sha256(RECIPE.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def root(cache: Path) -> Iterator[Path]:
    """Yield the folder of the root, made if need be; it stays as long as this context is open."""
    with kept(cache, _name(), _make) as path:
        yield path


@contextlib.contextmanager
def kept(cache: Path, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a folder of the cache, made if need be; it stays as long as this context is open.

    Others of its kind, which its name has before the dash, go where nobody uses them.
    """
    cache.mkdir(parents=True, exist_ok=True)
    path, lock = cache / name, cache / f"{name}.lock"
    while True:
        with _locked(lock, fcntl.LOCK_SH):
            if path.exists():
                _prune(cache, keep=name)
                yield path
                return
        with _locked(lock, fcntl.LOCK_EX):
            if not path.exists():
                make(path)


def _make(path: Path) -> None:
    building = path.with_suffix(".building")
    log = path.with_suffix(".log")
    _remove(building)
    # The mounts that mmdebstrap makes go with the namespace, whatever becomes of it.
    # mmdebstrap resolves by apt, which takes half the CPU time of debootstrap.
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    options += [f"--dpkgopt='path-exclude={pattern}'" for pattern in LEFT_OUT]
    shell = f'set -e\nmmdebstrap {" ".join(options)} {SUITE} "$1" {MIRROR}\n{CLEAN_UP}'
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with log.open("wb") as output:
        result = subprocess.run(
            [*argv, "sh", "-c", shell, "sh", building],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if result.returncode:
        raise ImageError(f"mmdebstrap could not make the image of the VMs: its log is {log}.")
    building.rename(path)


def _prune(cache: Path, keep: str) -> None:
    """Remove folders of the same kind that nobody uses, such as roots of former recipes."""
    for path in cache.glob(f"{keep.partition('-')[0]}-*.lock"):
        if path.stem == keep:
            continue
        with (
            contextlib.suppress(BlockingIOError),
            _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB),
        ):
            for suffix in ("", ".building", ".log"):
                _remove(path.with_suffix(suffix))
            path.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    """Hold a lock on the file of that name, which whoever prunes may take away meanwhile."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, kind)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock)):
                yield
                return
        finally:
            os.close(lock)


def lay_over(folder: Path) -> None:
    """Copy the files of the guest into a new folder, as root's and readable by all."""
    for source in [GUEST, *sorted(GUEST.rglob("*"))]:
        target = folder / source.relative_to(GUEST)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir()
            target.chmod(0o755)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
