"""Run files: sections of sorted blocks, one for each partition, and a footer.

A run is one object. Readers get the offset and the length of their section (or, in total order, of
their blocks) with their assignment, so they never read the footer; that is for tools and people.

    sections      blocks (`mrcore.shuffle.blocks`), partition by partition, from offset 0
    footer        msgpack of `RunFooter`
    its length    u32
    its CRC32C    u32
    magic         4 bytes   MRF1
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import Final, Protocol

import msgspec

from mrcore.errors import CorruptRunError
from mrcore.model.skew import HEAVY_RUN_ROWS, HeavyKey
from mrcore.model.task import BlockKey
from mrcore.shuffle.blocks import MAX_BLOCK_BYTES, MAX_ROWS, BlockEncoder, cut_blocks
from mrcore.shuffle.columns import Columns, concat
from mrcore.shuffle.digest import RowDigest
from mrcore.shuffle.encoding import decode
from mrcore.shuffle.keys import encoded_key, shown
from mrcore.storage.base import Storage
from mrcore.util.crc32c import extend_crc32c
from mrcore.util.decoding import UNREADABLE

MAGIC: Final = b"MRF1"
"""End of a run: what it is, and the number of its format."""
_TAIL: Final = struct.Struct("<II4s")
_BUFFER_BYTES: Final = 1 << 20
_LARGE_BYTES: Final = 128 << 10
FIRST_KEY_BYTES: Final = 1024
"""Bytes at most of the key by which a block is reported in total order."""
_FULL_ROWS: Final = 100
"""Rows of a block from which it is worth a look whether all have one key."""


class Sink(Protocol):
    """Target of the bytes of a run: a Writer of a store, or a local file."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Append."""
        ...


class SectionFooter(msgspec.Struct, frozen=True, array_like=True):
    """One section of a run."""

    offset: int
    length_bytes: int
    rows: int
    crc32c: int
    """Checksum of all bytes of the section."""


class RunFooter(msgspec.Struct, frozen=True):
    """Description that a run has of itself."""

    kinds: tuple[tuple[str, str], ...]
    """Representation of keys and values in blocks: nearly always one pair for all of them."""
    sections: tuple[SectionFooter, ...]


class RunWriter:
    """Writes one run; rows come section by section, and sorted within.

    With `first_keys`, `blocks` has the first key, length and rows of every block. The key is cut
    behind the first byte in which it differs from the key before, or after `FIRST_KEY_BYTES`.
    """

    def __init__(
        self,
        sink: Sink,
        codec: str | None,
        block_bytes: int = MAX_BLOCK_BYTES,
        *,
        first_keys: bool = False,
    ) -> None:
        self._sink = sink
        self._encoder = BlockEncoder(codec)
        self._block_bytes = block_bytes
        self._first_keys = first_keys
        self._block_rows: int | None = None
        self._pieces: list[bytes | memoryview] = []
        self._pieces_bytes = 0
        self._waiting: list[Columns] = []
        self._waiting_bytes = 0
        self._waiting_rows = 0
        self._section_start = 0
        self._section_rows = 0
        self._section_crc = 0
        self._last_key = b""
        self._kinds: set[tuple[str, str]] = set()
        self._digest = RowDigest()
        self.size_bytes = 0
        self.largest_block_bytes = 0
        self.rows = 0
        self.sections: list[SectionFooter] = []
        self.blocks: list[BlockKey] = []
        self._filling = (0, b"", 0)
        """Partition, key and rows of the blocks before that have one key in all rows."""
        self._fullest = (0, b"", 0)

    @property
    def heavy_key(self) -> HeavyKey | None:
        """Return the key that fills the most blocks, if these have many rows."""
        partition, key, rows = self._fullest
        return HeavyKey(partition, shown(decode(key)), rows) if rows >= HEAVY_RUN_ROWS else None

    def cut_every(self, rows: int) -> None:
        """Begin a block every `rows` rows of a section, however these come."""
        self._block_rows = rows

    def add(self, batch: Columns) -> None:
        """Append sorted rows to the section, however many or few."""
        self._waiting.append(batch)
        self._waiting_bytes += batch.size_bytes
        self._waiting_rows += len(batch)
        if self._block_rows is not None:
            if self._waiting_rows >= self._block_rows:
                self._write_full(self._block_rows)
        elif self._waiting_bytes >= self._block_bytes or self._waiting_rows >= MAX_ROWS:
            self._write_waiting()

    def end_section(self) -> None:
        """End the section; the next batch belongs to the next partition."""
        self._write_waiting()
        length = self.size_bytes - self._section_start
        self.sections.append(
            SectionFooter(self._section_start, length, self._section_rows, self._section_crc)
        )
        self._digest.end_section()
        self._section_start, self._section_rows, self._section_crc = self.size_bytes, 0, 0

    def finish(self) -> bytes:
        """Write the footer and return the digest of the run's rows."""
        footer = RunFooter(tuple(sorted(self._kinds)), tuple(self.sections))
        content = msgspec.msgpack.encode(footer)
        tail = _TAIL.pack(len(content), extend_crc32c(0, content), MAGIC)
        self._push(content + tail)
        self._flush()
        return self._digest.finish()

    def _write_full(self, block_rows: int) -> None:
        """Write what waits but for the rows of a block that is not full."""
        batch = concat(self._waiting)
        rest = len(batch) % block_rows
        self._waiting.clear()
        for start in range(0, len(batch) - rest, block_rows):
            self._write(batch.slice(start, block_rows))
        if rest:
            self._waiting.append(batch.slice(len(batch) - rest, rest))
        self._waiting_rows = rest

    def _write_waiting(self) -> None:
        if self._waiting:
            batch = concat(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = self._waiting_rows = 0
            self._write(batch)

    def _write(self, batch: Columns) -> None:
        for block in cut_blocks(batch, self._block_bytes):
            head, body = self._encoder.encode(block)
            length = len(head) + sum(map(len, body))
            self._kinds.add((block.key_kind.name.lower(), block.value_kind.name.lower()))
            self._digest.add(block)
            for piece in (head, *body):
                self._section_crc = extend_crc32c(self._section_crc, piece)
                self._push(piece)
            self._section_rows += len(block)
            self.rows += len(block)
            self.largest_block_bytes = max(self.largest_block_bytes, block.size_bytes)
            if len(block) >= _FULL_ROWS and not self._first_keys:
                self._compare_keys(block)
            if self._first_keys:
                first = separator(self._last_key, encoded_key(block.key_kind, block.keys, 0))
                self.blocks.append(BlockKey(first, length, len(block)))
                self._last_key = encoded_key(block.key_kind, block.keys, len(block) - 1)

    def _compare_keys(self, block: Columns) -> None:
        """Count the rows of a block if all have one key: rows are sorted, so the ends decide."""
        key = encoded_key(block.key_kind, block.keys, 0)
        if key != encoded_key(block.key_kind, block.keys, len(block) - 1):
            return
        partition, before, rows = self._filling
        if (partition, before) != (len(self.sections), key):
            partition, rows = len(self.sections), 0
        self._filling = (partition, key, rows + len(block))
        self._fullest = max(self._fullest, self._filling, key=itemgetter(2))

    def _push(self, data: bytes | memoryview) -> None:
        self._pieces.append(data)
        self._pieces_bytes += len(data)
        self.size_bytes += len(data)
        if self._pieces_bytes >= _BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        # Large pieces are not worth a copy, small ones are not worth a call.
        few = self._pieces_bytes >= _LARGE_BYTES * len(self._pieces)
        for data in self._pieces if few else [b"".join(self._pieces)]:
            self._sink.write(data)
        self._pieces.clear()
        self._pieces_bytes = 0


def separator(before: bytes, key: bytes) -> bytes:
    """Return the shortest beginning of `key` that is above `before`, a key not above it.

    Where these share more than `FIRST_KEY_BYTES` it is no longer than that, and not above.
    """
    if not before:
        return key[:FIRST_KEY_BYTES]
    pairs = enumerate(zip(before, key, strict=False))
    common = next((at for at, (one, other) in pairs if one != other), min(len(before), len(key)))
    return key[: min(common + 1, FIRST_KEY_BYTES)]


def read_footer(storage: Storage, uri: str) -> RunFooter:
    """Return the footer of a run; raise CorruptRunError."""
    size = storage.stat(uri).size_bytes
    tail = storage.read(uri, max(0, size - _TAIL.size), size)
    try:
        length, crc, magic = _TAIL.unpack(tail)
        content = storage.read(uri, max(0, size - _TAIL.size - length), size - _TAIL.size)
        if magic != MAGIC and magic[:3] == MAGIC[:3]:
            raise CorruptRunError(f"{uri} was written by another version of mrcore")
        if magic != MAGIC or extend_crc32c(0, content) != crc:
            raise CorruptRunError(f"{uri} is damaged: its footer fails its CRC32C")
        return msgspec.msgpack.decode(content, type=RunFooter)
    except (struct.error, *UNREADABLE):
        raise CorruptRunError(f"{uri} is damaged: its footer cannot be parsed") from None
