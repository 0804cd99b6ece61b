"""Conversions between the master's own values (events, jobs) and the messages of its services."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from mrcore.errors import UsageError
from mrcore.master.core.events import Synced, WorkerAbout
from mrcore.model.resources import MAX_CPUS
from mrcore.rpc.bounds import number_within, text_within
from mrcore.rpc.convert import labels_from_proto, versions_from_proto
from mrcore.rpc.convert_attempts import held_from_proto
from mrcore.rpc.v1 import job_pb2, worker_service_pb2
from mrcore.util.texts import printable

INPUTS_SHOWN: Final = 100
"""Inputs that are listed in a job's status, at most; a job may have very many."""
MAX_WORKER_ID: Final = 200
MAX_HELD: Final = 10_000
ABOUTS_MAX: Final = 16_384
"""Details of workers that are kept: more than a cluster has workers."""
ABOUT_BYTES_MAX: Final = 1_024
"""Bytes of a host's name and its versions, as far as they are kept."""
_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1


def synced_from_proto(message: worker_service_pb2.SynchronizeRequest, nonce: str) -> Synced:
    """Return what a worker says; raise UsageError for what no worker can say."""
    if len(message.held) > MAX_HELD:
        raise UsageError(f"A worker may hold {MAX_HELD:,} attempts, not {len(message.held):,}.")
    host, versions = message.host, message.versions.SerializeToString(deterministic=True)
    is_short = len(host) + len(versions) <= ABOUT_BYTES_MAX
    about = _about if is_short else _about.__wrapped__
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
        about=about(
            host,
            message.process_id,
            versions,
            message.memory_bytes,
            message.cpus,
            tuple(message.labels),
        ),
    )


@lru_cache(ABOUTS_MAX)
def _about(
    host: str, process: int, versions: bytes, memory: int, cpus: float, labels: tuple[str, ...]
) -> WorkerAbout:
    """Return the details of a worker, which come with each of its requests and hardly change."""
    found = versions_from_proto(job_pb2.Versions.FromString(versions))
    return WorkerAbout(
        host=printable(host, MAX_WORKER_ID),
        process=process,
        python=found.python,
        mrcore=found.mrcore,
        pyarrow=found.pyarrow,
        memory_bytes=memory,
        cpus=number_within(cpus, "the number of CPUs", 0.0, MAX_CPUS),
        labels=labels_from_proto(labels),
    )


def check_stage(stage: str, names: Sequence[str]) -> None:
    """Raise UsageError for the name of a stage that a job does not have; empty means any."""
    if stage and stage not in names:
        raise UsageError(
            f"The job has no stage {printable(stage, 100)!r}. Its stages are {', '.join(names)}."
        )
