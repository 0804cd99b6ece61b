"""Where a job is looked for: the cluster named by options, a live embedded run, or a past one."""

from __future__ import annotations

import msgspec

from mrcore.client.client import Client
from mrcore.engine import api, history
from mrcore.errors import MrcoreError, UnknownJobError
from mrcore.model.snapshots import JobView
from mrcore.rpc.cluster import Credentials


def cluster(master: str | None, state: str | None, credentials: str | None) -> Credentials:
    """Return how to call the cluster that the options name."""
    return api.find_cluster(master, state, credentials)


def connected(master: str | None, state: str | None, credentials: str | None) -> Client:
    """Return a client of the cluster that the options name, to be used as a context manager."""
    found = cluster(master, state, credentials)
    return Client(found, find=api.finder(master, state, credentials))


def names_cluster(master: str | None, state: str | None, credentials: str | None) -> bool:
    """Tell whether the options name a cluster at all."""
    return bool(master or state or credentials)


def find_run(job_id: str) -> history.RunRecord:
    """Return the record of an embedded run; raise UnknownJobError."""
    record = history.find_run(job_id)
    if record is None:
        raise UnknownJobError(
            f"No embedded run on this machine had the job {job_id}: see `mrcore jobs`, or name its "
            "cluster with --master HOST:PORT."
        )
    return record


def live_master(record: history.RunRecord) -> Credentials | None:
    """Return how to call the master of an embedded run, where it still runs."""
    from mrcore.rpc.credentials import find_credentials

    if record.job.state.final:
        return None
    try:
        return find_credentials(None, record.state_uri, reach_seconds=0.0)
    except MrcoreError:
        return None


def shown_state(record: history.RunRecord) -> str:
    """Return the state of a run's job in a word; a client that was killed leaves `abandoned`."""
    if record.job.state.final or live_master(record) is not None:
        return record.job.state.value
    return ABANDONED


def past_view(record: history.RunRecord) -> JobView:
    """Return the job of a run whose master is gone: nothing runs, and nobody is waited for."""
    job = record.job
    if job.state.final:
        return job
    phases = tuple(
        msgspec.structs.replace(phase, idle=phase.idle + phase.in_progress, in_progress=0)
        for phase in job.phases
    )
    # The inline engine keeps nothing to go on from.
    note = _KILLED if record.spec is None else _GOES_ON
    return msgspec.structs.replace(job, phases=phases, note=note)


ABANDONED = "abandoned"
_KILLED = "its processes were killed"
_GOES_ON = f"{_KILLED}; the same command goes on from what had been finished"
