"""Between the messages of `worker_service.proto` and the values of `mrcore.model.task`.

This is the hot path of the control plane (once a task and side), so it reads and writes fields
directly and checks only what could do harm: enums, job ids, the lengths of what is journaled, and
times, since a NaN has no order and no JSON.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mrcore.errors import UsageError
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId, is_job_id
from mrcore.model.job import MAX_REDUCES
from mrcore.model.skew import HeavyKey
from mrcore.model.task import (
    MAX_PRINTED_BYTES,
    MAX_RESULT_BYTES,
    BadRecord,
    BlockKey,
    KeyRange,
    Piece,
    Progress,
    RunInput,
    RunSlice,
    Skip,
    Split,
    StoredBadRecords,
    TaskOutput,
    TaskResult,
    TaskWork,
)
from mrcore.plugin.context import MAX_COUNTER_NAME, MAX_COUNTERS
from mrcore.rpc.bounds import check_job_id, text_within
from mrcore.rpc.convert import failure_from_proto, failure_to_proto, mark_from_proto, mark_to_proto
from mrcore.rpc.convert_calls import call_input_from_proto, call_input_to_proto
from mrcore.rpc.convert_objects import object_from_proto, object_to_proto
from mrcore.rpc.enums import CODECS
from mrcore.rpc.v1 import worker_service_pb2
from mrcore.util.texts import printable

MAX_STATUS: Final = 1_024
MAX_RECORD: Final = 1_024
MAX_DIGEST: Final = 64
MAX_KEY_POSITIONS: Final = 10_000
MAX_BLOCKS: Final = 1_000_000
MAX_BAD_RECORDS: Final = 10_000
MAX_ELAPSED_SECONDS: Final = 1e9


def attempt_to_proto(attempt: AttemptId) -> worker_service_pb2.AttemptId:
    """Return the message."""
    task = attempt.task
    return worker_service_pb2.AttemptId(
        job_id=task.job_id,
        stage=task.stage,
        index=task.index,
        epoch=attempt.number.epoch,
        n=attempt.number.n,
    )


def attempt_from_proto(message: worker_service_pb2.AttemptId) -> AttemptId:
    """Return the id; raise UsageError for a job id that cannot be."""
    job_id = message.job_id
    if not is_job_id(job_id):
        check_job_id(job_id)
    task = TaskId(job_id, message.stage, message.index)
    return AttemptId(task, AttemptNumber(message.epoch, message.n))


def output_to_proto(output: TaskOutput) -> worker_service_pb2.TaskOutput:
    """Return the message; texts are cut to their bounds and made valid Unicode.

    Most outputs lack most of the lists, and to pass an empty one costs as much as a number.
    """
    message = worker_service_pb2.TaskOutput(
        object=None if output.object is None else object_to_proto(output.object),
        digest=output.digest,
        records_in=output.records_in,
        records_out=output.records_out,
        bytes_in=output.bytes_in,
        bytes_out=output.bytes_out,
        elapsed_seconds=output.elapsed_seconds,
        class_a=output.class_a,
        class_b=output.class_b,
        result=output.result,
        printed=output.printed[-MAX_PRINTED_BYTES:],
    )
    if output.section_bytes:
        message.section_bytes.extend(output.section_bytes)
    for b in output.blocks:
        message.blocks.add(first_key=b.first_key, length_bytes=b.length_bytes, rows=b.rows)
    if output.number_kinds:
        message.number_kinds.update(output.number_kinds)
    for name, count in output.counters.items():
        message.counters[printable(name, MAX_COUNTER_NAME)] = count
    for bad in output.bad_records:
        message.bad_records.add(
            shown=printable(bad.shown, MAX_RECORD),
            offset=bad.offset,
            cause=printable(bad.cause, MAX_RECORD),
            record=printable(bad.record, MAX_RECORD),
            traceback=printable(bad.traceback, MAX_RECORD),
        )
    if output.heavy_key is not None:
        heavy = output.heavy_key
        message.heavy_key.partition, message.heavy_key.rows = heavy.partition, heavy.rows
        message.heavy_key.shown = printable(heavy.shown, MAX_RECORD)
    if output.stored_bad_records is not None:
        message.stored_bad_records.CopyFrom(_stored_to_proto(output.stored_bad_records))
    return message


def output_from_proto(message: worker_service_pb2.TaskOutput) -> TaskOutput:
    """Return the output; raise UsageError for one that is larger than any task's can be."""
    sections, blocks = message.section_bytes, message.blocks
    kinds, counters, bad_records = message.number_kinds, message.counters, message.bad_records
    digest, result = message.digest, message.result
    _check_size(len(counters), "counters", MAX_COUNTERS)
    _check_size(len(sections), "sections of a run", MAX_REDUCES)
    _check_size(len(blocks), "blocks of a run", MAX_BLOCKS)
    _check_size(len(kinds), "positions of keys", MAX_KEY_POSITIONS)
    _check_size(len(bad_records), "bad records", MAX_BAD_RECORDS)
    _check_size(len(digest), "bytes of a digest", MAX_DIGEST)
    _check_size(len(result), "bytes of a result", MAX_RESULT_BYTES)
    for name in counters:
        text_within(name, "the name of a counter", MAX_COUNTER_NAME)
    return TaskOutput(
        object=object_from_proto(message.object) if message.HasField("object") else None,
        digest=digest,
        section_bytes=tuple(sections),
        blocks=tuple([BlockKey(b.first_key, b.length_bytes, b.rows) for b in blocks]),
        number_kinds=dict(kinds) if kinds else {},
        records_in=message.records_in,
        records_out=message.records_out,
        bytes_in=message.bytes_in,
        bytes_out=message.bytes_out,
        counters=dict(counters) if counters else {},
        bad_records=tuple(map(_bad_record, bad_records)) if bad_records else (),
        stored_bad_records=_stored_from_proto(message),
        heavy_key=_heavy_from_proto(message),
        elapsed_seconds=elapsed_from_proto(message.elapsed_seconds),
        class_a=message.class_a,
        class_b=message.class_b,
        result=result,
        printed=message.printed[-MAX_PRINTED_BYTES:],
    )


def _heavy_from_proto(message: worker_service_pb2.TaskOutput) -> HeavyKey | None:
    if not message.HasField("heavy_key"):
        return None
    heavy = message.heavy_key
    return HeavyKey(heavy.partition, text_within(heavy.shown, "a key", MAX_RECORD), heavy.rows)


def _stored_to_proto(stored: StoredBadRecords) -> worker_service_pb2.StoredBadRecords:
    return worker_service_pb2.StoredBadRecords(
        records=stored.records,
        last_cause=printable(stored.last_cause, MAX_RECORD),
        object=None if stored.object is None else object_to_proto(stored.object),
    )


def _stored_from_proto(message: worker_service_pb2.TaskOutput) -> StoredBadRecords | None:
    if not message.HasField("stored_bad_records"):
        return None
    stored = message.stored_bad_records
    return StoredBadRecords(
        records=stored.records,
        last_cause=printable(stored.last_cause, MAX_RECORD),
        object=object_from_proto(stored.object) if stored.HasField("object") else None,
    )


def _bad_record(bad: worker_service_pb2.BadRecord) -> BadRecord:
    return BadRecord(
        shown=printable(bad.shown, MAX_RECORD),
        offset=bad.offset,
        cause=printable(bad.cause, MAX_RECORD),
        record=printable(bad.record, MAX_RECORD),
        traceback=printable(bad.traceback, MAX_RECORD),
    )


def _check_size(size: int, what: str, limit: int) -> None:
    if size > limit:
        raise UsageError(f"A task reports {size:,} {what}, and {limit:,} is the limit.")


def elapsed_from_proto(seconds: float) -> float:
    """Return a duration that a worker tells, or 0 for what is none."""
    return seconds if 0.0 <= seconds <= MAX_ELAPSED_SECONDS else 0.0


def put_result(message: worker_service_pb2.HeldAttempt, result: TaskResult) -> None:
    """Set how an attempt ended."""
    if isinstance(result, TaskOutput):
        message.output.CopyFrom(output_to_proto(result))
    else:
        message.failure.CopyFrom(failure_to_proto(result))


def result_from_proto(message: worker_service_pb2.HeldAttempt) -> TaskResult | None:
    """Return how an attempt ended, or None for one that has not."""
    match message.WhichOneof("result"):
        case "output":
            return output_from_proto(message.output)
        case "failure":
            return failure_from_proto(message.failure)
        case None:
            return None


def put_progress(message: worker_service_pb2.HeldAttempt, progress: Progress) -> None:
    """Set how far an attempt is."""
    message.fraction = progress.fraction
    message.records = progress.records
    message.bytes = progress.bytes
    if progress.status:
        message.status = printable(progress.status, MAX_STATUS)


def progress_from_proto(message: worker_service_pb2.HeldAttempt) -> Progress:
    """Return how far an attempt is."""
    return Progress(
        fraction=message.fraction if 0.0 <= message.fraction <= 1.0 else 0.0,
        records=message.records,
        bytes=message.bytes,
        status=printable(message.status, MAX_STATUS),
    )


def assignment_to_proto(
    attempt: AttemptId,
    inputs_version: int,
    work: TaskWork | None,
    *,
    mark_records: bool = False,
    skip: tuple[Skip, ...] = (),
) -> worker_service_pb2.Assignment:
    """Return the message; `work` is None where the worker has said that it holds the attempt."""
    message = worker_service_pb2.Assignment(
        attempt=attempt_to_proto(attempt),
        inputs_version=inputs_version,
        mark_records=mark_records,
        skip=[
            worker_service_pb2.Skip(
                mark=mark_to_proto(one.mark),
                cause=one.cause,
                traceback=one.traceback,
                exception=one.exception,
            )
            for one in skip
        ],
    )
    if work is not None:
        message.partitions = work.partitions
        if isinstance(work.read, Split):
            message.split.CopyFrom(split_to_proto(work.read))
        elif isinstance(work.read, RunInput):
            message.runs.CopyFrom(run_input_to_proto(work.read))
        else:
            message.call.CopyFrom(call_input_to_proto(work.read))
    return message


def work_from_proto(message: worker_service_pb2.Assignment) -> TaskWork | None:
    """Return what an assignment asks for; None where the worker is to hold what it has."""
    match message.WhichOneof("read"):
        case "split":
            return TaskWork(split_from_proto(message.split), message.partitions)
        case "runs":
            return TaskWork(run_input_from_proto(message.runs), message.partitions)
        case "call":
            return TaskWork(call_input_from_proto(message.call))
        case None:
            return None


def skip_from_proto(message: worker_service_pb2.Assignment) -> tuple[Skip, ...]:
    """Return the records that the attempt skips."""
    return tuple(
        Skip(mark_from_proto(one.mark), one.cause, one.traceback, one.exception)
        for one in message.skip
    )


def split_to_proto(split: Split) -> worker_service_pb2.Split:
    """Return the message."""
    pieces = [
        worker_service_pb2.Piece(**{**msgspec.structs.asdict(p), "codec": CODECS.to_proto[p.codec]})
        for p in split.pieces
    ]
    return worker_service_pb2.Split(pieces=pieces, group=split.group)


def split_from_proto(message: worker_service_pb2.Split) -> Split:
    """Return the split."""
    pieces = tuple(
        Piece(
            p.uri,
            p.shown,
            p.start,
            p.end,
            p.size_bytes,
            p.generation,
            CODECS.from_proto(p.codec),
            p.format,
            p.first_offset,
            p.end_offset,
        )
        for p in message.pieces
    )
    return Split(pieces, message.group)


def run_input_to_proto(runs: RunInput) -> worker_service_pb2.RunInput:
    """Return the message."""
    slices = [worker_service_pb2.RunSlice(**msgspec.structs.asdict(s)) for s in runs.slices]
    return worker_service_pb2.RunInput(slices=slices, low=runs.keys.low, high=runs.keys.high)


def run_input_from_proto(message: worker_service_pb2.RunInput) -> RunInput:
    """Return what is read."""
    slices = tuple(
        RunSlice(s.stage, s.index, s.uri, s.generation, s.offset, s.length_bytes)
        for s in message.slices
    )
    low = message.low if message.HasField("low") else None
    high = message.high if message.HasField("high") else None
    return RunInput(slices, KeyRange(low, high))
