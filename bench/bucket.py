"""A bucket of the tests' own server, in a process of its own, with a delay for each request."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import measure
from bench.site import ROOT

NAME: Final = "bench"
URI: Final = "gs://bench"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that is served."""

    url: str
    process_id: int

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which Google's client finds the server."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def cpu_seconds(self) -> float:
        """Return the processor time of the server so far."""
        return measure.cpu_seconds_of(self.process_id)

    def requests(self) -> int:
        """Return the number of requests so far."""
        counts: dict[str, int] = json.loads(self._call("GET", "/_control/counts"))
        return sum(counts.values())

    def delay(self, seconds: float) -> None:
        """Let each request wait from now on."""
        self._call("POST", "/_control/faults", json.dumps([{"kind": "delay", "seconds": seconds}]))

    def prompt(self) -> None:
        """Let no request wait."""
        self._call("DELETE", "/_control/faults")

    def upload(self, folder: Path, prefix: str) -> str:
        """Store the files of a folder; return the URI that has them all."""
        for path in sorted(folder.iterdir()):
            name = urllib.parse.quote(f"{prefix}/{path.name}", safe="")
            target = f"/upload/storage/v1/b/{NAME}/o?uploadType=media&name={name}"
            self._call("POST", target, path.read_bytes())
        return f"{URI}/{prefix}"

    def download(self, prefix: str, folder: Path) -> None:
        """Write the parts below a prefix as files of a new folder."""
        folder.mkdir(parents=True)
        query = urllib.parse.urlencode({"prefix": f"{prefix}/part-"})
        listed: dict[str, Any] = json.loads(self._call("GET", f"/storage/v1/b/{NAME}/o?{query}"))
        for item in listed.get("items", ()):
            name = urllib.parse.quote(item["name"], safe="")
            content = self._call("GET", f"/storage/v1/b/{NAME}/o/{name}?alt=media")
            (folder / item["name"].rpartition("/")[2]).write_bytes(content)

    def _call(self, method: str, target: str, body: bytes | str = b"") -> bytes:
        data = body.encode() if isinstance(body, str) else body
        headers = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.url + target, data or None, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            content: bytes = response.read()
            return content


@contextlib.contextmanager
def served() -> Iterator[Bucket]:
    """Run the server with an empty bucket."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "tests.gcsserver", "--bucket", NAME, "--ready-fd", str(writer)]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[writer])
    os.close(writer)
    try:
        with os.fdopen(reader) as ready:
            url = ready.read().strip()
        if not url:
            raise RuntimeError("The server of the bucket did not start.")
        yield Bucket(url, process.pid)
    finally:
        process.kill()
        process.wait()
