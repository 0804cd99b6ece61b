"""A master and a worker on VMs of the test cloud, made what they are by their start-up scripts.

`python -m tests.cloud.unit_vms WHEELS` puts wheels and payload into the bucket; it is run inside
the cloud, which has no way out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mrcore.deploy import payload
from mrcore.gce import wheel_cache, wheelhouse
from tests.cloud.compute.api import DEBIAN, ZONE, disks_from, instance_body
from tests.cloud.compute.server import PROJECT
from tests.cloud.machines.cloud import REPOSITORY, STORAGE, VM_ENVIRONMENT, Cloud, CloudError
from tests.cloud.machines.site import INSTALLED
from tests.support.waiting import wait_until

HOME = "gs://units/mrcore/test"
STATE = f"{HOME}/state"
PAYLOAD = f"{HOME}/payload.tar.gz"
WAIT_SECONDS = 480.0


def publish(folder: Path) -> None:
    """Store the wheels of a folder, and the payload; print its hash."""
    wheels = list(folder.glob("*.whl"))
    wheelhouse.publish(wheels, HOME)
    archive = folder / "payload.tar.gz"
    archive.write_bytes(payload.build_payload(wheelhouse.manifest_of(wheels)))
    wheelhouse.upload(archive, PAYLOAD)
    sys.stdout.write(wheel_cache.sha256_of(archive))


class UnitVms:
    """VMs by name, with a shell as root in each."""

    def __init__(self, cloud: Cloud, wheels: Path) -> None:
        self.cloud = cloud
        self._home = cloud.folder / "home"
        self._home.mkdir()
        self._ids: dict[str, int] = {}
        bucket = json.dumps({"name": "units"})
        url = f"{STORAGE}/storage/v1/b?project={PROJECT}"
        self.run("curl", "-sS", "--fail", "-H", "Content-Type: application/json", "-d", bucket, url)
        program = [sys.executable, "-m", "tests.cloud.unit_vms", str(wheels)]
        self._sha256 = self.run(*program).split()[-1]

    def run(self, *words: str) -> str:
        """Run a command in the cloud, beside its VMs; return what it prints."""
        return self.cloud.run(words, self.cloud.environment(self._home))

    def boot(self, name: str, role: str, **environment: str) -> None:
        """Make a VM, with variables for its daemons, and return when it boots."""
        self.make(name, role, **environment)
        self.until(lambda: self._answers(name), f"{name} boots")

    def make(self, name: str, role: str, **environment: str) -> None:
        """Make a VM, from the image with mrcore where the cloud has it."""
        lines = {**VM_ENVIRONMENT, **environment}
        attributes = {
            "mrcore-cluster": "test",
            "mrcore-role": role,
            "mrcore-home": HOME,
            "mrcore-payload": PAYLOAD,
            "mrcore-payload-sha256": self._sha256,
            "mrcore-env": "\n".join(f"{key}={value}" for key, value in lines.items()),
            "startup-script": payload.startup_script().read_text(),
            "shutdown-script": payload.shutdown_script().read_text(),
        }
        items = [{"key": key, "value": value} for key, value in attributes.items()]
        image = DEBIAN if self.cloud.installed is None else f"global/images/{INSTALLED}"
        body = instance_body(
            name,
            disks=disks_from(image),
            metadata={"items": items},
            networkInterfaces=[{"network": "global/networks/default"}],
            serviceAccounts=[{"email": "default", "scopes": ["cloud-platform"]}],
        )
        self.cloud.ask(f"{_instances()}", body)
        self._ids[name] = int(self.instance(name)["id"])

    def _answers(self, name: str) -> bool:
        try:
            return self.shell(name, "echo here") == "here\n"
        except CloudError:
            return False

    def instance(self, name: str) -> dict[str, Any]:
        """Return a VM as the API shows it."""
        found = self.cloud.ask(f"{_instances()}/{name}")
        assert isinstance(found, dict)
        return found

    def shell(self, name: str, command: str) -> str:
        """Run a command as root on a VM; return both its outputs, whatever its exit code."""
        return self.cloud.shell(self._ids[name], command)

    def show(self, name: str, unit: str, setting: str) -> str:
        """Return one property of a unit."""
        return self.shell(name, f"systemctl show --property {setting} --value {unit}").strip()

    def await_unit(self, name: str, unit: str, setting: str, value: str) -> None:
        """Wait until a property of a unit holds a text."""
        self.until(lambda: value in self.show(name, unit, setting), f"{setting} of {unit}")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that happens in the cloud."""
        wait_until(condition, WAIT_SECONDS, what=what, details=self.logs, pause_seconds=0.5)

    def logs(self) -> str:
        """Return the consoles of all VMs."""
        paths = sorted(self.cloud.folder.glob("vms/*/console.log"))
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in paths)

    def write(self, name: str, text: str) -> None:
        """Put an object into the bucket."""
        url = f"{STORAGE}/upload/storage/v1/b/units/o?uploadType=media&name={quote(name, safe='')}"
        self.run("curl", "-sS", "--fail", "--data-binary", text, url)

    def read(self, name: str) -> str:
        """Return an object of the bucket; empty where there is none."""
        url = f"{STORAGE}/storage/v1/b/units/o/{quote(name, safe='')}?alt=media"
        try:
            return self.run("curl", "-sS", "--fail", url)
        except CloudError:
            return ""

    def log(self, vm: str, name: str) -> str:
        """Return a log that a VM has uploaded; empty where there is none."""
        return self.read(f"mrcore/test/logs/{vm}/{name}.log")

    def mrcore(self, *words: str) -> str:
        """Run a command of mrcore against the cluster, from beside its VMs."""
        return self.run(str(REPOSITORY / ".venv/bin/mrcore"), *words, "--state", STATE)


def _instances() -> str:
    return f"compute/v1/projects/{PROJECT}/zones/{ZONE}/instances"


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
