"""Other systems: each in an environment of its own, with a script that does the same by its idiom.

`scripts/bench --peers` installs them below `.bench/peers/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import measure
from bench.site import ROOT, Run

REQUIREMENTS: Final[dict[str, Sequence[str]]] = {
    "duckdb": ("duckdb==2.0.1",),
    "polars": ("polars==2.1.0",),
    "dask": ("dask==2026.8.0",),
    "ray": ("ray==2.60.0",),
    "lithops": ("lithops==3.8.0",),
    "pyspark": ("pyspark==4.1.4",),
    "mrjob": ("mrjob==0.7.4", "setuptools<80"),
    "chart": ("matplotlib==3.11.2",),
}
"""Packages of each environment; pinned, so that figures of two runs can be compared."""
_COMPLETE: Final = "complete"
"""File that an environment gets at the end of its installation."""
PROGRAMS: Final = {"pyspark": "java"}
"""Programs that a peer needs beside its package."""


class NotInstalledError(Exception):
    """Peer that cannot be installed here, and why."""


def installed(home: Path, name: str) -> Path | None:
    """Return the Python of a peer's environment, or None where it is not installed."""
    folder = _folder(home, name)
    return folder / "bin" / "python" if (folder / _COMPLETE).exists() else None


def install(home: Path, name: str) -> Path:
    """Return the Python of a peer's environment, made now if it is not there.

    Raises NotInstalledError where a package cannot be had or a program is missing.
    """
    program = PROGRAMS.get(name)
    if program is not None and shutil.which(program) is None:
        raise NotInstalledError(f"{name} needs the program {program}.")
    folder = _folder(home, name)
    python = installed(home, name)
    if python is not None:
        return python
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, *REQUIREMENTS[name]], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
        raise NotInstalledError(f"{name} could not be installed: {last[0]}")
    (folder / _COMPLETE).touch()
    return folder / "bin" / "python"


def run_of(python: Path, script: str, out: Path, folder: Path) -> Run:
    """Return a run of a peer's script over the files of a folder."""

    def run() -> tuple[measure.Measured, Path]:
        command = [python, ROOT / "bench/peers" / script, out, *sorted(folder.iterdir())]
        # Programs of the environment come first: some peers start others by name.
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        return measure.run(command, environment={"PATH": path}), out

    return run


def _folder(home: Path, name: str) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return home / "peers" / f"{name}-{version}"
