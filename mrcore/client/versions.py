"""Versions of this process that others compare with theirs. Workers load it, so it is small."""

from __future__ import annotations

import functools
import sys

from mrcore import __version__
from mrcore.model.job import Versions
from mrcore.util.versions import installed_version


@functools.cache
def versions() -> Versions:
    """Return what workers must agree with, without importing the heavy libraries."""
    return Versions(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        mrcore=__version__,
        pyarrow=installed_version("pyarrow"),
        cloudpickle=installed_version("cloudpickle"),
    )
