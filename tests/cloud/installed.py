"""The disk of a VM that has installed mrcore: made once for a state of the checkout, and cached.

A VM takes 40 s of CPU time to install itself. Most tests boot their VMs from an image of this disk,
as users do who have run `mrcore gce image`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mrcore.deploy import payload
from mrcore.gce import wheelhouse
from tests.cloud.compute.api import ZONE
from tests.cloud.compute.server import PROJECT
from tests.cloud.machines import image
from tests.cloud.machines.cloud import Cloud
from tests.cloud.machines.site import INSTALLED
from tests.cloud.proof import wheels
from tests.cloud.unit_vms import UnitVms

_VM = "installs"
_IMAGES = f"compute/v1/projects/{PROJECT}/global/images"


@dataclass(frozen=True, slots=True)
class Installed:
    """Wheels that VMs install, and the disk of one that has."""

    wheels: Path
    """Folder with all wheels, that of mrcore included."""
    disk: Path
    """Folder with what the VM has written."""


@contextmanager
def installed(cache: Path) -> Iterator[Installed]:
    """Yield the disk, made if need be; it stays as long as this context is open.

    Raises UsageError where pip cannot collect the wheels, and ImageError where they do not install.
    """
    collected = wheels.collect(cache)
    with tempfile.TemporaryDirectory(prefix="wheels-", suffix=".part", dir=cache) as scratch:
        folder, own = Path(scratch) / "wheels", Path(scratch) / "own"
        shutil.copytree(collected, folder, copy_function=os.link)
        own.mkdir()
        shutil.copy(wheelhouse.make_own_wheel(own), folder)
        manifest = wheelhouse.manifest_of(folder.glob("*.whl"))
        digest = hashlib.sha256(image.RECIPE.encode() + payload.build_payload(manifest))
        name = f"installed-{digest.hexdigest()[:16]}"
        with image.kept(cache, name, partial(_install, cache, folder)) as disk:
            yield Installed(folder, disk)


def _install(cache: Path, folder: Path, disk: Path) -> None:
    """Let a VM install the wheels of a folder as one does that becomes an image."""
    with Cloud(cache) as cloud:
        vms = UnitVms(cloud, folder)
        vms.make(_VM, "image")
        vms.until(lambda: vms.instance(_VM)["status"] == "TERMINATED", "it has installed mrcore")
        log = vms.log(_VM, "boot")
        if "boot: done in " not in log:
            raise image.ImageError(f"mrcore could not be installed on a VM:\n{log}")
        source = f"projects/{PROJECT}/zones/{ZONE}/disks/{_VM}"
        cloud.ask(_IMAGES, {"name": INSTALLED, "sourceDisk": source})
        vms.until(lambda: cloud.ask(f"{_IMAGES}/{INSTALLED}")["status"] == "READY", "the image")
        (cloud.folder / "vms" / "images" / INSTALLED).rename(disk)
