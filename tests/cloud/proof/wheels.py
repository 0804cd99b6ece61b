"""The wheels that the VMs will install, collected outside: no way leads out of the cloud."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from mrcore.gce import wheelhouse
from tests.cloud.machines.cloud import REPOSITORY

UNUSED_SECONDS = 7 * 86400.0
PYTHON = "3.11"
"""Version that Debian 12 has, and so the VMs."""


def collect(cache: Path) -> Path:
    """Return a folder with all that pip will be asked for; made once for each set of versions.

    Raises UsageError where pip cannot collect them.
    """
    folder = cache / f"wheels-{hashlib.sha256(_versions().encode()).hexdigest()[:16]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix="wheels-", suffix=".part", dir=cache) as part:
            made = Path(part) / "wheels"
            made.mkdir()
            wheelhouse.resolve(made, wheelhouse.Target(PYTHON, "x86_64"), None)
            # That of mrcore is made anew each time, out of this checkout.
            for path in made.glob("mrcore-*.whl"):
                path.unlink()
            try:
                made.rename(folder)
            except OSError:  # another process was faster
                shutil.rmtree(made)
    folder.touch()
    _prune(cache)
    return folder


def _prune(cache: Path) -> None:
    """Remove folders that no run has used for a while."""
    for folder in cache.glob("wheels-*"):
        if time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _versions() -> str:
    """Return all that the wheels depend on: what mrcore requires, and what is installed here."""
    installed = {f"{found.name}=={found.version}" for found in metadata.distributions()}
    requirements = (REPOSITORY / "pyproject.toml").read_text()
    return "\n".join([PYTHON, requirements, *sorted(installed)])


def why_not() -> str | None:
    """Return why this Python cannot drive the VMs, in one sentence, or None."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here == PYTHON:
        return None
    return f"The VMs have Python {PYTHON} and this is {here}: set up the checkout with {PYTHON}."
