"""The block: some sorted pairs as bytes that can be checked and decoded by themselves.

    magic         4 bytes   MRB1
    CRC32C        u32       of everything after this field
    body_bytes    u32       length of what follows the header
    rows          u32
    raw_bytes     u64       of the decoded columns
    key kind, value kind, has order, has schema    one byte each
    body          [schema as an Arrow IPC message, after its length as u64,] one Arrow IPC batch

All numbers are little-endian. The schema is left out where the kinds say it all. A section of a run
is nothing but blocks, so that whoever knows its offset and length can check every byte of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from mrcore.errors import CorruptRunError, DataError
from mrcore.shuffle.arrow import RecordBatch, pa
from mrcore.shuffle.columns import Columns, KeyKind
from mrcore.shuffle.values import ValueKind
from mrcore.util.crc32c import extend_crc32c

MAGIC: Final = b"MRB1"
MAX_ROWS: Final = 32_768
MAX_BLOCK_BYTES: Final = 1 << 20
"""Size of one block's columns, unless a single row is larger."""

_HEADER: Final = struct.Struct("<4sIIIQBBBB")
_CRC_START: Final = 8
HEADER_BYTES: Final = _HEADER.size
_U32: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<Q")
_MAX_BODY_BYTES: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """Facts of a block before its body is read."""

    crc32c: int
    body_bytes: int
    rows: int
    raw_bytes: int
    key_kind: KeyKind
    value_kind: ValueKind
    has_order: bool
    has_schema: bool

    @classmethod
    def parse(cls, data: bytes) -> BlockHeader:
        """Parse the first `HEADER_BYTES` of a block; raise CorruptRunError."""
        try:
            magic, crc, body, rows, raw, key_kind, value_kind, order, schema = _HEADER.unpack(data)
            if magic != MAGIC:
                raise CorruptRunError("a run is damaged: a block does not begin with its mark")
            kinds = KeyKind(key_kind), ValueKind(value_kind)
            return cls(crc, body, rows, raw, *kinds, bool(order), bool(schema))
        except (struct.error, ValueError):
            raise CorruptRunError("a run is damaged: the header of a block is not one") from None


class BlockEncoder:
    """Makes blocks, with one codec."""

    def __init__(self, codec: str | None) -> None:
        self._plain = pa.ipc.IpcWriteOptions(use_threads=False)
        self._packed = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
        self._plain_blocks = 0

    def encode(self, batch: Columns) -> tuple[bytes, list[bytes | memoryview]]:
        """Return a block of the batch, as its head and the pieces of its body."""
        columns = [batch.keys, batch.values]
        if batch.order is not None:
            columns.append(batch.order)
        record_batch = pa.record_batch(columns, _NAMES[: len(columns)])
        if self._plain_blocks:
            self._plain_blocks -= 1
            body = _message(record_batch, self._plain)
        else:
            body = _message(record_batch, self._packed)
            if len(body) > _WORTHWHILE * batch.size_bytes:
                self._plain_blocks = _PLAIN_BLOCKS
        pieces: list[bytes | memoryview] = [body]
        has_schema = batch.value_kind is ValueKind.ARROW
        if has_schema:
            schema = record_batch.schema.remove_metadata().serialize().to_pybytes()
            pieces.insert(0, _LENGTH.pack(len(schema)) + schema)
        body_bytes = sum(map(len, pieces))
        if body_bytes > _MAX_BODY_BYTES:
            raise DataError("a pair of over 4 GiB cannot be shuffled: emit smaller values")
        header = _HEADER.pack(
            MAGIC, 0, body_bytes, len(batch), batch.size_bytes,
            batch.key_kind, batch.value_kind, batch.order is not None, has_schema,
        )  # fmt: skip
        crc = extend_crc32c(0, header[_CRC_START:])
        for piece in pieces:
            crc = extend_crc32c(crc, piece)
        return MAGIC + _U32.pack(crc) + header[_CRC_START:], pieces


_WORTHWHILE: Final = 0.8
_PLAIN_BLOCKS: Final = 15
"""Number of blocks left uncompressed after one that hardly shrank."""


def _message(batch: RecordBatch, options: Any) -> memoryview:
    """Return the batch as one IPC message: the second of a stream, whose first is the schema.

    `RecordBatch.serialize` makes the same, but takes no codec. No copy is made of the message: a
    value of many megabytes is there often enough while it is encoded.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as stream:
        stream.write_batch(batch)
        end = sink.tell()
    data = sink.getvalue()
    (metadata_bytes,) = _U32.unpack(data.slice(_MARK_BYTES, _U32.size))
    start = _MARK_BYTES + _U32.size + metadata_bytes
    return memoryview(data)[start:end]


_MARK_BYTES: Final = 4
"""An IPC message begins with FFFFFFFF and the length of its metadata."""
_NAMES: Final = ["k", "v", "s"]


def decode_block(header: BlockHeader, head: bytes, body: bytes) -> Columns:
    """Check and decode one block; `head` holds the bytes that `header` was parsed from.

    The columns keep `body` alive where they were not compressed. Raises CorruptRunError.
    """
    crc = extend_crc32c(0, head[_CRC_START:])
    if extend_crc32c(crc, body) != header.crc32c:
        raise CorruptRunError("a run is damaged: the CRC32C of a block is not that of its content")
    try:
        message = pa.py_buffer(body)
        if header.has_schema:
            (length,) = _LENGTH.unpack_from(body)
            start = _LENGTH.size + length
            schema = pa.ipc.read_schema(pa.py_buffer(body[_LENGTH.size : start]))
            message = message.slice(start)
        else:
            schema = _schema(header.key_kind, header.value_kind, header.has_order)
        batch = pa.ipc.read_record_batch(message, schema)
    except (pa.ArrowException, struct.error, OSError, EOFError, TypeError) as error:
        raise CorruptRunError(f"a run is damaged: a block cannot be parsed ({error})") from None
    if batch.num_rows != header.rows:
        raise CorruptRunError("a run is damaged: a block has not as many rows as it says")
    order = batch.column(2) if header.has_order else None
    return Columns(header.key_kind, batch.column(0), header.value_kind, batch.column(1), order)


def _schema(key_kind: KeyKind, value_kind: ValueKind, has_order: bool) -> pa.Schema:
    fields = [pa.field("k", key_kind.type), pa.field("v", value_kind.type)]
    if has_order:
        fields.append(pa.field("s", pa.binary()))
    return pa.schema(fields)


def cut_blocks(batch: Columns, max_bytes: int = MAX_BLOCK_BYTES) -> Iterator[Columns]:
    """Cut a sorted batch into what makes one block each.

    Rows are taken in equal numbers, and halved where their sizes are so uneven that a block would
    grow beyond twice `max_bytes`.
    """
    total = len(batch)
    if not total:
        return
    rows = max(1, min(MAX_ROWS, total * max_bytes // max(1, batch.size_bytes)))
    for start in range(0, total, rows):
        yield from _halved(batch.slice(start, min(rows, total - start)), max_bytes)


def _halved(batch: Columns, max_bytes: int) -> Iterator[Columns]:
    if len(batch) == 1 or batch.size_bytes <= 2 * max_bytes:
        yield batch
        return
    half = len(batch) // 2
    yield from _halved(batch.slice(0, half), max_bytes)
    yield from _halved(batch.slice(half, len(batch) - half), max_bytes)
