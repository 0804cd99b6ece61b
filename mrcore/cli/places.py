"""Lookup of a job: on the cluster named by options, in a live embedded run, or a past one."""

from __future__ import annotations

import msgspec

from mrcore.client.client import MasterClient
from mrcore.engine import api, history
from mrcore.errors import MrcoreError, UnknownJobError
from mrcore.model.snapshots import JobView
from mrcore.rpc.cluster import Credentials


def cluster(master: str | None, state: str | None, credentials: str | None) -> Credentials:
    """Return the credentials of the cluster that the options name."""
    return api.find_cluster(master, state, credentials)


def connected(master: str | None, state: str | None, credentials: str | None) -> MasterClient:
    """Return a client of the cluster that the options name; use it as a context manager."""
    found = cluster(master, state, credentials)
    return MasterClient(found, find=api.finder(master, state, credentials))


def names_cluster(master: str | None, state: str | None, credentials: str | None) -> bool:
    """Return whether the options name a cluster."""
    return bool(master or state or credentials)


def find_run(job_id: str) -> history.RunRecord:
    """Return the record of an embedded run; raise UnknownJobError if there is none."""
    record = history.find_run(job_id)
    if record is None:
        raise UnknownJobError(
            f"The job {job_id} is not an embedded run on this machine. See `mrcore jobs`, or name "
            "its cluster with --master HOST:PORT."
        )
    return record


def find_job(
    job_id: str, master: str | None, state: str | None, credentials: str | None
) -> JobView:
    """Return a job of the cluster that the options name, or of an embedded run."""
    if names_cluster(master, state, credentials):
        with connected(master, state, credentials) as client:
            return client.get(job_id)
    record = find_run(job_id)
    live = live_master(record)
    if live is None:
        return past_view(record)
    with MasterClient(live) as client:
        return client.get(job_id)


def live_master(record: history.RunRecord) -> Credentials | None:
    """Return the credentials of an embedded run's master if it is still running."""
    from mrcore.rpc.credentials import find_credentials

    if record.job.state.final:
        return None
    try:
        return find_credentials(None, record.state_uri, reach_seconds=0.0)
    except MrcoreError:
        return None


def shown_state(record: history.RunRecord) -> str:
    """Return the state of a run's job in one word; `abandoned` if its client was killed."""
    if record.job.state.final or live_master(record) is not None:
        return record.job.state.value
    return ABANDONED


def past_view(record: history.RunRecord) -> JobView:
    """Return the job of a run whose master is gone, with no task in progress."""
    job = record.job
    if job.state.final:
        return job
    stages = tuple(
        msgspec.structs.replace(stage, idle=stage.idle + stage.in_progress, in_progress=0)
        for stage in job.stages
    )
    # The inline engine keeps no state to continue from.
    note = _KILLED if record.spec is None else _GOES_ON
    return msgspec.structs.replace(job, stages=stages, note=note)


ABANDONED = "abandoned"
_KILLED = "its processes were killed"
_GOES_ON = f"{_KILLED}; run the same command again to continue"
