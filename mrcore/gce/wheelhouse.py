"""The wheels that the VMs install offline: mrcore itself, what it needs, and what the user needs.

They are resolved once, here, for the Python and processor of the VMs: VMs without an external
address reach no package index. Each wheel lies in the bucket under its SHA-256, and the manifest,
in the format of `sha256sum`, names them all; its own digest is the identity of the environment. Pip
obeys its usual settings, such as PIP_NO_INDEX, PIP_FIND_LINKS and PIP_INDEX_URL.
"""

from __future__ import annotations

import base64
import contextlib
import email
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import mrcore
from mrcore.errors import AlreadyExistsError, MrcoreError, UsageError
from mrcore.gce import wheel_cache
from mrcore.gce.wheel_cache import sha256_of
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for
from mrcore.util.temporary import temporary_folder

UPLOADS: Final = 8
"""Wheels that travel side by side."""
GLIBC_MINOR: Final = 36
"""Debian 12 has glibc 2.36; wheels for an older one work there."""
_CHUNK_BYTES: Final = 1 << 20
_EPOCH_SECONDS: Final = 315_532_800
"""1980, the first year that a zip file can tell: every build of the same sources is the same."""
_BUILD: Final = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
"""Program that builds the wheel as pip would, in a sixth of the time."""
_ARM: Final = re.compile(r"(a4x|c4a|n4a|t2a)-|.*-arm")


@dataclass(frozen=True, slots=True)
class Target:
    """Platform of the VMs: CPython of a version, on a processor."""

    python: str
    """Such as `3.11`."""
    machine: str
    """`x86_64` or `aarch64`."""

    def pip_options(self) -> list[str]:
        """Return what makes pip resolve for this target, in place of the machine it runs on."""
        tags = [f"manylinux_2_{minor}" for minor in range(GLIBC_MINOR, 4, -1)]
        tags += ["manylinux2014", "manylinux2010", "manylinux1", "linux"]
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}"]
        return options + [f"--platform={tag}_{self.machine}" for tag in tags]


def machine_of(machine_type: str) -> str:
    """Return the processor of a machine type: `aarch64` for Arm series, else `x86_64`."""
    return "aarch64" if _ARM.match(machine_type) else "x86_64"


def resolve(folder: Path, target: Target, requirements: Path | None) -> list[Path]:
    """Download into `folder` every wheel that VMs of this target need; return them by name.

    Raises UsageError when something has no wheel for the target or versions exclude each other.
    """
    with temporary_folder("wheel") as scratch:
        own = make_own_wheel(scratch)
        required = requirements_of(own)
        pins = installed_pins(required)
        constraints = scratch / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        command = ["download", "--quiet", f"--constraint={constraints}"]
        command += [*target.pip_options(), str(own), "pip"]
        if requirements is not None:  # it may name what changes, so nothing is kept
            _download([*command, "--requirement", str(requirements)], folder, target)
        else:
            parts = [target.python, target.machine, *required, *pins, *_pip_settings()]
            wheel_cache.provide(parts, folder, lambda into: _download_others(command, into, target))
            shutil.copy(own, folder)
    return sorted(folder.glob("*.whl"))


def _download(command: list[str], folder: Path, target: Target) -> None:
    done = _run_pip([*command, f"--dest={folder}"])
    if done.returncode != 0:
        raise UsageError(
            f"The packages for the VMs cannot be resolved ({_last_error(done.stderr)}): each "
            f"needs a wheel for CPython {target.python} on {target.machine}, and a version that "
            "agrees with those installed here."
        )


def _download_others(command: list[str], folder: Path, target: Target) -> None:
    """Download all but mrcore itself, whose version stays as it changes."""
    _download(command, folder, target)
    for path in folder.glob("mrcore-*.whl"):
        path.unlink()


def _pip_settings() -> Iterator[str]:
    """Yield the settings of pip: its variables, and its files that are there."""
    yield from sorted(f"{name}={value}" for name, value in os.environ.items() if name[:4] == "PIP_")
    folders = os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    folders.append(os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config"))
    paths = [Path(folder) / "pip/pip.conf" for folder in folders]
    paths += [Path.home() / ".pip/pip.conf", Path("/etc/pip.conf"), Path(sys.prefix) / "pip.conf"]
    paths += [Path.home() / "Library/Application Support/pip/pip.conf"]
    paths += [Path(os.environ.get("PIP_CONFIG_FILE", os.devnull))]
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace")


def check_requirements(path: Path) -> Path:
    """Return the path of a file of requirements; raise UsageError where there is none."""
    if not path.is_file():
        raise UsageError(f"--requirements {path} is not a file. Check its name.")
    return path


def requirements_of(wheel: Path) -> list[str]:
    """Return what a wheel says that it requires."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(archive.read(name))
    return [str(line) for line in message.get_all("Requires-Dist", [])]


def installed_pins(requirements: Iterable[str]) -> list[str]:
    """Return `name==version` of all that is required, as installed here: VMs get the same."""
    waiting, pins = _names(requirements), dict[str, str]()
    while waiting:
        name = waiting.pop()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # behind a marker that does not hold here
        if name not in pins:
            pins[name] = version
            waiting |= _names(metadata.requires(name) or ())
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def _names(requirements: Iterable[str]) -> set[str]:
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in requirements if "extra ==" not in line)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


def make_own_wheel(folder: Path) -> Path:
    """Make the wheel of this very mrcore: built from its checkout, or repacked as installed."""
    root = Path(mrcore.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        return _repack(folder)
    with temporary_folder("source") as scratch:
        # In a copy, since setuptools leaves things behind where it builds.
        copy = scratch / "source"
        copy_sources(root, copy)
        parts = [sys.version, str(_setuptools_version()), *_contents(copy)]
        (wheel,) = wheel_cache.provide(parts, folder, lambda into: build(root, copy, into))
    return wheel


def copy_sources(root: Path, copy: Path) -> None:
    """Copy from a checkout what its wheel is built of."""
    with (root / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    for name in sorted({package.partition(".")[0] for package in packages}):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(root / name, copy)


def _contents(folder: Path) -> Iterator[str]:
    """Yield the name, the mode and the digest of each file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{path.relative_to(folder)} {path.stat().st_mode:o} {sha256_of(path)}"


def build(root: Path, copy: Path, folder: Path) -> None:
    """Build the wheel of a copy of `root`, which errors name."""
    if _setuptools_version() >= 77:
        done = _run([sys.executable, "-P", "-c", _BUILD, str(folder)], copy)
    else:
        done = _run_pip(["wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", str(copy)])
    made = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(made) != 1:
        raise MrcoreError(
            f"The wheel of mrcore cannot be built from {root} ({_last_error(done.stderr)}). Set "
            "up the checkout again with scripts/setup."
        )


def _setuptools_version() -> int:
    try:
        return int(metadata.version("setuptools").partition(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return 0


def _repack(folder: Path) -> Path:
    """Make a wheel of the files that the installation lists."""
    distribution = metadata.distribution("mrcore")
    info = f"mrcore-{distribution.version}.dist-info"
    left_out = {
        f"{info}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    }
    wheel = folder / f"mrcore-{distribution.version}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in sorted(distribution.files or (), key=str):
            name = entry.as_posix()
            if name.startswith("..") or name in left_out or name.endswith(".pyc"):
                continue
            place = Path(str(entry.locate()))
            content = place.read_bytes()
            item = zipfile.ZipInfo(name)
            item.external_attr = (place.stat().st_mode & 0o755 | 0o100000) << 16
            archive.writestr(item, content, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}\n")
        record.append(f"{info}/RECORD,,\n")
        archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "".join(record))
    return wheel


def _run_pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return _run([*_pip(), *arguments, "--disable-pip-version-check", "--no-input"])


def _run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(_EPOCH_SECONDS)},
    )


def _pip() -> list[str]:
    """Return the command of pip: the environment's own, or the wheel that Python brings along."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for wheel in bundled_pips():
        return [sys.executable, f"{wheel}/pip"]
    raise UsageError(
        f"pip is needed to collect the wheels for the VMs, and {sys.executable} does not "
        "have it. Install it (Debian: apt install python3-pip python3-venv)."
    )


def bundled_pips() -> Iterator[Path]:
    """Yield the wheels of pip that come with Python; a distribution may keep them apart."""
    spec = importlib.util.find_spec("ensurepip")
    folders = [Path(str(sysconfig.get_config_var("WHEEL_PKG_DIR") or "/usr/share/python-wheels"))]
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent / "_bundled")
    for folder in folders:
        yield from sorted(folder.glob("pip-*.whl"), reverse=True)


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
    return (errors or ["it says nothing"])[0].removeprefix("ERROR:").strip().rstrip(".")


def manifest_of(wheels: Iterable[Path]) -> str:
    """Return the list of these wheels as `sha256sum` writes it, by name."""
    return "".join(f"{sha256_of(path)}  {path.name}\n" for path in sorted(wheels))


def publish(wheels: Iterable[Path], home: str, store: str | None = None) -> int:
    """Upload the wheels that HOME lacks; return the bytes that travelled.

    store: a folder where wheels stay when HOME goes. What it has is copied from there, which moves
    no bytes through this machine, and what it lacks it gets. VMs check what they install, so
    nobody need be trusted who can write there.
    """
    there = {info.uri for info in storage_for(home).list(f"{home}/wheels/")}
    stored = {info.uri: info for info in storage_for(store).list(f"{store}/")} if store else {}

    def send(path: Path) -> int:
        name = f"{sha256_of(path)}/{path.name}"
        target = f"{home}/wheels/{name}"
        if target in there:
            return 0
        if store is None:
            return upload(path, target)
        source, sent = f"{store}/{name}", 0
        if source not in stored:
            sent = upload(path, source)
            stored[source] = storage_for(source).stat(source)
        storage_for(target).publish(stored[source], target)
        return sent

    with ThreadPoolExecutor(UPLOADS) as pool:
        return sum(pool.map(send, wheels))


def upload(path: Path, uri: str) -> int:
    """Create an object that is named by its content, unless it is there; return bytes sent."""
    storage = storage_for(uri)
    if next(iter(storage.list(uri)), None) is not None:
        return 0
    with path.open("rb") as file, storage.open_write(uri, expect=ABSENT) as writer:
        while chunk := file.read(_CHUNK_BYTES):
            writer.write(chunk)
        try:
            return writer.commit().size_bytes
        except AlreadyExistsError:  # another runner was faster, with the same bytes
            return 0
