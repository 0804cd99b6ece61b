"""The parquet parts of one output: brought to one schema before any of them is published.

A part knows the types of its own pairs only: of an empty part, or of a column of None, they are
null, and a field of a dict may show in some parts only. Readers of a folder take the schema of one
part for all of them, so the parts that differ are written anew.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mrcore.errors import DataError
from mrcore.model.job import Compression
from mrcore.records.outputs import Output, PartCounts
from mrcore.records.parquet_file import open_writer, schema_digest
from mrcore.storage.base import ObjectInfo, Writer
from mrcore.storage.registry import storage_for
from mrcore.util.arrow_values import python_values

if TYPE_CHECKING:
    from collections.abc import Iterator


def schema_of(part: ObjectInfo, compression: Compression) -> pa.Schema:
    """Return the schema of a part; raise StorageErrors."""
    del compression
    with _open(part) as file:
        return file.schema_arrow


def join_schemas(schemas: Mapping[int, pa.Schema]) -> pa.Schema:
    """Return the schema that all parts can be brought to; raise DataError with two that differ."""
    joined: dict[str, pa.DataType] = {}
    shown_by: dict[str, int] = {}
    """Part that shows the type of a column."""
    for index, schema in schemas.items():
        for name in schema.names:
            kind = schema.field(name).type
            before = joined.get(name, pa.null())
            found = _join(before, kind)
            if found is None:
                raise DataError(
                    f"The column {name!r} has the type {before} in part {shown_by[name]} and "
                    f"{kind} in part {index}. Parquet needs one type for all parts: emit one, or "
                    "choose another --output-format."
                )
            if name not in shown_by or not found.equals(before):
                joined[name], shown_by[name] = found, index
    return pa.schema(list(joined.items()))


def _join(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of both as they are, None where there is none."""
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if isinstance(one, pa.ListType) and isinstance(other, pa.ListType):
        below = _join(one.value_type, other.value_type)
        return None if below is None else pa.list_(one.value_field.with_type(below))
    if isinstance(one, pa.Decimal128Type) and isinstance(other, pa.Decimal128Type):
        return pa.decimal128(max(one.precision, other.precision), max(one.scale, other.scale))
    if isinstance(one, pa.StructType) and isinstance(other, pa.StructType):
        return _join_structs(one, other)
    return None


def _join_structs(one: pa.StructType, other: pa.StructType) -> pa.DataType | None:
    fields = {field.name: field.type for field in one.fields}
    for field in other.fields:
        joined = _join(fields.get(field.name, pa.null()), field.type)
        if joined is None:
            return None
        fields[field.name] = joined
    return pa.struct(list(fields.items()))


def rewrite(
    part: ObjectInfo, schema: pa.Schema, compression: Compression, sink: Writer
) -> PartCounts:
    """Write a part with another schema, a row group at a time; the caller commits the sink."""
    output = Output(sink, Compression.NONE)
    rows = 0
    with _open(part) as file:
        writer = open_writer(output, schema, compression)
        for group in range(file.metadata.num_row_groups):
            try:
                table = _with_columns(file.read_row_group(group), schema)
            except pa.ArrowException as error:
                raise DataError(
                    f"A part of the output cannot be brought to the types of the others ({error}): "
                    "emit one type, or choose another --output-format."
                ) from error
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            rows += table.num_rows
        writer.close()
    output.finish()
    return PartCounts(rows, output.size_bytes, output.crc32c, schema_digest(schema))


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; those that it lacks are null."""
    columns: list[Any] = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def _open(part: ObjectInfo) -> Iterator[pq.ParquetFile]:
    storage = storage_for(part.uri)
    with storage.open_read(part.uri, 0, part.size_bytes, generation=part.generation) as stream:
        yield pq.ParquetFile(pa.PythonFile(cast(io.IOBase, stream), mode="r"))


def text_chunks(part: ObjectInfo) -> Iterator[bytes]:
    """Yield the rows of a part as lines: cells as text, with tabs between them."""
    # A footer comes last and columns lie apart, so the part is read whole; parts are moderate.
    data = storage_for(part.uri).read(part.uri, generation=part.generation)
    for batch in pq.ParquetFile(pa.BufferReader(data)).iter_batches():
        columns = [
            python_values(column, f"The column {name!r} of {part.uri}", "read it with pyarrow")
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        text = io.StringIO()
        for row in zip(*columns, strict=True):
            cells = ("" if cell is None else _shown(cell) for cell in row)
            text.write("\t".join(cells) + "\n")
        yield text.getvalue().encode("utf-8", "surrogateescape")


def _shown(cell: Any) -> str:
    return cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else str(cell)


class ParquetSchemas:
    """The schemas of parquet parts, as `mrcore.output.schemas` asks for them."""

    schema_of = staticmethod(schema_of)
    join = staticmethod(join_schemas)
    digest = staticmethod(schema_digest)
    rewrite = staticmethod(rewrite)
