"""The files of an output: a part for each task, or those that a partitioned part lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from mrcore.errors import NotFoundError, PreconditionFailedError
from mrcore.model import object_names
from mrcore.model.job import JobSpec
from mrcore.model.partition_files import PartitionFile, decode
from mrcore.model.task import TaskOutput
from mrcore.storage.base import Storage
from mrcore.storage.registry import storage_for
from mrcore.util.crc32c import extend_crc32c

PARALLEL: Final = 16
"""Requests in flight: one to an object store takes some 50 ms, whatever it does."""
_BLOCK_BYTES: Final = 1 << 22


def crc32c_of(storage: Storage, uri: str) -> tuple[int, int]:
    """Read an object; return its CRC32C and its size; raise NotFoundError and StorageErrors."""
    crc = size = 0
    with storage.open_read(uri) as stream:
        while block := stream.read(_BLOCK_BYTES):
            crc = extend_crc32c(crc, block)
            size += len(block)
    return crc, size


class StagedPartMissingError(NotFoundError):
    """Staged parts are gone before they were published; `indexes` says whose."""

    def __init__(self, indexes: Sequence[int]) -> None:
        shown = ", ".join(map(str, indexes[:5])) + (", …" if len(indexes) > 5 else "")
        super().__init__(f"The staged output of part {shown} is gone: its task has to run again.")
        self.indexes = tuple(indexes)


class BadRecordsMissingError(NotFoundError):
    """Stored lists of bad records are gone before they were published; `tasks` names whose."""

    def __init__(self, tasks: Sequence[str]) -> None:
        shown = ", ".join(tasks[:5]) + (", …" if len(tasks) > 5 else "")
        super().__init__(f"The stored bad records of {shown} are gone: its task has to run again.")
        self.tasks = tuple(tasks)


class OutputFile(msgspec.Struct, frozen=True):
    """One file of an output, before it is published."""

    name: str
    """Relative to the output's folder."""
    task: int
    """Number of the task that wrote it."""
    output: TaskOutput
    """The task's output, or the share of it that this file has."""


def with_rewritten(
    files: Sequence[OutputFile], rewritten: Mapping[int, TaskOutput]
) -> list[OutputFile]:
    """Return the files of a job, those in place that `of_one_schema` has staged anew."""
    return [
        msgspec.structs.replace(file, output=rewritten.get(at, file.output))
        for at, file in enumerate(files)
    ]


def output_files(spec: JobSpec, parts: Sequence[TaskOutput | None]) -> list[OutputFile]:
    """Return the files of parts, in order; raise StagedPartMissingError, and StorageErrors."""
    missing = [index for index, part in enumerate(parts) if part is None or part.object is None]
    if missing:
        raise StagedPartMissingError(missing)
    found = [part for part in parts if part is not None]
    names = [
        object_names.part_name(index, spec.output_format, spec.compression)
        for index in range(len(found))
    ]
    if not spec.partition_by:
        return [OutputFile(names[at], at, part) for at, part in enumerate(found)]
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="commit") as pool:
        lists = list(pool.map(_partition_files, range(len(found)), found))
    return [
        OutputFile(
            f"{file.folder}/{names[at]}",
            at,
            TaskOutput(object=file.object, records_out=file.records, digest=file.digest),
        )
        for at, files in enumerate(lists)
        for file in files
    ]


def _partition_files(index: int, part: TaskOutput) -> tuple[PartitionFile, ...]:
    assert part.object is not None
    uri, generation = part.object.uri, part.object.generation
    try:
        return decode(storage_for(uri).read(uri, generation=generation))
    except (NotFoundError, PreconditionFailedError):
        raise StagedPartMissingError([index]) from None
