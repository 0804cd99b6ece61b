"""Judgement of a project's quotas for a cluster: processors, machines, disks. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

_PREEMPTIBLE: Final = "PREEMPTIBLE_CPUS"
_EVERYWHERE: Final = "CPUS_ALL_REGIONS"
_PAGE: Final = "https://console.cloud.google.com/iam-admin/quotas?project="


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The machines of a cluster that are not there yet."""

    workers: int
    """Workers that are made at first."""
    most: int
    """Workers that the fleet may make in all, besides those that are there."""
    masters: int
    """1, or 0 where it is there."""
    worker_type: str
    worker_cpus: int
    master_type: str
    master_cpus: int
    spot: bool
    disk_gib: int


class Quota(msgspec.Struct, frozen=True):
    """Rest of one metric, and the shares of it that a worker and the master take."""

    metric: str
    place: str
    left: int
    worker: int
    masters: int


def findings(
    demand: Demand, region: str, regional: Mapping[str, Any], project: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield kind (`error`, `warn` or `ok`) and sentence.

    `regional` and `project` are what the Compute API says of the region and of the project.
    """
    name = str(project.get("name", ""))
    found = list(_quotas(demand, region, regional.get("quotas", ()), project.get("quotas", ())))
    for quota in found:
        need = demand.workers * quota.worker + quota.masters
        about = f"the quota {quota.metric} of {quota.place} has {quota.left} left"
        if need > quota.left:
            workers = f"{demand.workers} workers" if quota.worker else ""
            who = " and ".join(filter(None, (workers, "the master" if quota.masters else "")))
            yield (
                "error",
                f"{about}, and {who} {'need' if workers else 'needs'} {need}: lower --workers, or "
                f"ask for more at {_PAGE}{name}",
            )
        elif quota.worker and demand.most * quota.worker + quota.masters > quota.left:
            can = (quota.left - quota.masters) // quota.worker
            yield "warn", f"{about}: of the {demand.most} workers allowed {can} can be made."
    if all(demand.workers * quota.worker + quota.masters <= quota.left for quota in found):
        yield "ok", f"quotas {', '.join(quota.metric for quota in found)}"


def _quotas(
    demand: Demand,
    region: str,
    regional: Sequence[Mapping[str, Any]],
    project: Sequence[Mapping[str, Any]],
) -> Iterator[Quota]:
    here = {str(quota["metric"]): quota for quota in regional}
    everywhere = {str(quota["metric"]): quota for quota in project}
    worker, master = _metric(demand.worker_type, here), _metric(demand.master_type, here)
    # Without a quota of their own spot VMs count as any other.
    if demand.spot and float(here.get(_PREEMPTIBLE, {}).get("limit", 0)) > 0:
        worker = _PREEMPTIBLE
    master_cpus = demand.masters * demand.master_cpus
    takes = {worker: [demand.worker_cpus, 0]}
    takes.setdefault(master, [0, 0])[1] += master_cpus
    takes["INSTANCES"] = [1, demand.masters]
    # Balanced disks count as SSD.
    takes["SSD_TOTAL_GB"] = [demand.disk_gib, demand.masters * demand.disk_gib]
    for metric, (each, masters) in takes.items():
        if metric in here:
            yield Quota(metric, region, _left(here[metric]), each, masters)
    if _EVERYWHERE in everywhere and worker != _PREEMPTIBLE:
        left = _left(everywhere[_EVERYWHERE])
        yield Quota(_EVERYWHERE, "all regions", left, demand.worker_cpus, master_cpus)


def _metric(machine_type: str, here: Mapping[str, Any]) -> str:
    """Return which quota counts the processors: many families have one of their own."""
    own = f"{machine_type.partition('-')[0].upper()}_CPUS"
    return own if own in here else "CPUS"


def _left(quota: Mapping[str, Any]) -> int:
    return math.floor(float(quota.get("limit", 0)) - float(quota.get("usage", 0)))
