"""Interface to the cloud that a fleet's machines run in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mrcore.cost.core.ledger import Machine
from mrcore.errors import MrcoreError, UsageError
from mrcore.master.fleet.core.model import Group, Provisioning

_TARGET = re.compile(r"gce:([a-z][a-z0-9:.-]{4,61}[a-z0-9])/(zones|regions)/([a-z0-9-]{3,40})")
_CLUSTER = re.compile(r"[a-z][a-z0-9-]{0,30}")


class CloudError(MrcoreError):
    """The cloud refuses, or does not answer; the sentence says which."""


@dataclass(frozen=True, slots=True)
class Target:
    """A project, and the zone or region of its groups."""

    project: str
    regional: bool
    place: str
    """The zone, or the region."""
    cluster: str

    def __str__(self) -> str:
        kind = "regions" if self.regional else "zones"
        return f"gce:{self.project}/{kind}/{self.place}"

    def group(self, model: Provisioning) -> str:
        """Return the name of the group of a model."""
        return f"mrcore-{self.cluster}-{model}"

    @property
    def firewalls(self) -> tuple[str, str]:
        """Return the names of the cluster's firewall rules."""
        return (f"mrcore-{self.cluster}-internal", f"mrcore-{self.cluster}-iap")

    @property
    def master(self) -> str:
        """Return the name of the master's own machine."""
        return f"mrcore-{self.cluster}-master"


def parse_target(text: str, cluster: str) -> Target:
    """Return the target in `gce:PROJECT/zones/ZONE` or `gce:PROJECT/regions/REGION`.

    Raises UsageError for anything else, and for a cluster's name that cannot be one.
    """
    match = _TARGET.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--fleet {text} is not understood. Write gce:PROJECT/zones/ZONE or "
            "gce:PROJECT/regions/REGION."
        )
    if not _CLUSTER.fullmatch(cluster):
        raise UsageError(
            f"--cluster {cluster!r} is not a cluster name. Give the name of its groups, of "
            "at most 31 lower-case letters, digits and hyphens."
        )
    return Target(match[1], match[2] == "regions", match[3], cluster)


@dataclass(frozen=True, slots=True)
class CloudSnapshot:
    """A cluster as the cloud shows it."""

    groups: dict[Provisioning, Group] = field(default_factory=dict)
    machines: tuple[Machine, ...] = ()
    """Machines that are paid for, the master's too."""


class Cloud(Protocol):
    """The cloud as a fleet asks it; a call blocks for a bounded time and may raise CloudError."""

    def look(self) -> CloudSnapshot:
        """Return the groups and machines of the cluster as they stand."""
        ...

    def grow(self, model: Provisioning, size: int) -> None:
        """Make a group as large as `size`."""
        ...

    def delete(self, model: Provisioning, names: Sequence[str]) -> None:
        """Delete machines of a group for good; what is gone already is fine."""
        ...

    def delete_group(self, model: Provisioning) -> None:
        """Delete a group and its machines; a group that is gone is fine."""
        ...

    def delete_parts(self) -> None:
        """Delete the cluster's templates and firewall rules.

        To be called when its groups are gone. What cannot be deleted is left, and reported.
        """
        ...

    def delete_machine(self, name: str, zone: str) -> None:
        """Delete a machine of no group, without waiting for it: it may be our own."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...
