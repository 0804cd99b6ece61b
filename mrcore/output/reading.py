"""Reading an output back as text: every part in order, whatever its format and compression."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from mrcore.errors import DataError, NotFoundError
from mrcore.model import object_names
from mrcore.model.formats import format_of_part
from mrcore.model.job import Codec
from mrcore.records.codecs import codec_of
from mrcore.records.decompress import Readable, decompressed
from mrcore.storage.registry import storage_for
from mrcore.util.lazy import load

if TYPE_CHECKING:
    from mrcore.storage.base import ObjectInfo

_CHUNK_BYTES = 1 << 20


def output_parts(output_uri: str) -> list[ObjectInfo]:
    """Return the parts that the receipt names, in order; raise UsageError without a receipt.

    Raises DataError for a part that is missing, or has another size.
    """
    from mrcore.output.receipt import read_receipt

    storage, infos = storage_for(output_uri), []
    for part in read_receipt(output_uri).parts:
        try:
            info = storage.stat(f"{output_uri}/{part.name}")
        except NotFoundError as error:
            problem = str(error).rstrip(".")
            raise DataError(
                f"A part of the output is missing, {problem}. See `mrcore verify`."
            ) from None
        if info.size_bytes != part.size_bytes:
            raise DataError(
                f"{object_names.shown(info.uri)} has {info.size_bytes:,} bytes, and the receipt "
                f"says {part.size_bytes:,}: it was changed or cut. See `mrcore verify`."
            )
        infos.append(info)
    return infos


def output_chunks(output_uri: str) -> Iterator[bytes]:
    """Yield the whole output as text, in chunks; parquet rows as key, tab, value.

    The header that all parts of a csv or tsv output begin with comes once.
    """
    storage = storage_for(output_uri)
    header: bytes | None = None
    for part in output_parts(output_uri):
        with storage.open_read(part.uri, generation=part.generation) as stream:
            try:
                chunks = _text_chunks(part, stream)
                if format_of_part(part.uri).has_header:
                    first, chunks = _header_of(chunks)
                    if first != header:
                        yield first
                    header = header or first
                yield from chunks
            except (OSError, EOFError, ValueError) as error:
                raise DataError(
                    f"{object_names.shown(part.uri)} cannot be read ({error}). Look with "
                    "`mrcore verify`."
                ) from None


def output_lines(output_uri: str) -> Iterator[str]:
    """Yield the lines of the output without their ends; invalid UTF-8 by surrogateescape."""
    rest = b""
    for chunk in output_chunks(output_uri):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "surrogateescape")
    if rest:
        yield rest.decode("utf-8", "surrogateescape")


def _text_chunks(part: ObjectInfo, stream: BinaryIO) -> Iterator[bytes]:
    as_text = format_of_part(part.uri).as_text
    if as_text:
        yield from load(as_text)(part)
        return
    content = _decompressed(part.uri, stream)
    while chunk := content.read(_CHUNK_BYTES):
        yield chunk


def _header_of(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first row of a csv file, and what follows it."""
    read = b""
    for chunk in chunks:
        read += chunk
        end = _end_of_row(read)
        if end:
            return read[:end], chain((read[end:],), chunks)
    return read, chunks


def _end_of_row(text: bytes) -> int:
    """Return the end of the first row; 0 where it is not there. A quoted field may hold lines."""
    end = text.find(b"\n") + 1
    while end and text.count(b'"', 0, end) % 2:
        end = text.find(b"\n", end) + 1
    return end


def _decompressed(name: str, stream: BinaryIO) -> Readable:
    codec = codec_of(name)
    return stream if codec is Codec.NONE else decompressed(stream, codec)
