"""Limits of a fleet: what people allow it to spend, its end when it idles, and deadlines. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.demand import (
    bounds_now,
    slots_by_deadline,
    tasks_per_worker,
    usual_worker,
)
from mrcore.master.fleet.core.model import (
    WARN_SHARE,
    DeleteGroup,
    End,
    FailJobs,
)
from mrcore.master.fleet.core.turn import Round


def over_budget(turn: Round) -> bool:
    """Fail the jobs if the spend limit is reached; warn before."""
    limit, dollars = turn.bounds.max_cost, turn.snapshot.dollars
    if limit is None:
        return False
    if dollars >= limit:
        turn.notes.append(messages.spent(dollars, limit))
        # The limit stays reached after the jobs have failed.
        # (test: test_beyond_the_spend_limit_jobs_fail_once)
        if turn.snapshot.jobs:
            turn.actions.append(FailJobs(messages.spent(dollars, limit)))
        return True
    # (test: test_below_the_spend_limit_nobody_is_warned)
    if dollars >= WARN_SHARE * limit:
        turn.notes.append(messages.nearly_spent(dollars, limit))
    return False


def release_all(turn: Round) -> None:
    """Delete all machines, since no more may be spent."""
    for model, group in turn.snapshot.groups.items():
        # Deletions take several looks.
        # (test: test_beyond_the_spend_limit_a_machine_that_goes_is_not_deleted_again)
        for member in group.staying:
            turn.delete(model, member, "spend limit")


def idle_too_long(turn: Round) -> bool:
    """Return whether there has been no job for the idle timeout, and the journal has their ends."""
    since, timeout = turn.memory.idle_seconds, turn.bounds.idle_timeout_seconds
    if since is None or timeout is None or turn.now - since < timeout:
        return False
    # While the journal does not answer, a job that has ended here still runs for the next master.
    # (test: test_an_idle_cluster_stays_until_the_end_of_its_last_job_is_durable)
    if not turn.snapshot.durable:
        turn.notes.append(messages.ENDING_WAITS)
        return False
    return True


def end(turn: Round) -> None:
    """Take everything down; the master itself goes last."""
    assert turn.memory.idle_seconds is not None
    turn.notes.append(messages.ending(turn.now - turn.memory.idle_seconds))
    # At the spend limit the machines are to go one by one already; now their groups do.
    # (test: test_beyond_the_spend_limit_an_idle_cluster_still_ends)
    turn.deletes = {}
    turn.actions = [DeleteGroup(model) for model in turn.snapshot.groups]
    # The next look finds them missing, and would count them as preempted.
    # (test: test_machines_that_go_with_their_group_are_known_as_deleted)
    for group in turn.snapshot.groups.values():
        turn.memory.deleted |= {member.name: "idle" for member in group.members}
    # The master goes only after it has seen that no group is left, as calls may get lost.
    # (test: test_an_idle_cluster_deletes_its_groups_and_then_itself)
    if not turn.actions:
        turn.actions = [End()]


def note_deadlines(turn: Round) -> None:
    """Note the jobs that are late, or will be."""
    deadline = turn.bounds.deadline_seconds
    if deadline is None:
        return
    _, most = bounds_now(turn.snapshot, turn.bounds)
    shape = usual_worker(turn.snapshot)
    for work in turn.snapshot.jobs:
        needed = slots_by_deadline(work, turn.bounds, turn.now)
        workers = -(-(needed or 0) // max(1, tasks_per_worker(work.needs, shape)))
        if turn.now >= work.submitted_seconds + deadline:
            turn.notes.append(messages.overdue(work))
        # (test: test_a_deadline_that_can_be_met_is_not_mentioned)
        elif workers > most:
            turn.notes.append(messages.late(work, workers, most))


def unfit(turn: Round) -> dict[str, str]:
    """Return the jobs whose tasks no machine of the groups can run, and why."""
    shape = usual_worker(turn.snapshot)
    return {
        work.job_id: messages.unfit(turn.snapshot.groups, shape.offers)
        for work in turn.snapshot.jobs
        # Without a group people hear of that. (test: test_no_machine_is_made_without_a_group)
        if turn.snapshot.groups and not tasks_per_worker(work.needs, shape)
    }
