"""Whether this machine can hold a cloud of containers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}


def why_not() -> str | None:
    """Return what is missing and how to get it, in one sentence; None where all is there."""
    if os.geteuid() != 0:
        return "Making VMs out of containers needs root: run this as root, on a Linux machine."
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is not installed: run `apt-get install {package}`."
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        return "This kernel has no overlay file system: run `modprobe overlay`."
    return None
