"""Messages about jobs, tasks and workers, made from the machine's views."""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.errors import UnknownJobError, UnknownWorkerError, UsageError
from mrcore.master.core import views
from mrcore.master.core.machine import Machine
from mrcore.master.fleet.status import FleetStatus
from mrcore.master.shell.convert import check_stage
from mrcore.master.shell.job_notes import JobNotes
from mrcore.rpc.enums import TASK_STATES
from mrcore.rpc.v1 import job_pb2
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.rpc.views import job_to_proto, task_to_proto, worker_to_proto
from mrcore.util.texts import printable

JOBS_PAGE: Final = (100, 1_000)
TASKS_PAGE: Final = (1_000, 10_000)
"""Entries of a page: by default, and at most."""
PAGE_BYTES_MAX: Final = 32 * 2**20


class JobMessages:
    """Messages about jobs, with the notes of the shell and of the fleet."""

    def __init__(self, fleet: FleetStatus, notes: JobNotes) -> None:
        self._fleet = fleet
        self._notes = notes

    def job(self, machine: Machine, job_id: str, *, counters: bool = False) -> job_pb2.Job:
        """Return one job; raise UnknownJobError where it is not known."""
        record = machine.cluster.job(job_id)
        view = views.job_view(machine.cluster, job_id, counters=counters)
        if record is None or view is None:
            raise UnknownJobError(f"No job {job_id} is known here: `mrcore jobs` lists them.")
        note = view.note
        if not view.state.final:
            waits = note_with_fleet(machine, self._fleet, job_id, note)
            note = "; ".join(filter(None, (self._notes.get(job_id), waits)))
        view = msgspec.structs.replace(view, note=note, cost=self._fleet.cost(job_id))
        return job_to_proto(view, record.spec)

    def jobs_page(self, machine: Machine, asked: int, before: str | None) -> pb.ListResponse:
        """Return the jobs older than `before`; ids are in the order of submission."""
        size = _page_size(asked, JOBS_PAGE)
        response = pb.ListResponse()
        ids = list(machine.cluster.durable.jobs)
        if before is not None:
            # A job forgotten since had only forgotten ones before it.
            ids = ids[: ids.index(before)] if before in machine.cluster.durable.jobs else []
        left = PAGE_BYTES_MAX
        for job_id in reversed(ids):
            if len(response.jobs) == size or left <= 0:
                response.next_page_token = response.jobs[-1].job_id
                break
            response.jobs.append(self.job(machine, job_id))
            left -= response.jobs[-1].ByteSize()
        return response


def note_with_fleet(machine: Machine, fleet: FleetStatus, job_id: str, note: str) -> str:
    """Return why a job waits, `note`, with what its fleet says of workers to come."""
    unfit = fleet.unfit.get(job_id)
    if unfit and not views.is_fit(machine.cluster, job_id):
        return "; ".join(filter(None, (note, unfit)))
    # What the fleet says of workers that are missing says more than that there are none.
    nobody = fleet.note and note == views.nobody_note(machine.cluster)
    return "; ".join(filter(None, (fleet.note, "" if nobody else note)))


def worker_message(machine: Machine, worker_id: str, now: float) -> job_pb2.Worker:
    """Return one worker; raise UnknownWorkerError where it is not known."""
    for view in views.worker_views(machine.cluster, now):
        if view.worker_id == worker_id:
            return worker_to_proto(view)
    raise UnknownWorkerError(
        f"No worker {printable(worker_id, 100)!r} is known here: `mrcore workers` lists them."
    )


def _page_size(asked: int, bounds: tuple[int, int]) -> int:
    default, most = bounds
    return min(asked or default, most)


def tasks_page(machine: Machine, request: pb.ListTasksRequest) -> pb.ListTasksResponse:
    """Return the tasks from the position in the page token on; it counts all tasks of the job."""
    job = machine.cluster.job(request.job_id)
    if job is None:
        raise UnknownJobError(f"No job {request.job_id} is known here: `mrcore jobs` lists them.")
    check_stage(request.stage, [stage.name for stage in job.stages])
    token = request.page_token or "0"
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise UsageError("The page_token is not one that this master gave.")
    size = _page_size(request.page_size, TASKS_PAGE)
    state = TASK_STATES.optional_from_proto(request.state)
    response = pb.ListTasksResponse()
    left = PAGE_BYTES_MAX
    for position, view in views.task_views(
        machine.cluster, request.job_id, int(token), request.stage, state
    ):
        if len(response.tasks) == size or left <= 0:
            response.next_page_token = str(position)
            break
        response.tasks.append(task_to_proto(view))
        left -= response.tasks[-1].ByteSize()
    return response
