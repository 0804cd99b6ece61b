"""Plan of a job, made before its first task: the splits and the number of reduce tasks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mrcore.errors import DataError
from mrcore.model.formats import Cut, file_format
from mrcore.model.job import JobSpec
from mrcore.model.option_rules import check_cut
from mrcore.model.stages import stages_of
from mrcore.model.task import Split
from mrcore.records.inputs import InputFile, expand
from mrcore.records.splits import TOTAL_ORDER_SLOTS, auto_reduces, cut, target_bytes
from mrcore.records.writers import check_output_format
from mrcore.util.decoding import UNREADABLE
from mrcore.util.lazy import load

FORMAT: Final = 2
"""Format of the plans that this version writes."""
FIRST_FORMAT: Final = 1
"""Format of plans in which borders at points of a file, such as row groups, meant other places."""


class _Head(msgspec.Struct, frozen=True):
    """The part of a plan that can be read whatever its format."""

    format: int = FIRST_FORMAT


class Plan(msgspec.Struct, frozen=True):
    """The tasks of a job: one map for each split, `reduces` reduces (0: map-only)."""

    splits: tuple[Split, ...]
    reduces: int
    input_bytes: int
    """Size of all input files, as stored; with a limit, of what is read of them."""
    format: int = FORMAT
    """Number of the format; the first plans lack it."""

    @property
    def splits_by_group(self) -> Mapping[int, int]:
        """Return the number of splits of each input group."""
        return Counter(split.group for split in self.splits)


def make_plan(spec: JobSpec, slots: int) -> Plan:
    """List the input, check its formats and cut it for a cluster of `slots` slots.

    Raises InputError for an input that is missing or of the wrong format, UsageError for an output
    format that cannot be, and StorageError.
    """
    check_output_format(spec.output_format, spec.compression)
    check_cut(spec.map_tasks, spec.records_per_task)
    cut_slots = TOTAL_ORDER_SLOTS if spec.total_order else slots
    listed = expand(
        spec.inputs,
        spec.input_format,
        groups=spec.plugin.groups,
        skip_output=spec.output_uri or None,
    )
    read, input_bytes = limited(listed, spec.limit)
    reduces = _reduces(spec, slots, input_bytes)
    target = target_bytes(input_bytes, cut_slots, spec.map_tasks, reduces=reduces)
    files = _examined(read, target)
    if spec.records_per_task:
        from mrcore.records import counted

        counted.check_counted(files, "--records-per-task")
        splits = counted.cut_by_records(files, spec.records_per_task)
    else:
        splits = cut(files, cut_slots, spec.map_tasks, reduces=reduces)
    return Plan(splits=tuple(splits), reduces=reduces, input_bytes=input_bytes)


def limited(files: Sequence[InputFile], limit: int) -> tuple[Sequence[InputFile], int]:
    """Return the files that have the first `limit` records, and the stored bytes of these.

    A limit of 0 is none. Raises InputError for what cannot be read, UsageError where no records can
    be counted.
    """
    if not limit:
        return files, sum(file.size_bytes for file in files)
    from mrcore.records import counted  # it loads numpy

    counted.check_counted(files, "--limit")
    return counted.first_records(files, limit)


def encode(plan: Plan) -> bytes:
    """Return the plan as an object to be stored."""
    return msgspec.msgpack.encode(plan)


def decode(data: bytes) -> Plan:
    """Return what `encode` encoded; raise DataError for anything else."""
    try:
        written = msgspec.msgpack.decode(data, type=_Head).format
        if written in (FORMAT, FIRST_FORMAT):
            plan = msgspec.msgpack.decode(data, type=Plan)
            if written == FORMAT or not _cuts_at_points(plan):
                return plan
    except UNREADABLE as error:
        raise DataError(
            f"The plan of the job cannot be read ({error}). Submit it again."
        ) from error
    raise DataError(
        "The plan of the job was written by another version of mrcore. Submit it again."
    )


def _cuts_at_points(plan: Plan) -> bool:
    """Return whether a file is cut at points that its format has found."""
    return any(
        piece.end - piece.start < piece.size_bytes and file_format(piece.format).cut is Cut.POINTS
        for split in plan.splits
        for piece in split.pieces
    )


def _reduces(spec: JobSpec, slots: int, input_bytes: int) -> int:
    if all(stage.run_step is None for stage in stages_of(spec)):
        return 0
    return spec.reduces or auto_reduces(input_bytes, slots)


def _examined(files: Sequence[InputFile], target_bytes: int) -> Sequence[InputFile]:
    """Let each format look at its files, and return them with the points at which to cut."""
    by_format: dict[str, list[InputFile]] = defaultdict(list)
    for file in files:
        by_format[file.format].append(file)
    points: dict[str, Sequence[int]] = {}
    for name, group in by_format.items():
        points.update(load(file_format(name).examine)(group, target_bytes))
    if not points:
        return files
    return [
        msgspec.structs.replace(file, cut_points=tuple(points.get(file.uri, ()))) for file in files
    ]
