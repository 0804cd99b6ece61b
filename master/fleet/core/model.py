"""Plain values that the fleet's policy sees, remembers and wants. All times are wall seconds.

The wall clock, since these times are compared with the cloud's and outlive this master.
"""

from __future__ import annotations

import copy
import enum
from dataclasses import dataclass, field
from typing import Final

import msgspec

from mrcore.model.job import ANY_WORKER, Resources

LINGER_SECONDS: Final = 60.0
"""Time that an idle worker is kept: about what booting another one would cost."""
JOIN_SECONDS: Final = 600.0
"""Time for the worker of a new machine to join; after it the machine is deleted."""
ROUND_SECONDS: Final = 15.0
"""Longest time between failures to make machines that count as one attempt."""
PAUSE_SECONDS: Final = 600.0
"""First pause of a model without capacity; the next is twice as long, and so on."""
PAUSE_SECONDS_MAX: Final = 3_600.0
FAILED_JOINS_MAX: Final = 3
"""Machines in a row that never joined, after which they are made one at a time."""
NOTICE_SECONDS: Final = 300.0
"""Time that a sentence about something that has happened is shown."""
COMMITTED_SECONDS: Final = 600.0
"""Time that the spend limit must let all machines run before another one is made."""
WARN_SHARE: Final = 0.8
"""Share of the spend limit from which on people are warned."""
HEADROOM: Final = 0.8
"""Share of the time until a deadline that is planned with."""


class Provisioning(enum.StrEnum):
    """Models of provisioning; each has its own group of machines."""

    SPOT = "spot"
    STANDARD = "standard"

    @property
    def other(self) -> Provisioning:
        """Return the other one."""
        return Provisioning.STANDARD if self is Provisioning.SPOT else Provisioning.SPOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits that the user sets; None means unlimited."""

    max_workers: int
    min_workers: int = 0
    deadline_seconds: float | None = None
    """From a job's submission to its end."""
    max_cost: float | None = None
    """Dollars, for the whole life of the cluster."""
    idle_timeout_seconds: float | None = 900.0
    spot_attempts: int = 3
    logs_uri: str = ""
    """Place where machines leave their boot logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningError:
    """A reason why a machine could not be made."""

    code: str
    """Such as ZONE_RESOURCE_POOL_EXHAUSTED or QUOTA_EXCEEDED."""
    message: str
    at_seconds: float = 0.0
    """0 where the cloud does not say."""
    zone: str = ""

    @property
    def quota(self) -> bool:
        """Return whether it is the user's own quota that is used up."""
        return "QUOTA" in self.code.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A machine of a group."""

    name: str
    zone: str = ""
    action: str = "NONE"
    """Action of the group on it: NONE, CREATING, RECREATING, DELETING, …"""
    exists: bool = True
    """It runs, or is about to; not one that was preempted or has powered off."""
    created_seconds: float = 0.0
    """0 where it does not exist yet."""
    errors: tuple[ProvisioningError, ...] = ()
    """Errors of the last attempt to make it."""

    @property
    def deleting(self) -> bool:
        """Return whether it is on its way out."""
        # (test: test_machines_on_their_way_out_do_no_work_but_count_for_the_most)
        return self.action in ("DELETING", "ABANDONING")

    @property
    def coming(self) -> bool:
        """Return whether the group still makes it."""
        # (test: test_a_machine_that_is_being_made_is_waited_for)
        return self.action in ("CREATING", "CREATING_WITHOUT_RETRIES", "RECREATING")

    @property
    def dead(self) -> bool:
        """Return whether it is gone and nobody replaces it."""
        # A group may repair by itself. (test: test_a_group_that_repairs_by_itself_is_left_to_it)
        return not self.exists and self.action == "NONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A managed instance group as it stands."""

    target_size: int
    members: tuple[Member, ...] = ()
    errors: tuple[ProvisioningError, ...] = ()
    """Errors that the group has listed lately."""
    machine_type: str = ""
    vcpus: int = 1
    """Virtual CPUs of its machine type."""
    memory_bytes: int = 0
    """Memory of its machine type; 0 where that is not known."""
    hour_dollars: float = 0.0
    """Price of one machine an hour, at most."""

    @property
    def staying(self) -> list[Member]:
        """Return the members that are not being deleted."""
        return [member for member in self.members if not member.deleting]

    @property
    def unlisted(self) -> int:
        """Return how many machines are asked for that have no name yet."""
        # After a deletion the size may fall before the list does.
        # (test: test_a_size_that_fell_before_the_list_does_not_hide_machines)
        return max(0, self.target_size - len(self.staying))

    @property
    def size(self) -> int:
        """Return how many machines there are, or will be: leaving ones too."""
        # (test: test_machines_on_their_way_out_do_no_work_but_count_for_the_most)
        return len(self.members) + self.unlisted


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker, by the machine on which it runs."""

    machine: str
    worker_id: str
    slots: int
    held: int = 0
    """Attempts: running and waiting."""
    draining: bool = False
    offers: Resources = ANY_WORKER
    """CPUs, memory and labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A live job, as far as machines are concerned."""

    job_id: str
    submitted_seconds: float
    tasks: int
    """Number of tasks that wait for a worker or run now."""
    needs: Resources = ANY_WORKER
    """CPUs, memory and labels that each of them takes."""
    seconds: float | None = None
    """Slot-seconds of work left, over all stages; None before a task has been measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSnapshot:
    """Everything that was seen in one look."""

    groups: dict[Provisioning, Group]
    """Groups that exist."""
    workers: tuple[WorkerInfo, ...] = ()
    jobs: tuple[Work, ...] = ()
    busy: bool = False
    """Something else keeps the cluster: a submission, a commit, a clean-up."""
    durable: bool = True
    """The journal has all that was decided, such as the end of the last job."""
    dollars: float = 0.0
    """Spent so far."""
    max_workers: int | None = None
    """Asked for since, in place of the bounds' own; so is the next."""
    min_workers: int | None = None


class CapacityState(msgspec.Struct):
    """Memory of one model's capacity."""

    failures: int = 0
    """Attempts to make machines that failed since the last that worked."""
    newest_error_seconds: float = 0.0
    """Time of the newest error that was counted, by the cloud's clock."""
    round_seconds: float = 0.0
    """Time at which an attempt was counted last."""
    paused_until: float = 0.0
    pause_seconds: float = PAUSE_SECONDS
    """The next pause."""
    error: ProvisioningError | None = None
    """Error that was last reported as the reason for missing machines."""


class Memory(msgspec.Struct, kw_only=True):
    """Memory that a decision leaves for the next one; kept in the state."""

    began_seconds: float = 0.0
    """Time at which this master began to look."""
    adopted: int = 0
    """Most machines that were ever asked for; a floor until the first job comes."""
    worked: bool = False
    """A job has been here."""
    idle_seconds: float | None = None
    """Since when there has been no job."""
    capacity: dict[Provisioning, CapacityState] = {}
    last_seen: dict[str, float] = {}
    """Time of the newest report of a machine's worker, by the machine's name."""
    free: dict[str, float] = {}
    """Time since which a machine's worker has held nothing, by the machine's name."""
    draining: list[str] = []
    """Machines whose worker was asked to leave."""
    leaving: list[str] = []
    """Machines whose worker has begun to leave: asked, or by itself, as before a preemption."""
    deleted: dict[str, str] = {}
    """Machines that were deleted, and why, while they are there."""
    failed_joins: int = 0
    """Machines in a row whose worker never joined."""
    notices: dict[str, float] = {}
    """Sentences on what has happened, and until when each is shown."""
    surplus_seconds: float | None = None
    """Since when there have been more machines than needed."""

    def copy(self) -> Memory:
        """Return a memory that can be changed without changing this one."""
        return msgspec.structs.replace(
            self,
            capacity={model: copy.copy(capacity) for model, capacity in self.capacity.items()},
            last_seen=dict(self.last_seen),
            free=dict(self.free),
            draining=list(self.draining),
            leaving=list(self.leaving),
            deleted=dict(self.deleted),
            notices=dict(self.notices),
        )


@dataclass(frozen=True, slots=True)
class Grow:
    """Ask a group for more: the size that it shall have, which is more than it has."""

    model: Provisioning
    size: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask the worker of a machine to finish and leave."""

    worker_id: str
    machine: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete machines of a group, by name."""

    model: Provisioning
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Delete a group with all its machines."""

    model: Provisioning


@dataclass(frozen=True, slots=True)
class FailJobs:
    """Fail every job that lives."""

    message: str


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left but the master: let it end, and its machine with it."""


Action = Grow | Drain | Delete | DeleteGroup | FailJobs | End


@dataclass(frozen=True, slots=True)
class Decision:
    """Actions to take now, and what people and the next decision get to know."""

    actions: list[Action] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    notes: list[str] = field(default_factory=list)
    """Sentences for people, the most important first."""
    wanted: int = 0
    """Workers that the work calls for."""
    ending: bool = False
    """No job may be accepted any more."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Jobs whose tasks no machine of the groups can run, and why."""
