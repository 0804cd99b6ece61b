"""Faults of this cloud that tests set: no machines left, less quota, refusals, slowness."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.compute.errors import CloudError


@dataclass(frozen=True, slots=True)
class Stockout:
    """No machine of these is to be had; the fields are patterns."""

    zone: str = "*"
    machine_type: str = "*"
    model: str = "*"
    """STANDARD or SPOT."""

    def strikes(self, zone: str, machine_type: str, model: str) -> bool:
        return (
            fnmatch.fnmatchcase(zone, self.zone)
            and fnmatch.fnmatchcase(machine_type, self.machine_type)
            and fnmatch.fnmatchcase(model, self.model)
        )


@dataclass(slots=True)
class Refusal:
    """Calls of these methods are answered with an error, or late."""

    method: str = "*"
    """Pattern of API methods, as `compute.instances.*`."""
    status: int = 503
    seconds: float = 0.0
    """With seconds the call is only late, and no error."""
    count: int | None = None
    """Most hits; None is without end."""


@dataclass(slots=True)
class Faults:
    """The faults in force."""

    stockouts: set[Stockout] = field(default_factory=set)
    refusals: list[Refusal] = field(default_factory=list)
    quotas: dict[tuple[str, str], float] = field(default_factory=dict)
    """Limits in place of the catalog's, by region (or "" for the project) and metric."""

    def is_out(self, zone: str, machine_type: str, model: str) -> bool:
        return any(rule.strikes(zone, machine_type, model) for rule in self.stockouts)

    def seconds_of(self, method: str) -> float:
        """Return how late a call is answered; raise the error that strikes it instead."""
        for rule in self.refusals:
            if not fnmatch.fnmatchcase(method, rule.method) or rule.count == 0:
                continue
            if rule.count is not None:
                rule.count -= 1
            if rule.seconds:
                return rule.seconds
            raise CloudError(rule.status, "backendError", "Injected by a test.")
        return 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "stockouts": [
                {"zone": rule.zone, "machine_type": rule.machine_type, "model": rule.model}
                for rule in sorted(self.stockouts, key=str)
            ],
            "quotas": {f"{region}/{metric}": n for (region, metric), n in self.quotas.items()},
            "refusals": len(self.refusals),
        }
