"""Between the master's own values (events, jobs) and the messages of its services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from mrcore.errors import UsageError
from mrcore.master.core.events import Synced, WorkerAbout
from mrcore.master.core.views import JobView
from mrcore.model import object_names
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.rpc.convert import failure_to_proto, job_spec_to_proto, text_within, versions_from_proto
from mrcore.rpc.convert_attempts import held_from_proto
from mrcore.rpc.enums import JOB_STATES
from mrcore.rpc.v1 import job_pb2, worker_service_pb2
from mrcore.rpc.views import stage_to_proto
from mrcore.util.texts import printable

INPUTS_SHOWN: Final = 100
"""Inputs of a job that are told with it; a job may have very many."""
MAX_WORKER_ID: Final = 200
MAX_HELD: Final = 10_000
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1


def synced_from_proto(message: worker_service_pb2.SynchronizeRequest, nonce: str) -> Synced:
    """Return what a worker says; raise UsageError for what no worker can say."""
    if len(message.held) > MAX_HELD:
        raise UsageError(f"A worker may hold {MAX_HELD:,} attempts, not {len(message.held):,}.")
    versions = versions_from_proto(message.versions)
    return Synced(
        worker_id=text_within(message.worker_id, "the worker's id", MAX_WORKER_ID, required=True),
        session=message.session,
        sequence=message.sequence,
        epoch=message.epoch,
        slots=message.slots,
        held=tuple(map(held_from_proto, message.held)),
        draining=message.draining,
        sees_store=message.store_nonce == nonce,
        park=message.park,
        about=WorkerAbout(
            host=printable(message.host, MAX_WORKER_ID),
            process=message.process_id,
            python=versions.python,
            mrcore=versions.mrcore,
            pyarrow=versions.pyarrow,
            memory_bytes=message.memory_bytes,
        ),
    )


def check_stage(stage: str, names: Sequence[str]) -> None:
    """Raise UsageError for the name of a stage that a job does not have; empty means any."""
    if stage and stage not in names:
        raise UsageError(
            f"The job has no stage {printable(stage, 100)!r}. Its stages are {', '.join(names)}."
        )


def shown_spec(spec: JobSpec, inputs: int = INPUTS_SHOWN) -> job_pb2.JobSpec:
    """Return the message of a specification with at most so many of its inputs."""
    return job_spec_to_proto(msgspec.structs.replace(spec, inputs=spec.inputs[:inputs]))


def job_to_proto(view: JobView) -> job_pb2.Job:
    """Return the message of a job as it stands."""
    counters, large = _by_size(view.counters)
    message = job_pb2.Job(
        job_id=view.job_id,
        spec=shown_spec(view.spec),
        state=JOB_STATES.to_proto[view.state],
        message=printable(view.message, 8_192),
        stages=[stage_to_proto(stage) for stage in view.stages],
        counters=counters,
        large_counters=large,
        attempts=job_pb2.AttemptCounts(**msgspec.structs.asdict(view.attempts)),
        submitted_seconds=view.submitted_seconds,
        ended_seconds=view.ended_seconds,
        input_bytes=view.input_bytes,
        bad_records=view.bad_records,
        recent_failures=[
            job_pb2.AttemptFailure(
                attempt=_attempt_name(view, recent.attempt),
                worker_id=recent.worker_id,
                failure=failure_to_proto(recent.failure),
            )
            for recent in view.recent_failures
        ],
        note=view.note,
        waits_for=view.waits_for,
    )
    if view.failure is not None:
        message.failure.CopyFrom(failure_to_proto(view.failure))
    return message


def _attempt_name(view: JobView, attempt: AttemptId) -> str:
    return object_names.attempt_name(view.stages[attempt.task.stage].name, attempt)


def _by_size(counters: dict[str, int]) -> tuple[dict[str, int], dict[str, str]]:
    """Return the sums that fit into 64 bits, and in decimal those that do not."""
    large = {name: str(n) for name, n in counters.items() if not _INT64_MIN <= n <= _INT64_MAX}
    return {name: n for name, n in counters.items() if name not in large}, large
