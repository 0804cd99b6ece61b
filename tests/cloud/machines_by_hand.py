"""VMs of a cloud of containers, made and watched by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.compute.api import ZONE, instance_body
from tests.cloud.compute.server import PROJECT
from tests.cloud.machines import image, requirements
from tests.cloud.machines.cloud import Cloud
from tests.support.waiting import wait_until

WAIT_SECONDS = 240.0
SPOT = {
    "provisioningModel": "SPOT",
    "preemptible": True,
    "automaticRestart": False,
    "instanceTerminationAction": "STOP",
}
"""Scheduling of a VM that is still there, off, when it has been preempted."""

_ZONE = f"compute/v1/projects/{PROJECT}/zones/{ZONE}"


class Vms:
    """The VMs of one cloud, by name."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def make(self, name: str, startup: str, shutdown: str = "", **body: Any) -> None:
        """Make a VM with these scripts for bash, and return when it boots."""
        scripts = {"startup-script": startup, "shutdown-script": shutdown}
        items = [
            {"key": key, "value": f"#!/bin/bash\n{script}\n"} for key, script in scripts.items()
        ]
        nic = {"network": "global/networks/default"}
        instance = instance_body(name, metadata={"items": items}, networkInterfaces=[nic], **body)
        self.cloud.ask(f"{_ZONE}/instances", instance)
        self.until(lambda: self.status(name) == "RUNNING", "it runs")

    def call(self, name: str, verb: str) -> None:
        self.cloud.ask(f"{_ZONE}/instances/{name}/{verb}", {})

    def resource(self, name: str) -> dict[str, Any]:
        return dict(self.cloud.ask(f"{_ZONE}/instances/{name}"))

    def status(self, name: str) -> str:
        return str(self.resource(name)["status"])

    def address(self, name: str) -> str:
        return str(self.resource(name)["networkInterfaces"][0]["networkIP"])

    def console(self, name: str) -> str:
        """Return what the VM has written to its serial port."""
        return str(self.cloud.ask(f"{_ZONE}/instances/{name}/serialPort")["contents"])

    def said(self, name: str, text: str, times: int = 1) -> str:
        """Wait until the console has a text `times` times; return the console."""
        self.until(lambda: self.console(name).count(text) >= times, f"it says {text!r}")
        return self.console(name)

    def shell(self, name: str, command: str) -> str:
        """Run a command as root on a VM; return what it prints, whatever its exit code."""
        return self.cloud.shell(int(self.resource(name)["id"]), command)

    def until(self, look: Callable[[], bool], what: str) -> None:
        wait_until(look, WAIT_SECONDS, what=what, pause_seconds=0.05)


def skip_without_cloud() -> None:
    """Skip a test where this machine cannot hold a cloud."""
    if (reason := requirements.why_no_cloud(image.default_cache())) is not None:
        pytest.skip(reason)


@contextmanager
def vms(**options: Any) -> Iterator[Vms]:
    """Start a cloud for tests; skip these where this machine cannot hold one."""
    skip_without_cloud()
    with Cloud(image.default_cache(), **options) as cloud:
        yield Vms(cloud)


def cache_of(folder: Path) -> Path:
    """Return a cache of one's own, with the image of the common one."""
    with image.root(image.default_cache()) as root:
        (folder / root.name).symlink_to(root)
    return folder
