"""Jobs that go on, on a cluster that is up or on one in the folder of an embedded run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mrcore.client.resuming import Asked
from mrcore.engine import history
from mrcore.engine.local_run import RunRecorder, start_and_follow
from mrcore.errors import JobEndedError, UsageError
from mrcore.model.job import JobSpec
from mrcore.model.snapshots import JobView

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient
    from mrcore.client.follow import Observer
    from mrcore.rpc.cluster import Credentials

FORMER_MAX = 20
"""Jobs of one run that are remembered beside its newest."""


def resume_on_cluster(
    asked: Asked,
    credentials: Credentials,
    *,
    find: Callable[[], Credentials] | None = None,
    observer: Observer,
) -> JobView:
    """Go on with a job of a cluster that is up; return the new job once it has ended."""
    from mrcore.client.client import MasterClient

    with MasterClient(credentials, find=find) as client:
        return start_and_follow(client, _starter(client, asked, observer), observer)


def resume_embedded(
    record: history.RunRecord,
    asked: Asked,
    *,
    workers: int | None = None,
    slots: int = 1,
    cwd: Path,
    observer: Observer,
) -> JobView:
    """Go on with the job of an embedded run, on a cluster of its own; return it once it has ended.

    A job whose processes were killed goes on as it is. Raises UsageError where nothing can go on.
    """
    from mrcore.client.client import MasterClient
    from mrcore.client.follow import follow
    from mrcore.engine.embedded import EmbeddedCluster
    from mrcore.util import host

    if record.spec is None:
        raise UsageError(
            f"{record.job.job_id} ran in one process, which keeps nothing to go on with. Run its "
            "command again."
        )
    count = host.default_workers(max(1, slots)) if workers is None else workers
    memory_bytes = asked.wanted.changes.get("memory_bytes", record.spec.memory_bytes)
    host.check_slots(count * slots, memory_bytes)
    folder = history.RunFolder.reopen(history.folder_of(record))
    if folder is None:
        raise JobEndedError(
            f"The run of {record.job.job_id} has not ended. Follow it with `mrcore watch`."
        )
    newest = _newest(record)
    folder.spec, folder.former = record.spec, newest.former
    with (
        EmbeddedCluster(
            workers=count, slots=slots, memory_bytes=memory_bytes, cwd=cwd, folder=folder
        ) as cluster,
        MasterClient(cluster.credentials()) as client,
    ):
        job = client.get(record.job.job_id)
        if not job.state.final and asked.wanted.plugin is None:
            observer.note(f"going on with {job.job_id}, whose processes were killed")
            recorder = RunRecorder(observer, cluster.record)
            return follow(client, job.job_id, recorder, on_poll=cluster.restart_dead)

        def start(request_id: str) -> JobView:
            started = _starter(client, asked, observer)(request_id)
            folder.former = (*newest.former, newest.job)[-FORMER_MAX:]
            folder.spec = _changed(record.spec, asked)
            return started

        return start_and_follow(
            client, start, observer, on_poll=cluster.restart_dead, record=cluster.record
        )


def _newest(record: history.RunRecord) -> history.RunRecord:
    """Return the record of the same run with its newest job: `record` may show a former one."""
    for found in history.past_runs():
        if found.state_uri == record.state_uri:
            return found
    return record


def _changed(spec: JobSpec | None, asked: Asked) -> JobSpec | None:
    """Return the specification by which the same command is recognised."""
    if spec is None:
        return None
    changes = dict(asked.wanted.changes)
    if asked.wanted.plugin is not None:
        changes["plugin"] = msgspec.structs.replace(asked.wanted.plugin, stages=spec.plugin.stages)
    return msgspec.structs.replace(spec, **changes)


def _starter(client: MasterClient, asked: Asked, observer: Observer) -> Callable[[str], JobView]:
    """Return what starts the job, and shows once what is kept."""
    shown: list[str] = []

    def start(request_id: str) -> JobView:
        resumed = client.resume(asked, request_id)
        for note in resumed.notes if not shown else ():
            observer.note(note)
        shown.append(resumed.job.job_id)
        return resumed.job

    return start
