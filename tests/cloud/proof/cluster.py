"""One cluster, from a person's shell inside the cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from tests.cloud.compute.server import PROJECT
from tests.cloud.machines.cloud import (
    REPOSITORY,
    STORAGE,
    VM_ENVIRONMENT,
    Cloud,
    CloudError,
)
from tests.cloud.machines.site import INSTALLED
from tests.cloud.proof import tunnel
from tests.cloud.proof.looks import Looks
from tests.cloud.proof.runs import Run

T = TypeVar("T")

NAME = "proof"
BUCKET = "proof-data"
ZONE = "us-central1-a"
HOME = f"gs://{BUCKET}/mrcore/{NAME}"
MASTER = f"mrcore-{NAME}-master"
MRCORE = REPOSITORY / ".venv/bin/mrcore"
LOOK_SECONDS = 1.0
SILENT_SECONDS = 10.0
_METRICS = "http://127.0.0.1:9100/metrics"
_LEADER = f"mrcore/{NAME}/state/leader.json"


class Cluster:
    """Commands, and looks at what has become of them."""

    def __init__(self, cloud: Cloud, wheels: Path, *, through_tunnel: bool = False) -> None:
        self.cloud = cloud
        self.logs = cloud.folder
        self._connect = "iap" if through_tunnel else "direct"
        self._looks: Looks | None = None
        home = self.logs / "home"
        home.mkdir()
        tunnel.write_gcloud(home / "bin")
        self.environment = cloud.environment(home) | {
            "CLOUDSDK_COMPUTE_ZONE": ZONE,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PATH": f"{home}/bin:{MRCORE.parent}:{cloud.environment(home)['PATH']}",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._looks is not None:
            self._looks.end()

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
        """Return the options of `up` and `run` besides the size."""
        lines = [f"--vm-env={key}={value}" for key, value in VM_ENVIRONMENT.items()]
        image = [] if self.cloud.installed is None else [f"--image={INSTALLED}"]
        where = [f"--bucket={BUCKET}", f"--zone={ZONE}", f"--connect={self._connect}"]
        return [*where, *image, *lines]

    def run(self, log: str, *words: str | Path) -> Run:
        """Start `mrcore gce run WORDS` for this cluster; its output goes to a file of that name."""
        path = self.logs / log
        argv = ("scripts/gce", "run", *words, f"--name={NAME}", "--yes", *self.options())
        with path.open("w") as file:
            return Run(self.cloud.popen(argv, self.environment, file), path)

    def mrcore(self, *words: str) -> Any:
        """Run `mrcore WORDS --json` against the master; return None while it does not answer."""
        if self._looks is None:
            self._looks = Looks(self.cloud, self.environment)
        code, printed = self._looks.run([*words, f"--state={HOME}/state", "--json"])
        return json.loads(printed) if code == 0 else None

    def job(self) -> dict[str, Any]:
        """Return the newest job; nothing while there is none, or no master answers."""
        jobs = self.mrcore("jobs")
        return dict(jobs[0]) if jobs else {}

    def tasks(self, state: str) -> int:
        """Return how many tasks of the newest job are idle, in_progress or completed."""
        return sum(stage[state] for stage in self.job().get("tasks", {}).values())

    def shown(self, *words: str) -> dict[str, Any]:
        """Return what `mrcore show` has to say of the newest job; nothing where there is none."""
        job = self.job()
        return dict((job and self.mrcore("show", job["job_id"], *words)) or {})

    def winners(self) -> dict[str, str]:
        """Return which attempt has won, by task of the newest job."""
        return {
            f"{task['stage']}-{task['index']}": attempt["number"]
            for task in self.shown("--tasks").get("task_list", ())
            for attempt in task["attempts"]
            if attempt["state"] == "won"
        }

    def epoch(self) -> int:
        """Return the number of the start of a master that led last; 0 while none has."""
        try:
            path = f"storage/v1/b/{BUCKET}/o/{quote(_LEADER, safe='')}?alt=media"
            return int(self.cloud.ask(path, server=STORAGE)["epoch"])
        except CloudError:
            return 0

    def leading_vm(self) -> str:
        """Return the name of the VM whose master leads; empty while none does."""
        masters = self.mrcore("masters") or ()
        hosts = [one["host"] for one in masters if one["role"] == "leader"]
        return str(hosts[0]).partition(".")[0] if hosts else ""

    def machines(self, role: str = "") -> list[dict[str, Any]]:
        """Return all instances, of one role or of both, by name; those too that are off."""
        found = self.cloud.ask(f"compute/v1/projects/{PROJECT}/zones/{ZONE}/instances")
        return sorted(
            (
                instance
                for instance in found.get("items", ())
                if role in ("", instance.get("labels", {}).get("mrcore-role"))
            ),
            key=lambda instance: str(instance["name"]),
        )

    def instances(self, role: str = "") -> list[dict[str, Any]]:
        """Return those that run."""
        return [vm for vm in self.machines(role) if vm["status"] == "RUNNING"]

    def made(self) -> list[str]:
        """Return the paths of all resources that somebody has made."""
        return list(self.cloud.ask("_cloud/state"))

    def workers(self) -> list[str]:
        """Return the ids of the workers that the master counts on."""
        return sorted(
            worker["worker_id"]
            for worker in self.mrcore("workers") or ()
            if not worker["draining"] and worker["silent_seconds"] < SILENT_SECONDS
        )

    def shell(self, vm: str, command: str) -> str:
        """Run a command as root on a VM that runs, and return what it prints."""
        return self.cloud.shell(self.vm_id(vm), command)

    def vm_id(self, name: str) -> int:
        [vm] = [vm for vm in self.instances() if vm["name"] == name]
        return int(vm["id"])

    def metric(self, vm: str, name: str, **labels: str) -> float:
        """Return what the daemon of a VM measures, added up over the labels that are not given."""
        text = self.shell(vm, f"curl -s {_METRICS}")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
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

    def policy_of_project(self) -> list[dict[str, Any]]:
        """Return who may do what in the project."""
        asked = {"options": {"requestedPolicyVersion": 3}}
        found = self.cloud.ask(f"v1/projects/{PROJECT}:getIamPolicy", asked)
        return list(found.get("bindings", ()))


def until(
    what: str, look: Callable[[], T | None], seconds: float, *, every: float = LOOK_SECONDS
) -> T:
    """Look until there is something to see, and return it; raise CloudError after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        if seen := look():
            return seen
        if time.monotonic() > end:
            raise CloudError(f"It took longer than {seconds:g} s until {what}.")
        time.sleep(every)
