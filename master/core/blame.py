"""Records, keys and items of calls at which attempts failed: counted, and given up in the end."""

from __future__ import annotations

from mrcore.master.core.limits import Limits
from mrcore.master.core.records import Culprit, JobRecord, RaisedError, TaskRecord
from mrcore.model.job import JobSpec
from mrcore.model.skipping import FAILURES_TO_SKIP, most_skipped, skip_at
from mrcore.model.task import Mark, TaskFailure


def count(
    job: JobRecord, task: TaskRecord, mark: Mark, failure: TaskFailure, limits: Limits
) -> None:
    """Count a failure at a place, which is skipped from the last one on, if the job may."""
    is_last = gives_up(task, job.spec, failure)
    for culprit in task.culprits:
        if culprit.mark == mark:
            culprit.count += 1
            break
    else:
        task.culprits.append(Culprit(mark, 1))
        del task.culprits[: -limits.culprits_max]
    if not is_last or not _may_skip(job):
        return
    task.skip = (*task.skip, skip_at(mark, failure))
    if job.calls is None:
        job.open_skips += 1
    # That was progress: a task with several such places must be able to get past all of them.
    task.failures = task.same_data = 0


def gives_up(task: TaskRecord, spec: JobSpec, failure: TaskFailure) -> bool:
    """Return whether a failure that is about to be counted is the last one at its place.

    Two are enough. An item of a call whose time was up has the retries of its session.
    """
    mark = failure.mark
    if mark is None or any(skip.mark == mark for skip in task.skip):
        return False
    enough = FAILURES_TO_SKIP
    if spec.session is not None:
        is_late = not failure.died
        enough = spec.session.retries + 1 if is_late else min(enough, spec.max_attempts)
    before = next((each.count for each in task.culprits if each.mark == mark), 0)
    return before + 1 >= enough


def may_be_given_up(job: JobRecord, failure: TaskFailure) -> bool:
    """Return whether the next attempt should look for bad records itself."""
    return (failure.skippable or failure.mark is not None) and bool(job.spec.max_bad_records)


def _may_skip(job: JobRecord) -> bool:
    if job.calls is not None:  # each item has its own end, and the caller gets them all
        return True
    skipped = job.bad_records + job.open_skips
    return skipped < most_skipped(job.spec.max_bad_records, job.records_read)


def count_error(task: TaskRecord, fingerprint: str, limits: Limits) -> None:
    """Count an error that a task has raised at one place."""
    for raised in task.raised_errors:
        if raised.fingerprint == fingerprint:
            raised.count += 1
            return
    task.raised_errors.append(RaisedError(fingerprint, 1))
    del task.raised_errors[: -limits.culprits_max]
