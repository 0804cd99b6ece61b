"""What a file's name and the job's input format say about how the file is read and cut."""

from __future__ import annotations

import enum

from mrcore.job import Compression, InputFormat

_COMPRESSIONS = {
    ".gz": Compression.GZIP,
    ".bz2": Compression.BZIP2,
    ".zst": Compression.ZSTD,
    ".zstd": Compression.ZSTD,
}
_ARROW_FORMATS = {
    ".csv": InputFormat.CSV,
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".parquet": InputFormat.PARQUET,
}


class Cut(enum.Enum):
    """Where a file may be cut into pieces."""

    LINES = enum.auto()
    """Anywhere: a line belongs to the piece in which it starts."""
    ROW_GROUPS = enum.auto()
    """Between the row groups of a parquet file."""
    NOWHERE = enum.auto()
    """The file is one piece, however large."""


def compression_of(name: str) -> Compression:
    """Return how a file of this name is compressed, by its extension."""
    for extension, compression in _COMPRESSIONS.items():
        if name.endswith(extension):
            return compression
    return Compression.NONE


def content_of(name: str, input_format: InputFormat) -> InputFormat:
    """Return what lies in a file: for `arrow` its extension decides, text being the default.

    An extension of compression is looked through: `x.csv.gz` is csv.
    """
    if input_format is not InputFormat.ARROW:
        return input_format
    stem = name
    for extension in _COMPRESSIONS:
        stem = stem.removesuffix(extension)
    for extension, content in _ARROW_FORMATS.items():
        if stem.endswith(extension):
            return content
    return InputFormat.TEXT


def cut_of(name: str, input_format: InputFormat) -> Cut:
    """Return where a file of this name may be cut.

    A csv file is never cut: whether a newline ends a row or stands inside quotes depends on every
    byte before it.
    """
    content = content_of(name, input_format)
    if content is InputFormat.PARQUET:
        return Cut.ROW_GROUPS
    if content in (InputFormat.WHOLE, InputFormat.CSV):
        return Cut.NOWHERE
    if compression_of(name) is not Compression.NONE:
        return Cut.NOWHERE
    return Cut.LINES
