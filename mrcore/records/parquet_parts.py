"""The parquet parts of one output: brought to one schema before any of them is published.

A part knows the types of its own pairs only: of an empty part, or of a column of None, they are
null, and a field of a dict may show in some parts only. Readers of a folder take the schema of one
part for all of them, so the parts that differ are written anew. So are those whose schema grew.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mrcore.errors import DataError
from mrcore.model.job import Compression
from mrcore.records.outputs import Output, PartCounts
from mrcore.records.parquet_file import PartFile, files_of, schema_digest
from mrcore.storage.base import ObjectInfo, Writer
from mrcore.storage.registry import storage_for
from mrcore.util.arrow_values import python_values

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS: Final = frozenset((pa.int64(), pa.float64()))


def schema_of(part: ObjectInfo, compression: Compression) -> pa.Schema:
    """Return the schema of a part; raise StorageErrors."""
    del compression
    schemas = {}
    for number, place in enumerate(files_of(part)):
        with _open(part, place) as file:
            schemas[number] = file.schema_arrow
    return join_schemas(schemas)


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
    """Return the type that holds the values of both, None where there is none."""
    if {one, other} == _NUMBERS:
        return pa.float64()
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
    written = PartFile(output, compression)
    rows = 0
    for place in files_of(part):
        with _open(part, place) as file:
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group)
                written.write(schema, [_column(table, field) for field in schema])
                rows += table.num_rows
    written.close(schema)
    return PartCounts(rows, output.size_bytes, output.crc32c, schema_digest(schema))


def _column(table: pa.Table, field: pa.Field[Any]) -> pa.Array[Any]:
    """Return a column as the field of a schema has it: null where the table lacks it."""
    if field.name not in table.column_names:
        nothing: pa.Array[Any] = pa.nulls(table.num_rows, field.type)
        return nothing
    column: Any = table.column(field.name)
    try:
        found: pa.Array[Any] = column.cast(field.type).combine_chunks()
    except pa.ArrowException as error:
        raise DataError(
            f"The column {field.name!r} has the type {column.type} in one part of the output, and "
            f"{field.type} holds not all of its values as they are ({error}). Emit one type, or "
            "choose another --output-format."
        ) from error
    return found


@contextmanager
def _open(part: ObjectInfo, place: tuple[int, int]) -> Iterator[pq.ParquetFile]:
    """Open the file at this place of a part."""
    storage = storage_for(part.uri)
    with storage.open_read(part.uri, *place, generation=part.generation) as stream:
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
