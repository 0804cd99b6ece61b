"""How a file is compressed, read and cut: by its name, its stored encoding and the job's format."""

from __future__ import annotations

import enum

from mrcore.errors import InputError
from mrcore.model.job import Codec, InputFormat

_CODECS = {
    ".gz": Codec.GZIP,
    ".gzip": Codec.GZIP,
    ".bgz": Codec.GZIP,
    ".tgz": Codec.GZIP,
    ".bz2": Codec.BZIP2,
    ".bzip2": Codec.BZIP2,
    ".tbz2": Codec.BZIP2,
    ".zst": Codec.ZSTD,
    ".zstd": Codec.ZSTD,
    ".tzst": Codec.ZSTD,
    ".xz": Codec.XZ,
    ".txz": Codec.XZ,
    ".lz4": Codec.LZ4,
}
"""Archives are here too: what a tar holds is seen, and refused, once it is decompressed."""
_ENCODINGS = {
    "gzip": Codec.GZIP,
    "x-gzip": Codec.GZIP,
    "bzip2": Codec.BZIP2,
    "x-bzip2": Codec.BZIP2,
    "zstd": Codec.ZSTD,
    "xz": Codec.XZ,
    "lz4": Codec.LZ4,
}
_OTHER_ENCODINGS = frozenset({"br", "compress", "deflate", "x-compress"})
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


def codec_of(name: str, encoding: str = "") -> Codec:
    """Return the compression of a file, by the encoding it is stored under, else by its name.

    Raises InputError for an encoding that cannot be decoded. A `Content-Encoding` that is not one,
    such as `utf-8`, is a common mistake and means nothing.
    """
    encodings = [part.strip().lower() for part in encoding.split(",")]
    known = [part for part in encodings if part in _ENCODINGS or part in _OTHER_ENCODINGS]
    if len(known) > 1 or _OTHER_ENCODINGS.intersection(known):
        raise InputError(
            f"{name} is stored with the content encoding {encoding}, which cannot be read: "
            "store it without one, or with gzip."
        )
    if known:
        return _ENCODINGS[known[0]]
    lower = name.lower()
    return next((c for extension, c in _CODECS.items() if lower.endswith(extension)), Codec.NONE)


def content_of(name: str, input_format: InputFormat) -> InputFormat:
    """Return the format of a file: for `arrow` its extension decides, text being the default.

    An extension of compression is looked through: `x.csv.gz` is csv. Case does not matter.
    """
    if input_format is not InputFormat.ARROW:
        return input_format
    stem = name.lower()
    for extension in _CODECS:
        stem = stem.removesuffix(extension)
    for extension, content in _ARROW_FORMATS.items():
        if stem.endswith(extension):
            return content
    return InputFormat.TEXT


def cut_of(name: str, input_format: InputFormat, codec: Codec) -> Cut:
    """Return where a file of this name and compression may be cut.

    A csv file is never cut: whether a newline ends a row or stands inside quotes depends on every
    byte before it.
    """
    content = content_of(name, input_format)
    if content is InputFormat.PARQUET:
        return Cut.ROW_GROUPS
    if content in (InputFormat.WHOLE, InputFormat.CSV) or codec is not Codec.NONE:
        return Cut.NOWHERE
    return Cut.LINES
