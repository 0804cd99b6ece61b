"""Expiry of what jobs leave in the state: which jobs, plugins and objects are still needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mrcore.master.core.durable import Durable
from mrcore.master.core.ended import keeps_temporaries
from mrcore.master.core.records import JobRecord


@dataclass(frozen=True, slots=True)
class Needs:
    """Needs of the jobs of a state, among its objects."""

    kept: frozenset[str]
    """Jobs that are live, or have ended lately."""
    expired: frozenset[str]
    """Jobs that ended longer ago."""
    spent: frozenset[str]
    """Jobs that have ended and keep no temporaries: what an attempt has written since is waste."""
    plugins: frozenset[str]
    """Digests of the plugins of kept jobs."""
    objects: frozenset[str]
    """Digests of the stored objects that live jobs and sessions name."""
    has_sessions: bool
    """Whether a session is live: its client may name any stored object at any time."""


def needs_of(durable: Durable, ended_before: float, objects_prefix: str) -> Needs:
    """Return what is needed where jobs expire that ended before a time, in seconds since 1970."""
    records = durable.jobs.values()
    expired = {job.job_id for job in records if job.state.final and _ended(job) < ended_before}
    kept = [job for job in records if job.job_id not in expired]
    live = [job for job in kept if not job.state.final]
    return Needs(
        kept=frozenset(job.job_id for job in kept),
        expired=frozenset(expired),
        spent=frozenset(
            job.job_id for job in kept if job.state.final and not keeps_temporaries(job)
        ),
        plugins=frozenset(job.spec.plugin.sha256 for job in kept),
        objects=frozenset(sha for job in live for sha in _named(job, objects_prefix)),
        has_sessions=any(job.calls is not None for job in live),
    )


def _ended(job: JobRecord) -> float:
    """Return when a job ended; one that does not say when is as new as can be."""
    return job.ended_seconds or float("inf")


def _named(job: JobRecord, objects_prefix: str) -> Iterator[str]:
    """Yield the digests of the stored objects that a job or a session names."""
    if job.calls is not None:
        for plan in job.calls.plans.values():
            yield from plan.stored
    for given in job.spec.inputs:
        if given.uri.startswith(objects_prefix):
            yield given.uri.removeprefix(objects_prefix)
