"""A VM that is a folder: its scripts run for real, below a prefix.

The metadata server and the bucket are servers on loopback; `systemctl` and `journalctl` are
stand-ins on PATH, of which the first writes down how it was called.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from mrcore.deploy.payload import build_payload
from tests.support.metadata import Metadata
from tests.support.repository import ROOT
from tests.support.stores import Place

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$1" in
--version) echo "systemd $SYSTEMD (test)" ;;
show) echo "$JOB" ;;
esac
"""
JOURNALCTL = """#!/bin/sh
echo "the end of the log"
"""


def tiny_wheel(folder: Path, name: str = "tiny", source: str = "ANSWER = 42\n") -> Path:
    """Build a wheel of one module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for member, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{member},sha256={digest.decode()},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return path


class VmSite:
    """One VM with its metadata and its cluster's home in a bucket."""

    def __init__(self, folder: Path, metadata: Metadata, place: Place, server_url: str) -> None:
        self.prefix = folder / "vm"
        self.metadata = metadata
        self.place = place
        self._folder = folder
        self._server_url = server_url
        self._calls = folder / "calls"
        commands = folder / "bin"
        commands.mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        (commands / "python3").symlink_to(sys.executable)
        metadata.values = {
            "instance/name": "mrcore-test-w-1",
            "instance/network-interfaces/0/ip": "10.128.0.7",
            "instance/service-accounts/default/token": '{"access_token":"ya29.x","expires_in":9}',
            "instance/attributes/mrcore-cluster": "test",
            "instance/attributes/mrcore-role": "worker",
            "instance/attributes/mrcore-home": f"{place.base_uri}/mrcore/test",
            "instance/attributes/mrcore-env": (
                f"MRCORE_MAX_WORKERS=3\nSTORAGE_EMULATOR_HOST={server_url}"
            ),
        }

    def publish(self, *wheels: Path, prices: bytes = b"") -> None:
        """Put wheels and the payload where the VM looks for them."""
        manifest = ""
        for wheel in wheels:
            content = wheel.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            manifest += f"{digest}  {wheel.name}\n"
            self.place.put(f"mrcore/test/wheels/{digest}/{wheel.name}", content)
        packed = build_payload(manifest, prices)
        digest = hashlib.sha256(packed).hexdigest()
        self.place.put(f"mrcore/test/payload/{digest}.tar.gz", packed)
        uri = f"{self.place.base_uri}/mrcore/test/payload/{digest}.tar.gz"
        self.metadata.values["instance/attributes/mrcore-payload"] = uri
        self.metadata.values["instance/attributes/mrcore-payload-sha256"] = digest

    def run(self, script: Path, *arguments: str, **environment: str) -> int:
        """Run a script of the VM; return its exit code."""
        with (self._folder / "output").open("ab") as output:
            return subprocess.run(
                [script, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=100,
                env={
                    "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
                    "PREFIX": str(self.prefix),
                    "GCE_METADATA_HOST": self.metadata.host,
                    "CALLS": str(self._calls),
                    "SYSTEMD": "252",
                    "JOB": "0",
                    **environment,
                },
            ).returncode

    def boot(self, **environment: str) -> int:
        """Start the VM; return the exit code of its start-up script."""
        return self.run(ROOT / "deploy/vm/startup.sh", **environment)

    def calls(self) -> list[str]:
        """Return how systemctl was called since the last look."""
        found = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return [call for call in found if call != "--version"]

    def log(self, name: str = "boot") -> str:
        """Return a log as the VM uploaded it; empty when it has not."""
        return (self.place.get(f"mrcore/test/logs/mrcore-test-w-1/{name}.log") or b"").decode()

    def output(self) -> str:
        """Return what all scripts have printed."""
        return (self._folder / "output").read_text()
