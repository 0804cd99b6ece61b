"""Room for more: the checks before a job, a session or calls are taken in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mrcore.master.core import policy
from mrcore.master.core.durable_calls import weight_of_plan
from mrcore.master.core.records import CallsRecord, JobRecord
from mrcore.model.calls import CallPlan
from mrcore.model.stages import StagePlan

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Cluster


def has_room(cluster: Cluster, *coming: tuple[StagePlan, ...], known: int = 0) -> bool:
    """Return whether jobs with these stages may be submitted now.

    `known` of them are live already: they have waited, and get their stages now
    (test_room_is_told_before_a_claim_is_taken).
    """
    records, limits = cluster.live_jobs(), cluster.limits
    jobs = [*(tuple(stage.plan for stage in record.stages) for record in records), *coming]
    tasks = sum(map(policy.task_count, jobs)) + call_count(records)
    return (
        tasks <= limits.live_tasks_max
        and sum(map(policy.section_count, jobs)) <= limits.live_sections_max
        and len(jobs) - known <= limits.live_jobs_max
    )


def problem_of_calls(
    cluster: Cluster, session: CallsRecord, calls: Sequence[CallPlan]
) -> str | None:
    """Return why the master has no memory for these calls now; None where it has.

    What is refused is added later (test_calls_beyond_a_limit_are_refused_with_a_sentence).
    """
    limits, records = cluster.limits, cluster.live_jobs()
    remedy = "Wait for some calls to end, and close or delete the futures of those that have."
    if call_count(records) + len(calls) > limits.calls_max:
        return f"The master keeps {limits.calls_max:,} calls at most. {remedy}"
    new = sum(map(weight_of_plan, calls))
    if session.kept_bytes + new > limits.session_bytes_max:
        return (
            f"The arguments and results of the session's calls take {session.kept_bytes:,} bytes, "
            f"and {limits.session_bytes_max:,} is the limit. {remedy}"
        )
    kept = call_bytes(records)
    if kept + new > limits.calls_bytes_max:
        return (
            f"The arguments and results of all calls take {kept:,} bytes, and "
            f"{limits.calls_bytes_max:,} is the limit. Try again later."
        )
    return None


def is_short(cluster: Cluster, session: CallsRecord) -> bool:
    """Return whether the results of a session's calls are to take as little memory as may be.

    They come whatever there is room for, since their calls are there already. So half of the memory
    is for what calls return in full. Beyond it values are objects, and failures are cut.
    """
    limits = cluster.limits
    return (
        2 * session.kept_bytes > limits.session_bytes_max
        or 2 * call_bytes(cluster.live_jobs()) > limits.calls_bytes_max
    )


def call_count(records: Iterable[JobRecord]) -> int:
    """Return the number of calls that are not released, of all these jobs."""
    sessions = (record.calls for record in records)
    return sum(len(each.plans) + len(each.ended) for each in sessions if each is not None)


def call_bytes(records: Iterable[JobRecord]) -> int:
    """Return the memory that the arguments and values of calls take, more or less."""
    return sum(record.calls.kept_bytes for record in records if record.calls is not None)
