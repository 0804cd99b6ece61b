"""Inputs cut by records: exact numbers for each task, and the first records of a whole job.

Where records begin is known only to who reads them. So the input is read while the job is planned,
up to the last record that is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from mrcore.errors import DataError, InputError, UsageError
from mrcore.model.formats import Cut, file_format
from mrcore.model.job import MAX_MAPS, Codec
from mrcore.model.task import Piece, Split
from mrcore.records.batches import Batch, BrokenRecordError
from mrcore.records.inputs import InputFile
from mrcore.records.readers import open_batches
from mrcore.records.splits import MAX_PIECES
from mrcore.util.units import show_size

MAX_COUNTED_BYTES: Final = 8 << 30
"""Bytes of input that are read at most while a job is planned."""


def check_counted(files: Sequence[InputFile], option: str) -> None:
    """Raise UsageError for a file whose format has no records to count."""
    for file in files:
        if not file_format(file.format).is_counted:
            raise UsageError(
                f"{option} counts records, and a record of the input format {file.format} is a "
                "block of many. Use another --input-format, or leave the option out."
            )


def first_records(files: Sequence[InputFile], limit: int) -> tuple[list[InputFile], int]:
    """Return the files that have the first `limit` records, and the stored bytes of these.

    The last file ends after them. Its bytes are those of whole batches, where it is compressed.
    """
    reader = _Reader("--limit")
    found: list[InputFile] = []
    left, size_bytes = limit, 0
    for file in files:
        read_bytes = 0
        for batch in reader.batches(file):
            read_bytes += batch.size_bytes
            if left < len(batch.values):
                end = batch.offsets[left]
                if not end:  # an end at the first record of the file leaves nothing of it
                    return found, size_bytes
                ends_there = file_format(file.format).cut is Cut.LINES and file.codec is Codec.NONE
                size_bytes += end if ends_there else min(read_bytes, file.size_bytes)
                return [*found, msgspec.structs.replace(file, end=end)], size_bytes
            left -= len(batch.values)
        found.append(file)
        size_bytes += file.size_bytes
    return found, size_bytes


def cut_by_records(files: Sequence[InputFile], records: int) -> list[Split]:
    """Return splits of `records` records each, in the order of the files.

    A group's last split may have fewer, and one of very many files.
    """
    reader = _Reader("--records-per-task")
    splits: list[tuple[int, list[Piece]]] = []
    room = 0

    def add(file: InputFile, start: int, end: int) -> None:
        splits[-1][1].append(piece_between(file, start, end))

    def begin(group: int) -> None:
        splits.append((group, []))
        if len(splits) > MAX_MAPS:
            raise UsageError(
                f"--records-per-task {records:,} makes more than {MAX_MAPS:,} map tasks. Give a "
                "larger number."
            )

    for file in files:
        start: int | None = None
        """Offset of the first record that no piece has yet."""
        if splits and (splits[-1][0] != file.group or len(splits[-1][1]) == MAX_PIECES):
            room = 0
        for batch in reader.batches(file):
            at = 0
            while at < len(batch.values):
                if not room:
                    if start is not None:
                        add(file, start, batch.offsets[at])
                    begin(file.group)
                    start, room = (batch.offsets[at] if start is not None else 0), records
                elif start is None:
                    start = 0
                taken = min(room, len(batch.values) - at)
                at, room = at + taken, room - taken
        if start is not None:
            add(file, start, file.end)
    return [Split(tuple(pieces), group) for group, pieces in splits]


def piece_between(file: InputFile, start: int, end: int) -> Piece:
    """Return the records of a file that start in [start, end); an end of 0 is that of the file."""
    if file_format(file.format).cut is Cut.LINES and file.codec is Codec.NONE:
        return file.piece(start, end or file.size_bytes)
    # It has to be read from its beginning: its bytes do not show where a record begins.
    whole = file.piece(0, file.size_bytes)
    return msgspec.structs.replace(whole, first_offset=start, end_offset=end)


class _Reader:
    """Reads files to count their records, up to a limit of bytes."""

    def __init__(self, option: str) -> None:
        self._option = option
        self._left_bytes = MAX_COUNTED_BYTES

    def batches(self, file: InputFile) -> Iterator[Batch]:
        """Yield the records of a file that the job reads."""
        if not file.size_bytes and not file_format(file.format).empty_is_record:
            return
        try:
            for batch in open_batches(piece_between(file, 0, file.end), _pass_over):
                self._left_bytes -= batch.size_bytes
                if self._left_bytes < 0:
                    raise UsageError(
                        f"{self._option} reads the input to plan the job, and "
                        f"{show_size(MAX_COUNTED_BYTES)} is the most that is read. Use --map-tasks "
                        "or a smaller number."
                    )
                yield batch
        except DataError as error:
            raise InputError(str(error)) from error


def _pass_over(error: BrokenRecordError) -> None:
    """Leave a broken record to the task that reads it."""
