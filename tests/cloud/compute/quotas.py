"""Quotas of regions and of the project, with what is used of them."""

from __future__ import annotations

from collections import Counter

from tests.cloud.compute import catalog, links
from tests.cloud.compute.errors import quota_exceeded
from tests.cloud.compute.faults import Faults
from tests.cloud.compute.store import Resource, Store


class Quotas:
    """Usage is counted from the resources, so that it cannot be wrong."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def limit(self, region: str, metric: str) -> float:
        """Return a limit; an empty region is the project."""
        default = (catalog.REGION_QUOTAS if region else catalog.PROJECT_QUOTAS)[metric]
        return self._faults.quotas.get((region, metric), default)

    def of_region(self, region: str) -> list[Resource]:
        used = self._used(region)
        return [
            {"metric": metric, "limit": self.limit(region, metric), "usage": float(used[metric])}
            for metric in catalog.REGION_QUOTAS
        ]

    def of_project(self) -> list[Resource]:
        used = Counter(
            {
                "CPUS_ALL_REGIONS": sum(_cpus(vm) for vm in self._running()),
                "FIREWALLS": len(self._store.paths("firewalls")),
                "IMAGES": len(self._store.paths("images")),
                "INSTANCE_TEMPLATES": len(self._store.paths("instanceTemplates")),
                "NETWORKS": len(self._store.paths("networks")),
            }
        )
        return [
            {"metric": metric, "limit": self.limit("", metric), "usage": float(used[metric])}
            for metric in catalog.PROJECT_QUOTAS
        ]

    def check(self, instance: Resource) -> None:
        """Raise OperationError where an instance, which is not counted yet, would not fit."""
        region = _region(instance)
        used = self._used(region, without=instance["selfLink"])
        for metric, amount in self._needs(region, instance).items():
            limit = self.limit(region, metric)
            if used[metric] + amount > limit:
                raise quota_exceeded(metric, limit, f"in region {region}")
        limit = self.limit("", "CPUS_ALL_REGIONS")
        others = (vm for vm in self._running() if vm["selfLink"] != instance["selfLink"])
        if sum(_cpus(vm) for vm in others) + _cpus(instance) > limit:
            raise quota_exceeded("CPUS_ALL_REGIONS", limit, "globally")

    def _running(self) -> list[Resource]:
        return [vm for vm in self._store.all("instances") if vm["status"] != "TERMINATED"]

    def _needs(self, region: str, instance: Resource) -> Counter[str]:
        """Return what an instance that runs takes of its region's quotas."""
        is_spot = instance["scheduling"].get("preemptible", False)
        # Spot VMs have a quota of their own only where one was granted.
        own = is_spot and self.limit(region, "PREEMPTIBLE_CPUS") > 0
        external = any(nic.get("accessConfigs") for nic in instance["networkInterfaces"])
        return Counter(
            {
                "PREEMPTIBLE_CPUS" if own else "CPUS": _cpus(instance),
                "INSTANCES": 1,
                "IN_USE_ADDRESSES": int(external),
            }
        )

    def _used(self, region: str, without: str = "") -> Counter[str]:
        used: Counter[str] = Counter()
        for instance in self._store.all("instances"):
            if _region(instance) != region or instance["selfLink"] == without:
                continue
            if instance["status"] == "TERMINATED":
                used["INSTANCES"] += 1
            else:
                used += self._needs(region, instance)
        for disk in self._store.all("disks"):
            if _region(disk) == region:
                is_ssd = links.last(disk["type"]) in ("pd-ssd", "pd-balanced")
                used["SSD_TOTAL_GB" if is_ssd else "DISKS_TOTAL_GB"] += int(disk["sizeGb"])
        for path in self._store.paths("instanceGroupManagers"):
            scope, place, *_ = path.split("/")
            if scope == "regions" and place == region:
                used["REGIONAL_INSTANCE_GROUP_MANAGERS"] += 1
            elif scope == "zones" and catalog.region_of(place) == region:
                used["INSTANCE_GROUP_MANAGERS"] += 1
        return used


def _region(resource: Resource) -> str:
    return catalog.region_of(links.last(resource["zone"]))


def _cpus(instance: Resource) -> int:
    found = catalog.machine_type(links.last(instance["machineType"]))
    return found.cpus if found else 0
