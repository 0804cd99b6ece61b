"""What a job will do, worked out before its first task: the splits and the number of reduces."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from mrcore.errors import DataError, InputError
from mrcore.model.job import Codec, JobSpec
from mrcore.model.task import Split
from mrcore.records.formats import Cut, content_of, cut_of
from mrcore.records.inputs import InputFile, expand
from mrcore.records.sources import check_first_bytes
from mrcore.records.splits import auto_reduces, cut, target_bytes
from mrcore.records.writers import check_output_format

TOTAL_ORDER_SLOTS = 8
"""For which the input is cut in total order: borders between parts are keys at which blocks of runs
begin, so with other splits, as other numbers of workers have them, the parts would differ."""
_FOOTER_THREADS = 16


class Plan(msgspec.Struct, frozen=True):
    """The tasks of a job: one map for each split, `reduces` reduces (0: map-only)."""

    splits: tuple[Split, ...]
    reduces: int
    input_bytes: int
    """Size of all input files, as stored."""


def make_plan(spec: JobSpec, slots: int) -> Plan:
    """List the input, check its formats and cut it for a cluster of `slots` slots.

    Raises InputError for an input that is missing or of the wrong format, UsageError for an output
    format that cannot be, and StorageError.
    """
    check_output_format(spec.output_format, spec.compression)
    cut_slots = TOTAL_ORDER_SLOTS if spec.total_order else slots
    listed = expand(spec.inputs, spec.output_uri)
    input_bytes = sum(file.size_bytes for file in listed)
    _look_at_first(listed, spec)
    files = _with_row_groups(listed, spec, target_bytes(input_bytes, cut_slots))
    return Plan(
        splits=tuple(cut(files, spec.input_format, cut_slots)),
        reduces=_reduces(spec, slots, input_bytes),
        input_bytes=input_bytes,
    )


def encode(plan: Plan) -> bytes:
    """Return the plan as an object to be stored."""
    return msgspec.msgpack.encode(plan)


def decode(data: bytes) -> Plan:
    """Return what `encode` encoded; raise DataError for anything else."""
    try:
        return msgspec.msgpack.decode(data, type=Plan)
    except msgspec.MsgspecError as error:
        raise DataError(
            f"The plan of the job cannot be read ({error}). Submit it again."
        ) from error


def _reduces(spec: JobSpec, slots: int, input_bytes: int) -> int:
    if spec.map_only:
        return 0
    return spec.reduces or auto_reduces(input_bytes, slots)


def _look_at_first(files: Sequence[InputFile], spec: JobSpec) -> None:
    """Raise InputError where the first file with content is not of the format, by its first bytes.

    A wrong format is mostly that of all files, and is reported before any task starts. Tasks look
    at each file that they read.
    """
    lines = (file for file in files if file.size_bytes and not _is_parquet(file, spec))
    first = next(lines, None)
    if first is None:
        return
    try:
        check_first_bytes(
            first.piece(0, first.size_bytes), content_of(first.uri, spec.input_format)
        )
    except DataError as error:
        raise InputError(str(error)) from error


def _is_parquet(file: InputFile, spec: JobSpec) -> bool:
    return cut_of(file.uri, spec.input_format, file.codec) is Cut.ROW_GROUPS


def _with_row_groups(files: Sequence[InputFile], spec: JobSpec, target: int) -> Sequence[InputFile]:
    """Read the footers of parquet files: of the large ones to cut them, of the first to check it.

    Raises InputError for a file that is no parquet file.
    """
    from mrcore.records.parquet_reader import row_group_starts, starts_as_parquet

    parquet = [file for file in files if _is_parquet(file, spec)]
    for file in parquet:
        # `x.parquet.gz` may be compressed as a whole, or within, as pandas names its files.
        if file.codec is not Codec.NONE and not starts_as_parquet(file):
            raise InputError(
                f"The input {file.shown} is a compressed parquet file, which cannot be read in "
                "parts. Decompress it first."
            )
    wanted = {file.uri: file for file in parquet if file.size_bytes > target}
    wanted |= {file.uri: file for file in parquet[:1]}
    if not wanted:
        return files
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        starts = dict(zip(wanted, pool.map(row_group_starts, wanted.values()), strict=True))
    return [
        msgspec.structs.replace(file, row_group_starts=starts.get(file.uri, ())) for file in files
    ]
