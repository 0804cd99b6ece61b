"""Messages to workers, made from the machine's `Reply`: each new attempt with its work.

The machine knows tasks by number; the splits come from the plan, the slices of runs from the
outputs of the current winners. An attempt whose work is not known now is left out: the next
request of the worker lacks it, and the machine sends it again or has changed its plan.

A defect met here concerns one job, and would be met again with every request: that job is to fail,
with a sentence, and the others of the same answer go on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from mrcore.errors import MrcoreError, UsageError
from mrcore.master.core.commands import Reply
from mrcore.master.core.durable_calls import output_of
from mrcore.master.core.events import JobBroken, Synced
from mrcore.master.core.machine import Machine
from mrcore.master.core.records import CallsRecord, JobRecord
from mrcore.master.core.room import is_short
from mrcore.master.shell.plans import Plans
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.stages import Splits
from mrcore.model.task import CallInput, CallValue, RunInput, TaskOutput, TaskRef, TaskWork
from mrcore.rpc.convert_task import assignment_to_proto
from mrcore.rpc.v1 import job_pb2, worker_service_pb2
from mrcore.rpc.views import shown_spec

log = logging.getLogger("mrcore.master")

RESPONSE_BYTES_MAX: Final = 16 * 2**20
"""Bytes of one answer; what does not fit goes with the next one."""
ASSIGNMENT_BYTES_MAX: Final = 24 * 2**20
"""Bytes of one attempt, so that a message holds it, those before it and its job's description."""
_DEFECT: Final = "The master could not give out the job's tasks ({!r}): its log says where."


class Assigner:
    """Maker of these messages, which have what workers need to begin."""

    def __init__(self, machine: Machine, plans: Plans, cluster_id: str, state_uri: str) -> None:
        self._machine = machine
        self._plans = plans
        self._cluster_id = cluster_id
        self._state_uri = state_uri
        self._specs: dict[str, job_pb2.JobSpec] = {}
        self._boundaries: dict[tuple[str, int], tuple[int, Sequence[bytes]]] = {}
        """Keys between the tasks of a stage in total order, by job and stage, with the version of
        what the stage reads: chosen once."""
        self._starts: dict[tuple[str, int], tuple[int, list[Sequence[int]]]] = {}
        """Starts of the sections of each run that a stage reads, with the version likewise."""

    def empty_response(self, sequence: int) -> worker_service_pb2.SynchronizeResponse:
        """Return an answer that asks for nothing."""
        return worker_service_pb2.SynchronizeResponse(
            cluster_id=self._cluster_id,
            epoch=self._machine.cluster.epoch,
            sequence=sequence,
            state_uri=self._state_uri,
        )

    def response(
        self, request: worker_service_pb2.SynchronizeRequest, event: Synced, reply: Reply
    ) -> tuple[worker_service_pb2.SynchronizeResponse, list[JobBroken]]:
        """Return everything that the worker should hold, with the work that it does not have.

        The second value is for the machine: the jobs whose work could not be described.
        """
        response = self.empty_response(reply.sequence)
        response.sync_seconds = reply.sync_seconds
        response.drain = reply.drain
        response.leave = reply.leave
        broken: dict[str, JobBroken] = {}
        if not reply.wanted:
            return response, []
        names = {
            held.attempt: message.attempt
            for held, message in zip(event.held, request.held, strict=True)
        }
        known = set(request.known_jobs)
        left = RESPONSE_BYTES_MAX
        for wanted in reply.wanted:
            name = names.get(wanted.attempt)
            if name is not None:
                response.wanted.add(attempt=name, inputs_version=wanted.inputs_version)
                continue
            if left <= 0:
                continue
            job = self._machine.cluster.job(wanted.attempt.task.job_id)
            if job is None or job.state.final or job.job_id in broken:
                continue
            try:
                left -= self._add(response, job, wanted, known)
            except MrcoreError as error:
                broken[job.job_id] = JobBroken(job.job_id, str(error))
            except Exception as error:  # a defect must not end the other jobs, too
                log.exception("an attempt could not be given out", extra={"job": job.job_id})
                broken[job.job_id] = JobBroken(job.job_id, _DEFECT.format(error))
        return response, list(broken.values())

    def assignment(
        self, job: JobRecord, wanted: Assignment
    ) -> worker_service_pb2.Assignment | None:
        """Return an attempt with its work; None where that is not known now."""
        work = self._work(job, wanted)
        if work is None:
            return None
        return assignment_to_proto(
            wanted.attempt,
            wanted.inputs_version,
            work,
            mark_records=wanted.mark_records,
            skip=wanted.skip,
        )

    def _add(
        self,
        response: worker_service_pb2.SynchronizeResponse,
        job: JobRecord,
        wanted: Assignment,
        known: set[str],
    ) -> int:
        """Add an attempt with its work, and its job unless already sent; return the bytes."""
        message = self.assignment(job, wanted)
        if message is None:
            return 0
        size = message.ByteSize()
        if size > ASSIGNMENT_BYTES_MAX:
            stage = job.stages[wanted.attempt.task.stage].name
            raise UsageError(
                f"To say what one of its {stage} tasks reads takes {size:,} bytes, and "
                f"{ASSIGNMENT_BYTES_MAX:,} is the limit. Give fewer and larger files."
            )
        if job.job_id not in known:
            spec = self._spec(job.job_id, job.spec)
            info = response.jobs.add(job_id=job.job_id, spec=spec)
            known.add(job.job_id)
            size += info.ByteSize()
        response.wanted.append(message)
        return size

    def _spec(self, job_id: str, spec: JobSpec) -> job_pb2.JobSpec:
        message = self._specs.get(job_id)
        if message is None:
            live = self._machine.cluster.jobs
            self._specs = {other: old for other, old in self._specs.items() if other in live}
            # Tasks read pieces, not inputs: one stands for all, since a job must have one.
            message = self._specs[job_id] = shown_spec(spec, inputs=1)
        return message

    def _work(self, job: JobRecord, wanted: Assignment) -> TaskWork | None:
        task = wanted.attempt.task
        if job.calls is not None:
            call = self._call_input(job.calls, task.index)
            return None if call is None else TaskWork(call)
        partitions = job.partitions(task.stage)
        reads = job.stages[task.stage].plan.reads
        if isinstance(reads, Splits):
            return TaskWork(self._plans.splits(job.job_id, reads.groups)[task.index], partitions)
        read = self._run_input(job, wanted.attempt, wanted.inputs_version)
        return None if read is None else TaskWork(read, partitions)

    def _call_input(self, calls: CallsRecord, index: int) -> CallInput | None:
        """Return a call with the values that it takes; None for one that has ended since."""
        plan = calls.plans.get(index)
        if plan is None:
            return None
        jobs = self._machine.cluster.durable.jobs
        values = []
        for need in plan.needs:
            output = output_of(jobs, need)
            if output is None:
                return None
            values.append(CallValue(output.result, output.object))
        return CallInput(
            plan.function,
            plan.arguments,
            plan.arguments_object,
            tuple(values),
            plan.each,
            store_value=is_short(self._machine.cluster, calls),
        )

    def _run_input(
        self, job: JobRecord, attempt: AttemptId, inputs_version: int
    ) -> RunInput | None:
        from mrcore.shuffle.ranges import run_input

        number = attempt.task.stage
        stage = job.stages[number]
        # The machine may be ahead of this reply: a winner may be lost, or replaced, since.
        if stage.version != inputs_version or not job.readable(number):
            return None
        outputs = [
            (TaskRef(read, index), task.output)
            for read in stage.plan.inputs
            for index, task in enumerate(job.stages[read].tasks)
            if task.output is not None
        ]
        tasks = len(stage.tasks)
        boundaries = self._bounds(job, number, outputs, tasks)
        starts = self._section_starts(job, number, outputs)
        return run_input(outputs, tasks, attempt.task.index, boundaries, starts)

    def _section_starts(
        self, job: JobRecord, stage: int, outputs: Sequence[tuple[TaskRef, TaskOutput]]
    ) -> list[Sequence[int]]:
        from mrcore.shuffle.ranges import section_starts

        key, version = (job.job_id, stage), job.stages[stage].version
        known = self._starts.get(key)
        if known is not None and known[0] == version:
            return known[1]
        # These are large: tasks that write times tasks that read. None outlives its job for long.
        live = self._machine.cluster.jobs
        self._starts = {other: old for other, old in self._starts.items() if other[0] in live}
        starts = [section_starts(output) for _, output in outputs]
        self._starts[key] = (version, starts)
        return starts

    def _bounds(
        self,
        job: JobRecord,
        stage: int,
        outputs: Sequence[tuple[TaskRef, TaskOutput]],
        tasks: int,
    ) -> Sequence[bytes] | None:
        """Return the keys between the tasks of a stage in total order; None for any other."""
        if not job.totally_ordered(stage):
            return None
        key, version = (job.job_id, stage), job.stages[stage].version
        known = self._boundaries.get(key)
        if known is not None and known[0] == version:
            return known[1]
        from mrcore.shuffle.ranges import choose_boundaries

        live = self._machine.cluster.jobs
        self._boundaries = {k: old for k, old in self._boundaries.items() if k[0] in live}
        # Runs of one version have the same content, so a task that ran again changes nothing here.
        chosen = choose_boundaries([output for _, output in outputs], tasks)
        self._boundaries[key] = (version, chosen)
        return chosen
