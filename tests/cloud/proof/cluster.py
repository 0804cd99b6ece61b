"""One cluster, from a person's shell inside the cloud."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.cloud.compute.server import PROJECT
from tests.cloud.machines.cloud import (
    REPOSITORY,
    STORAGE,
    VM_ENVIRONMENT,
    Cloud,
    CloudError,
)

T = TypeVar("T")

NAME = "proof"
BUCKET = "proof-data"
ZONE = "us-central1-a"
HOME = f"gs://{BUCKET}/mrcore/{NAME}"
MRCORE = REPOSITORY / ".venv/bin/mrcore"
LOOK_SECONDS = 0.5
SILENT_SECONDS = 10.0


class Cluster:
    """Commands, and looks at what has become of them."""

    def __init__(self, cloud: Cloud, wheels: Path) -> None:
        self.cloud = cloud
        self.logs = cloud.folder
        home = cloud.folder / "home"
        home.mkdir()
        self.environment = cloud.environment(home) | {
            "CLOUDSDK_COMPUTE_ZONE": ZONE,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PATH": f"{MRCORE.parent}:{cloud.environment(home)['PATH']}",
        }

    def command(self, *words: str | Path, seconds: float = 300.0) -> str:
        """Run a command to its end; raise CloudError with its output where it fails."""
        return self.cloud.run(words, self.environment, seconds)

    def gcloud(self, *words: str | Path) -> str:
        return self.command("gcloud", *words)

    def gce(self, *words: str, seconds: float = 300.0) -> str:
        """Run `mrcore gce WORDS` for this cluster."""
        return self.command("scripts/gce", *words, f"--name={NAME}", "--yes", seconds=seconds)

    def up(self, *words: str, seconds: float = 300.0) -> str:
        return self.gce("up", *self.options(), *words, seconds=seconds)

    def options(self) -> list[str]:
        """Return what `up` and `run` are told besides the size."""
        lines = [f"--vm-env={key}={value}" for key, value in VM_ENVIRONMENT.items()]
        return [f"--bucket={BUCKET}", f"--zone={ZONE}", "--connect=direct", *lines]

    def background(self, log: Path, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command whose output goes to a file."""
        with log.open("w") as file:
            return self.cloud.popen(words, self.environment, file)

    def mrcore(self, *words: str) -> Any:
        """Run `mrcore WORDS --json` against the master; return None while it does not answer."""
        try:
            output = self.command(MRCORE, *words, f"--state={HOME}/state", "--json", seconds=60)
        except CloudError:
            return None
        return json.loads(output)

    def completed(self) -> int:
        """Return how many tasks of the newest job are done; 0 while no master answers."""
        jobs = self.mrcore("jobs")
        return sum(phase["completed"] for phase in jobs[0]["tasks"].values()) if jobs else 0

    def instances(self, role: str = "") -> list[dict[str, Any]]:
        """Return the instances that run, of one role or of both, by name."""
        found = self.cloud.ask(f"compute/v1/projects/{PROJECT}/zones/{ZONE}/instances")
        return sorted(
            (
                instance
                for instance in found.get("items", ())
                if instance["status"] == "RUNNING"
                and role in ("", instance.get("labels", {}).get("mrcore-role"))
            ),
            key=lambda instance: str(instance["name"]),
        )

    def workers(self) -> list[str]:
        """Return the ids of the workers that the master counts on."""
        return sorted(
            worker["worker_id"]
            for worker in self.mrcore("workers") or ()
            if not worker["draining"] and worker["silent_seconds"] < SILENT_SECONDS
        )

    def hurt(self, verb: str, **body: object) -> None:
        """Let something happen to the cloud; see tests.cloud.compute.control."""
        self.cloud.ask(f"_cloud/{verb}", body)

    def objects(self, prefix: str = "") -> list[str]:
        """Return the names of the objects in the bucket."""
        names: list[str] = []
        token = ""
        while True:
            path = f"storage/v1/b/{BUCKET}/o?prefix={prefix}&pageToken={token}"
            page = self.cloud.ask(path, server=STORAGE)
            names += [item["name"] for item in page.get("items", ())]
            token = page.get("nextPageToken", "")
            if not token:
                return names

    def policy(self) -> list[dict[str, Any]]:
        """Return who may do what with the bucket."""
        found = self.cloud.ask(f"storage/v1/b/{BUCKET}/iam", server=STORAGE)
        return list(found.get("bindings", ()))


def until(what: str, look: Callable[[], T | None], seconds: float) -> T:
    """Look until there is something to see, and return it; raise CloudError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        if time.monotonic() > end:
            raise CloudError(f"It took longer than {seconds:g} s until {what}.")
        time.sleep(LOOK_SECONDS)
