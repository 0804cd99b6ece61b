"""State that must be the same after the proof as before it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cloud.machines import cgroups
from tests.cloud.proof.cluster import BUCKET, Cluster


def in_cloud(cluster: Cluster) -> list[str]:
    """Return all that a cluster consists of: resources, objects, and who may use these.

    The accounts and the roles are for all clusters and stay, but mean nothing without bindings.
    """
    policies = ((BUCKET, cluster.policy()), ("the project", cluster.policy_of_project()))
    bindings = [
        f"binding in {place}: {binding['role']} to {member}"
        for place, policy in policies
        for binding in policy
        for member in binding["members"]
    ]
    resources = [f"resource {path}" for path in cluster.made()]
    return sorted([*bindings, *resources, *(f"object {name}" for name in cluster.objects())])


def on_machine(name: str) -> list[str]:
    """Return what is left, outside, of the cloud whose folder and cgroup have that name."""
    processes = [
        f"process {path.parent.name}"
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if name in _read(path)
    ]
    mounts = [line for line in _read(Path("/proc/self/mountinfo")).splitlines() if name in line]
    groups = [str(top / name) for top in cgroups.here() if (top / name).exists()]
    links = subprocess.run(
        ["ip", "-oneline", "link"], capture_output=True, text=True, check=True
    ).stdout
    bridges = [line for line in links.splitlines() if "mrcore" in line]
    return [*processes, *mounts, *groups, *bridges]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # a process that has gone meanwhile
        return ""
