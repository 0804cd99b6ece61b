"""Requirements on a machine that is to hold a cloud of containers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.cloud.machines import image

_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
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


def why_no_cloud(cache: Path) -> str | None:
    """Return why no cloud can be started here, as `why_not`; tries the kernel and the mirror."""
    if reason := why_not():
        return reason
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(argv, stderr=subprocess.DEVNULL, check=False).returncode:
        return "This machine gives no namespaces to its root: run this outside of any container."
    return image.why_not(cache)
