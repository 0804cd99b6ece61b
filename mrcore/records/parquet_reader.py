"""Records of parquet files, by row groups.

A piece of a parquet file is a byte range, as of any other file; it owns the row groups that start
in it. Where a row group starts is reckoned from the sizes of all (`_starts`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from mrcore.errors import DataError, InputError
from mrcore.model.job import Codec
from mrcore.model.task import Piece
from mrcore.records.batches import Batch, OnBroken
from mrcore.records.inputs import InputFile
from mrcore.records.signatures import HEAD_BYTES, kind_of
from mrcore.records.sources import open_file
from mrcore.storage.registry import storage_for
from mrcore.util.arrow_values import python_values

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_MAGIC = b"PAR1"
_FOOTER_THREADS = 16
DICT_ROWS = 4096
ARROW_ROWS = 65536


def examine(files: Sequence[InputFile], target_bytes: int) -> Mapping[str, Sequence[int]]:
    """Return where each row group starts, of the first file and of those to be cut.

    Raises InputError for a file that is not parquet.
    """
    for file in files:
        # `x.parquet.gz` may be compressed as a whole, or within, as pandas names its files.
        if file.codec is not Codec.NONE and not _starts_as_parquet(file):
            raise InputError(
                f"The input {file.shown} is a compressed parquet file, which cannot be read in "
                "parts: decompress it first."
            )
    wanted = {file.uri: file for file in files if file.size_bytes > target_bytes}
    wanted |= {file.uri: file for file in files[:1]}
    with ThreadPoolExecutor(_FOOTER_THREADS) as pool:
        return dict(zip(wanted, pool.map(row_group_starts, wanted.values()), strict=True))


def row_group_starts(file: InputFile) -> tuple[int, ...]:
    """Return where each row group starts; raise InputError for no parquet file."""
    try:
        with _open(file.piece(0, file.size_bytes)) as parquet:
            return tuple(_starts(parquet.metadata, file.size_bytes))
    except DataError as error:
        raise InputError(str(error)) from error


def _starts_as_parquet(file: InputFile) -> bool:
    """Return whether a file begins as parquet files do."""
    head = storage_for(file.uri).read(file.uri, 0, len(_MAGIC), generation=file.generation)
    return head == _MAGIC


def dict_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the rows of a piece as dicts by column; offsets are row numbers.

    Raises DataError for a file that is not parquet, is damaged, or has changed since it was listed.
    """
    del on_broken  # rows are decoded by groups, so none is skipped
    return _batches(piece, as_arrow=False)


def record_batches(piece: Piece, on_broken: OnBroken) -> Iterator[Batch]:
    """Yield the rows of a piece as record batches; otherwise as `dict_batches`."""
    del on_broken
    return _batches(piece, as_arrow=True)


def _batches(piece: Piece, *, as_arrow: bool) -> Iterator[Batch]:
    with _open(piece) as parquet:
        if not as_arrow:
            _check_names(piece, parquet.schema_arrow.names)
        starts = _starts(parquet.metadata, piece.size_bytes)
        sizes = [*starts[1:], piece.size_bytes]
        row = 0
        for group, start in enumerate(starts):
            rows = parquet.metadata.row_group(group).num_rows
            if piece.start <= start < piece.end:
                yield from _group(piece, parquet, group, row, sizes[group] - start, as_arrow)
            row += rows


def _group(
    piece: Piece, parquet: pq.ParquetFile, group: int, row: int, size_bytes: int, as_arrow: bool
) -> Iterator[Batch]:
    """Yield the rows of one row group, whose first has the number `row` in the file."""
    rows = parquet.metadata.row_group(group).num_rows
    batches = parquet.iter_batches(
        batch_size=ARROW_ROWS if as_arrow else DICT_ROWS, row_groups=[group], use_threads=False
    )
    while (batch := _next(piece, batches)) is not None:
        share = size_bytes * batch.num_rows // max(rows, 1)
        if as_arrow:
            yield Batch(piece, (batch,), (row,), share)
        elif batch.num_rows:
            yield Batch(piece, _dicts(piece, batch), range(row, row + batch.num_rows), share)
        row += batch.num_rows


def _dicts(piece: Piece, batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a batch as dicts by column."""
    names = batch.schema.names
    columns = [
        python_values(
            column,
            f"The column {name!r} of {piece.shown}",
            "use --input-format arrow, or write the file with another type",
        )
        for name, column in zip(names, batch.columns, strict=True)
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _check_names(piece: Piece, names: Sequence[str]) -> None:
    """Raise DataError for a name that two columns have: a dict would hold one of them."""
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise DataError(
            f"{piece.shown} has two columns named {twice[0]!r}. Rename one, or use --input-format "
            "arrow."
        )


def _next(piece: Piece, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    with _readable(piece):
        return next(batches, None)


@contextmanager
def _open(piece: Piece) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(piece) as file:
        try:
            with _readable(piece):
                parquet = pq.ParquetFile(
                    pa.PythonFile(cast(io.IOBase, file), mode="r"),
                    # As nanoseconds, dates before 1677 and after 2262 would wrap around.
                    coerce_int96_timestamp_unit="us",
                )
        except DataError as error:
            file.seek(0)
            kind = kind_of(file.read(HEAD_BYTES))
            if kind is None or kind.name == "parquet":
                raise
            raise DataError(
                f"{piece.shown} is not parquet, but holds {kind.name}: {kind.advice}."
            ) from error
        yield parquet


@contextmanager
def _readable(piece: Piece) -> Iterator[None]:
    """Turn errors of pyarrow into a DataError that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{piece.shown} cannot be read as parquet ({error}). Copy the file again, or choose "
            "the --input-format that it has."
        ) from error


def _starts(metadata: pq.FileMetaData, size_bytes: int) -> list[int]:
    """Return where each row group is taken to start: its share of the file is that of its content.

    The footer says it, too, but with the columns. pyarrow ends the process over a column that it
    cannot make out, which may be encrypted or damaged. Rows at a wrong place would not be read.
    """
    groups = range(metadata.num_row_groups)
    weights = [max(0, metadata.row_group(group).total_byte_size) + 1 for group in groups]
    total = sum(weights)
    return [size_bytes * before // total for before in list(accumulate(weights, initial=0))[:-1]]
