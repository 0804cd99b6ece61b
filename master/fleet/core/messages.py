"""Messages of the fleet to people: one sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from mrcore.master.fleet.core.model import (
    Action,
    Bounds,
    CapacityState,
    Delete,
    DeleteGroup,
    Drain,
    End,
    FailJobs,
    Group,
    Grow,
    Provisioning,
    Work,
)
from mrcore.model.job import Resources
from mrcore.util.units import show_dollars, show_duration

_ON: dict[Provisioning, str] = {Provisioning.SPOT: "spot", Provisioning.STANDARD: "on-demand"}


def described(action: Action) -> str:
    """Return the log line of an action."""
    match action:
        case Grow():
            return f"asks for {action.size} {_ON[action.model]} machines in all"
        case Drain():
            return f"asks {action.worker_id} to leave"
        case Delete():
            return f"deletes {_ON[action.model]} machines: {', '.join(action.names)}"
        case DeleteGroup():
            return f"deletes the group of {_ON[action.model]} machines"
        case FailJobs():
            return "fails all jobs"
        case End():
            return "ends: nothing but the master is left"
        case _:
            assert_never(action)


def shortage(
    model: Provisioning, group: Group, missing: int, capacity: CapacityState, attempts: int
) -> str:
    """Return the sentence that machines cannot be had, and what is being done."""
    error = capacity.error
    assert error is not None
    kind = f"{_ON[model]} {group.machine_type}".rstrip()
    # The cloud does not always name the zone.
    # (test: test_a_shortage_names_only_what_is_known_and_still_to_come)
    where = f" in {error.zone}" if error.zone else ""
    machines, are = (f"{kind} machines", "are") if missing != 1 else (f"{kind} machine", "is")
    if error.quota:
        what = (
            f"{missing} {machines}{where} {are} over the quota ({error.message}). Ask for "
            "more quota or lower --max-workers"
        )
    elif "EXHAUSTED" in error.code.upper():
        what = f"{missing} {machines} {are} not to be had{where} (stockout)"
    else:
        what = f"{missing} {machines}{where} cannot be made ({error.message})"
    done = "The master tries again"
    # Only spot machines, and only until their attempts are over, have on-demand ones ahead.
    # (test: test_a_shortage_names_only_what_is_known_and_still_to_come)
    if model is Provisioning.SPOT and capacity.failures < attempts:
        done += (
            f", attempt {capacity.failures} of {attempts} before on-demand machines are asked for"
        )
    return f"{what}. {done}."


def fallback(model: Provisioning, group: Group, seconds: float) -> str:
    """Return the sentence that the other model is used for a while."""
    return (
        f"No {_ON[model]} {group.machine_type} machines were to be had. "
        f"{_ON[model.other].capitalize()} ones are asked for instead, "
        f"and {_ON[model]} ones again in {show_duration(seconds)}."
    )


def never_joined(name: str, seconds: float, bounds: Bounds) -> str:
    """Return the sentence that a machine was given up."""
    log = f"{bounds.logs_uri}/{name}/boot.log" if bounds.logs_uri else "its boot log"
    return f"{name} did not join within {show_duration(seconds)} and is deleted. Read {log}."


def lost_worker(name: str, seconds: float, bounds: Bounds) -> str:
    """Return the sentence that a machine was given up whose worker had joined."""
    del bounds  # its boot log has nothing to say of that
    return (
        f"The worker of {name} had joined and was lost: it was silent for "
        f"{show_duration(seconds)}, and the machine is deleted. Its tasks run elsewhere."
    )


def failed_joins(count: int, bounds: Bounds) -> str:
    """Return the sentence that something is wrong with all machines."""
    where = bounds.logs_uri or "the bucket"
    return (
        f"{count} machines in a row have not joined, so they are made one at a time. Read the "
        f"boot logs in {where}."
    )


def spent(dollars: float, limit: float) -> str:
    """Return the sentence that the spend limit is reached; jobs that fail for it show it too."""
    return (
        f"The spend limit is reached ({show_dollars(dollars)} of {show_dollars(limit)}), so the "
        "job was stopped and all workers are released. Raise --max-cost and run it again."
    )


def nearly_spent(dollars: float, limit: float) -> str:
    """Warn of the spend limit."""
    return (
        f"{show_dollars(dollars)} of the {show_dollars(limit)} allowed are spent. At the limit "
        "jobs fail and all workers are released."
    )


def unaffordable(limit: float) -> str:
    """Return the reason why no more machines are made."""
    left = f"what is left of --max-cost {show_dollars(limit)}"
    return f"No more workers are added: {left} is too little."


def late(work: Work, needed: int, most: int) -> str:
    """Return the sentence that a deadline cannot be met."""
    return (
        f"{work.job_id} needs about {needed} workers to meet its deadline, and --max-workers is "
        f"{most}. Raise it, or expect it late."
    )


def overdue(work: Work) -> str:
    """Return the sentence that a deadline has passed."""
    return f"{work.job_id} is past its deadline. All workers that it can use are at work."


def coming(there: int, wanted: int) -> str:
    """Return the sentence that workers are on their way."""
    return f"{there} of {wanted} workers have joined, the others are being made."


def unfit(groups: Mapping[Provisioning, Group], offers: Resources) -> str:
    """Return why no machine that the fleet makes can run the tasks of a job."""
    types = sorted({group.machine_type for group in groups.values() if group.machine_type})
    named = f" ({', '.join(types)})" if types else ""
    memory = f", {offers.memory_bytes >> 20:,} MiB of memory" if offers.memory_bytes else ""
    labels = f" and the labels {', '.join(offers.labels)}" if offers.labels else " and no labels"
    return (
        f"the fleet makes no machine for it, as its machines{named} have {offers.cpus:g} "
        f"CPU{'' if offers.cpus == 1 else 's'}{memory}{labels}"
    )


def no_groups() -> str:
    """Return the sentence that there is no group to grow."""
    return "The cluster has no group to make workers in. `mrcore gce up` makes the groups."


ENDING_WAITS: Final = (
    "No job runs, and the journal does not answer yet: the cluster deletes itself once it does."
)


def ending(seconds: float) -> str:
    """Return the sentence that the cluster deletes itself."""
    return f"No job has run for {show_duration(seconds)}, so the cluster deletes itself."
