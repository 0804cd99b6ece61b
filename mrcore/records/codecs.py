"""Compression of input files, by their names and stored encodings."""

from __future__ import annotations

from mrcore.errors import InputError
from mrcore.model.job import Codec

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


def without_extension(name: str) -> str:
    """Return a name without the extensions of compression: `x.csv` for `x.csv.gz`."""
    stem = name.lower()
    for extension in _CODECS:
        stem = stem.removesuffix(extension)
    return name[: len(stem)]
