"""Partitioned parts: a file for each value of the partition columns, `column=value/part-00003`.

The rows of each value wait in a file of the local disk, and the files of the part are written one
after the other at the end. So a task needs the memory of one writer, however many values it has.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from mrcore.errors import DataError
from mrcore.model import object_names, partition_files
from mrcore.model.partition_files import PartitionFile
from mrcore.model.partition_folders import folder_of
from mrcore.model.task import TaskSpec
from mrcore.records.outputs import PartCounts, shortened
from mrcore.records.row_table import Row
from mrcore.records.writers import check_output_format, open_part
from mrcore.storage.base import ABSENT, Writer
from mrcore.storage.registry import storage_for
from mrcore.util.crc32c import extend_crc32c
from mrcore.util.object_copies import PROTOCOL

MAX_VALUES: Final = 1_000
"""Files of one task: each is an object, and has to be published."""


class PartitionedPart:
    """Writer of rows. Its sink gets the list of the files that it stages."""

    def __init__(self, spec: TaskSpec, sink: Writer, folder: Path) -> None:
        job = spec.job
        check_output_format(job.output_format, job.compression)
        self._spec = spec
        self._sink = sink
        self._folder = folder
        self._columns = job.partition_by
        self._waiting: dict[str, Path] = {}
        """Files of the local disk, by folder of the output."""

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Append rows to the files of their values."""
        by_folder: dict[str, list[Row]] = {}
        for row in rows:
            for column in self._columns:
                if column not in row:
                    raise DataError(
                        f"The row {shortened(row)} lacks the partition column {column!r}. Give it "
                        "a value, which may be None."
                    )
            folder = folder_of(row, self._columns)
            rest = {name: cell for name, cell in row.items() if name not in self._columns}
            if not rest:
                raise DataError(
                    f"The row {shortened(row)} has no column but those that the output is "
                    "partitioned by. Yield another column."
                )
            by_folder.setdefault(folder, []).append(rest)
        for folder, some in by_folder.items():
            with self._path(folder).open("ab") as file:
                pickle.dump(some, file, PROTOCOL)

    def _path(self, folder: str) -> Path:
        path = self._waiting.get(folder)
        if path is None:
            if len(self._waiting) == MAX_VALUES:
                raise DataError(
                    f"One task has rows of more than {MAX_VALUES:,} values of "
                    f"{', '.join(self._columns)} (the last is {folder}), and each is a file. "
                    "Partition by a column with fewer values, or use more reduce tasks whose keys "
                    "begin with it."
                )
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._waiting[folder] = self._folder / f"{len(self._waiting)}.rows"
        return path

    def close(self) -> PartCounts:
        """Stage the files, and pass their list on to the sink."""
        files = [self._stage(number, folder) for number, folder in enumerate(sorted(self._waiting))]
        content = partition_files.encode(files)
        self._sink.write(content)
        return PartCounts(
            records=sum(file.records for file in files),
            size_bytes=sum(file.object.size_bytes for file in files),
            crc32c=extend_crc32c(0, content),
        )

    def _stage(self, number: int, folder: str) -> PartitionFile:
        job, attempt = self._spec.job, self._spec.attempt
        columns = tuple(c for c in job.columns if c[0] not in self._columns)
        uri = object_names.staged_partition_uri(job, attempt, number)
        with storage_for(uri).open_write(uri, expect=ABSENT) as sink:
            part = open_part(sink, job.output_format, job.compression, columns)
            for rows in _pickled(self._waiting[folder]):
                part.write_rows(rows)
            counts = part.close()
            info = sink.commit().with_crc32c(counts.crc32c)
        self._waiting[folder].unlink()
        return PartitionFile(folder, info, counts.records, counts.schema_digest)


def _pickled(path: Path) -> Iterator[list[Row]]:
    """Yield the rows of a file of the local disk, as they were appended."""
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return
