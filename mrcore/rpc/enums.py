"""The enums of the wire and of Python, side by side: one table each, read in both directions."""

from __future__ import annotations

import enum
from typing import Final, Generic, TypeVar

from mrcore.errors import UsageError
from mrcore.model.attempts import AttemptState
from mrcore.model.job import Codec, Compression, JobState, TaskState
from mrcore.model.master import MasterRole
from mrcore.model.task import FailureKind
from mrcore.rpc.v1 import failure_pb2, job_pb2, master_pb2, worker_service_pb2

_Member = TypeVar("_Member", bound=enum.Enum)
_Number = TypeVar("_Number", bound=int)


class EnumTable(Generic[_Member, _Number]):
    """One enum: `to_proto[member]`, and `from_proto(number)` for numbers that others sent."""

    def __init__(
        self, what: str, to_proto: dict[_Member, _Number], default: _Member | None = None
    ) -> None:
        self.what = what
        self.to_proto: Final = to_proto
        self._from_proto: dict[int, _Member] = {
            number: member for member, number in to_proto.items()
        }
        if default is not None:
            self._from_proto[0] = default

    def from_proto(self, number: int) -> _Member:
        """Return the member; raise UsageError for a number that has none."""
        try:
            return self._from_proto[number]
        except KeyError:
            raise UsageError(
                f"The message has {number} for {self.what}, which means nothing here. Check that "
                "both sides have the same version of mrcore."
            ) from None

    def optional_from_proto(self, number: int) -> _Member | None:
        """Return the member, or None where it was not said."""
        return None if number == 0 else self.from_proto(number)


COMPRESSIONS: Final = EnumTable(
    "the compression",
    {
        Compression.NONE: job_pb2.COMPRESSION_NONE,
        Compression.GZIP: job_pb2.COMPRESSION_GZIP,
        Compression.BZIP2: job_pb2.COMPRESSION_BZIP2,
        Compression.ZSTD: job_pb2.COMPRESSION_ZSTD,
    },
    Compression.NONE,
)
CODECS: Final = EnumTable(
    "the compression of an input",
    {
        Codec.NONE: worker_service_pb2.CODEC_NONE,
        Codec.GZIP: worker_service_pb2.CODEC_GZIP,
        Codec.BZIP2: worker_service_pb2.CODEC_BZIP2,
        Codec.ZSTD: worker_service_pb2.CODEC_ZSTD,
        Codec.XZ: worker_service_pb2.CODEC_XZ,
        Codec.LZ4: worker_service_pb2.CODEC_LZ4,
    },
    Codec.NONE,
)
MASTER_ROLES: Final = EnumTable(
    "the role of a master",
    {
        MasterRole.LEADER: master_pb2.MASTER_ROLE_LEADER,
        MasterRole.STANDBY: master_pb2.MASTER_ROLE_STANDBY,
    },
)
JOB_STATES: Final = EnumTable(
    "the job's state",
    {
        JobState.WAITING: job_pb2.JOB_STATE_WAITING,
        JobState.RUNNING: job_pb2.JOB_STATE_RUNNING,
        JobState.COMMITTING: job_pb2.JOB_STATE_COMMITTING,
        JobState.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
        JobState.FAILED: job_pb2.JOB_STATE_FAILED,
        JobState.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
    },
)
TASK_STATES: Final = EnumTable(
    "the task's state",
    {
        TaskState.IDLE: job_pb2.TASK_STATE_IDLE,
        TaskState.IN_PROGRESS: job_pb2.TASK_STATE_IN_PROGRESS,
        TaskState.COMPLETED: job_pb2.TASK_STATE_COMPLETED,
    },
)
ATTEMPT_STATES: Final = EnumTable(
    "the state of an attempt",
    {
        AttemptState.UNSTARTED: worker_service_pb2.HeldAttempt.STATE_UNSTARTED,
        AttemptState.RUNNING: worker_service_pb2.HeldAttempt.STATE_RUNNING,
        AttemptState.FINISHED: worker_service_pb2.HeldAttempt.STATE_FINISHED,
    },
)
FAILURE_KINDS: Final = EnumTable(
    "the kind of failure",
    {
        FailureKind.USER: failure_pb2.Failure.KIND_USER,
        FailureKind.DATA: failure_pb2.Failure.KIND_DATA,
        FailureKind.INFRASTRUCTURE: failure_pb2.Failure.KIND_INFRASTRUCTURE,
        FailureKind.LOST_INPUT: failure_pb2.Failure.KIND_LOST_INPUT,
        FailureKind.PREEMPTED: failure_pb2.Failure.KIND_PREEMPTED,
    },
)
