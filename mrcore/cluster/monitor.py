"""Tables of the parts of a cluster: masters, workers, tasks and files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mrcore.cluster.status import is_online
from mrcore.cluster.tables import Table
from mrcore.errors import NotFoundError
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.util.units import show_duration, show_size

if TYPE_CHECKING:
    from mrcore.client.arguments import HasJobId
    from mrcore.client.client import MasterClient


class Monitor:
    """Tables of the cluster; each method returns one of this moment."""

    def __init__(self, master: MasterClient, check_open: Callable[[], None]) -> None:
        """Prepare; `check_open` raises UsageError where the client was closed."""
        self._client = master
        self._check_open = check_open

    @property
    def _master(self) -> MasterClient:
        self._check_open()
        return self._client

    def masters(self) -> Table:
        """Return the masters, the leader first: role, epoch, and how far each has read."""
        rows = [
            (
                one.address,
                one.role.value,
                one.epoch,
                one.entry,
                one.behind,
                one.host,
                one.process_id,
                show_duration(one.heard_seconds),
            )
            for one in self._master.masters()
        ]
        columns = ("address", "role", "epoch", "entry", "behind", "host", "pid", "heard")
        return Table(columns, rows)

    def workers(self) -> Table:
        """Return the workers: slots, tasks, CPUs, memory, labels, and what each does."""
        rows = [
            (
                one.worker_id,
                one.host,
                one.process_id,
                one.slots,
                one.running,
                f"{one.cpus:g}" if one.cpus else "-",
                show_size(one.memory_bytes) if one.memory_bytes else "-",
                " ".join(one.labels),
                _state(one.running, one.draining, is_online(one)),
                show_duration(one.silent_seconds),
                one.note,
            )
            for one in self._master.workers()
        ]
        columns = (
            *("worker", "host", "pid", "slots", "running", "cpus", "memory", "labels"),
            *("state", "heard", "note"),
        )
        return Table(columns, rows)

    def tasks(self, job: str | HasJobId) -> Table:
        """Return the tasks of a job: state, worker and progress of the newest attempt.

        Raises UnknownJobError.
        """
        rows = []
        for task in self._master.tasks(id_of(job)):
            last = task.attempts[-1] if task.attempts else None
            rows.append(
                (
                    task.name,
                    task.state.value.replace("_", " "),
                    len(task.attempts),
                    task.failures,
                    last.worker_id if last else "-",
                    show_duration(last.elapsed_seconds) if last else "-",
                    f"{last.fraction:.0%}" if last else "-",
                )
            )
        columns = ("task", "state", "attempts", "failures", "worker", "for", "done")
        return Table(columns, rows, title=id_of(job))

    def files(self, job: str | HasJobId) -> Table:
        """Return the files of a job: its output, its plan and its logs, with their sizes.

        Raises UnknownJobError, and StorageError where they cannot be listed from here.
        """
        view = self._master.get(id_of(job))
        found: list[tuple[str, str, int]] = []
        if view.output_uri and view.state is JobState.SUCCEEDED:
            from mrcore.output.reading import output_parts

            found += [
                ("output", part.uri, part.size_bytes) for part in output_parts(view.output_uri)
            ]
        state_uri = self._master.credentials.state_uri
        if state_uri:
            found += _listed("plan", object_names.plan_uri(state_uri, view.job_id))
            found += _listed("log", object_names.log_prefix(state_uri, view.job_id))
            found += _listed("value", object_names.session_results_prefix(state_uri, view.job_id))
        rows = [(kind, object_names.shown(uri), show_size(size)) for kind, uri, size in found]
        return Table(("kind", "file", "size"), rows, title=view.job_id)


def id_of(job: str | HasJobId) -> str:
    """Return the id of a job that is given as one, or by an object that has one."""
    return job if isinstance(job, str) else job.job_id


def _state(running: int, draining: bool, online: bool) -> str:
    if draining:
        return "draining"
    if not online:
        return "silent"
    return "working" if running else "waiting"


def _listed(kind: str, prefix: str) -> list[tuple[str, str, int]]:
    from mrcore.storage.registry import storage_for

    try:
        return [(kind, one.uri, one.size_bytes) for one in storage_for(prefix).list(prefix)]
    except NotFoundError:
        return []
