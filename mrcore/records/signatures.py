"""Kinds of files by their first bytes, and advice on those that are not text. Pure.

A file's name may be wrong or say nothing. Bytes that are not text have newlines too: read as lines,
they would let a job succeed with garbage as its output.
"""

from __future__ import annotations

import re

import msgspec

from mrcore.errors import DataError
from mrcore.model.formats import Content
from mrcore.model.job import Codec

HEAD_BYTES = 8000
"""First bytes of content that are looked at."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of file that is not lines of text."""

    name: str
    advice: str
    """Advice on such a file, for the end of a sentence."""
    codec: Codec = Codec.NONE
    """Codec of compressed data."""


_PARQUET = "use --input-format parquet (or arrow, for a name that ends in .parquet)"
_CONVERT = "convert it to parquet, csv or jsonl"
_UNPACK = "unpack it first"
_UTF8 = "convert it to UTF-8, for example by iconv -f {0} -t UTF-8"


def _packed(codec: Codec) -> Kind:
    return Kind(f"{codec} data", f"name it by what it is (.{codec}), or decompress it", codec)


_KINDS = [
    (rb"\x1f\x8b\x08", _packed(Codec.GZIP)),
    (rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)", _packed(Codec.BZIP2)),
    (rb"\x28\xb5\x2f\xfd", _packed(Codec.ZSTD)),
    (rb"\xfd7zXZ\x00", _packed(Codec.XZ)),
    (rb"\x04\x22\x4d\x18", _packed(Codec.LZ4)),
    (rb"PK(?:\x03\x04|\x05\x06)", Kind("a zip archive", _UNPACK)),
    (rb"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (rb"Rar!\x1a\x07", Kind("a rar archive", _UNPACK)),
    (rb".{257}ustar[\x00 ]", Kind("a tar archive", _UNPACK)),
    (rb"\x1f[\x9d\xa0]", Kind("data of the old program compress", "decompress it first")),
    (rb"PAR1[\x00-\x1f]", Kind("parquet", _PARQUET)),
    (rb"PARE[\x00-\x1f]", Kind("encrypted parquet", "write it without encryption")),
    (rb"ORC(?=.{0,200}[\x00-\x08])", Kind("ORC", _CONVERT)),
    (rb"Obj\x01", Kind("Avro", _CONVERT)),
    (rb"ARROW1\x00\x00", Kind("an Arrow file", _CONVERT)),
    (rb"%PDF-\d.{0,20}[\r\n]+%[\x80-\xff]{2}", Kind("a PDF", "extract its text first")),
    # UTF-32 first: its mark begins like that of UTF-16.
    (rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff", Kind("UTF-32 text", _UTF8.format("UTF-32"))),
    (rb"\xff\xfe|\xfe\xff", Kind("UTF-16 text", _UTF8.format("UTF-16"))),
]
_COMPILED = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _KINDS]


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of a file that begins with these bytes; None for text and the unknown."""
    return next((kind for pattern, kind in _COMPILED if pattern.match(head)), None)


def check_head(head: bytes, shown: str, content: Content, codec: Codec) -> None:
    """Raise DataError where a file is not text by the first bytes of its content.

    `codec` is what they were decompressed from, and `content` what the format takes. Where it takes
    NUL bytes, the user's code gets them as they are.
    """
    kind = kind_of(head)
    if kind is not None and (content is not Content.ANY or kind.codec is not Codec.NONE):
        if codec is Codec.NONE:
            raise DataError(f"{shown} holds {kind.name}: {kind.advice}.")
        advice = "decompress it once" if kind.codec is not Codec.NONE else kind.advice
        raise DataError(f"{shown} holds {kind.name} within its {codec} data: {advice}.")
    if content is not Content.TEXT:
        return
    at = head.find(b"\0", 0, HEAD_BYTES)
    if at >= 0:
        raise DataError(
            f"{shown} is not text, because byte {at} is NUL. Choose the --input-format that it "
            "has, or use blocks to read raw bytes."
        )
