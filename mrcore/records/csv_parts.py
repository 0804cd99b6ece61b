"""The csv and tsv parts of one output: brought to one header before any of them is published.

The columns of rows are those of each part's first rows, and a part may have no rows at all. So the
parts whose header differs are written anew, with all columns of all parts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Final

from mrcore.model.job import Codec, Compression
from mrcore.records.csv_reader import MAX_FIELD_BYTES
from mrcore.records.csv_writer import CsvLines
from mrcore.records.decompress import Readable, decompressed
from mrcore.records.outputs import Output, PartCounts, rows_digest
from mrcore.records.writers import ROWS
from mrcore.storage.base import ObjectInfo, Writer
from mrcore.storage.registry import storage_for

_BLOCK_BYTES: Final = 1 << 20


class CsvSchemas:
    """The headers of csv or tsv parts, as `mrcore.output.schemas` asks for them."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter

    def schema_of(self, part: ObjectInfo, compression: Compression) -> tuple[str, ...]:
        """Return the columns of a part."""
        with self._rows(part, compression) as rows:
            return tuple(next(rows))

    def join(self, schemas: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
        """Return all columns, in the order in which the parts show them."""
        return tuple(dict.fromkeys(name for schema in schemas.values() for name in schema))

    def digest(self, schema: tuple[str, ...]) -> bytes:
        """Return a digest of columns."""
        return rows_digest(schema)

    def rewrite(
        self, part: ObjectInfo, schema: tuple[str, ...], compression: Compression, sink: Writer
    ) -> PartCounts:
        """Write a part under another header; cells that it lacks are empty."""
        output = Output(sink, compression)
        lines = CsvLines(self._delimiter)
        output.write(_encoded(lines.text([schema])))
        count = 0
        with self._rows(part, compression) as rows:
            names = next(rows)
            places = [names.index(name) if name in names else len(names) for name in schema]
            some: list[list[str]] = []
            for row in rows:
                row.append("")
                some.append([row[place] for place in places])
                count += 1
                if len(some) == ROWS:
                    output.write(_encoded(lines.text(some)))
                    some.clear()
            output.write(_encoded(lines.text(some)))
        output.finish()
        return PartCounts(count, output.size_bytes, output.crc32c, self.digest(schema))

    @contextmanager
    def _rows(self, part: ObjectInfo, compression: Compression) -> Iterator[Iterator[list[str]]]:
        csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_BYTES))
        storage = storage_for(part.uri)
        with storage.open_read(part.uri, 0, part.size_bytes, generation=part.generation) as file:
            content = file if compression is Compression.NONE else _content(file, compression)
            yield csv.reader(_lines(content), delimiter=self._delimiter)


CSV: Final = CsvSchemas(",")
TSV: Final = CsvSchemas("\t")


def _content(file: BinaryIO, compression: Compression) -> Readable:
    return decompressed(file, Codec(compression.value))


def _lines(content: Readable) -> Iterator[str]:
    """Yield the lines of a part with their ends."""
    rest = b""
    while block := content.read(_BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "surrogateescape") + "\n"
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
