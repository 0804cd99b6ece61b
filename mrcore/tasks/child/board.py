"""Board of a child: a page of memory that shows its agent what it does at this moment.

Both processes map it. It is written without a system call, and can be read after the child has
died.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from typing import Self

from mrcore.model.skipping import item_mark, marked_function
from mrcore.model.task import Mark, Progress
from mrcore.plugin.running import CALL, NOTED, note_in


@dataclass(frozen=True, slots=True)
class BoardView:
    """Content of the board."""

    begun: int
    """Orders that the child has taken so far, the running one included."""
    started_at: float
    """Start of the running one: `Clock.monotonic()`, which all processes share."""
    progress: Progress
    function: str
    """Name of the user's function that runs; empty for code of ours."""
    mark: Mark | None
    """The record that `map` is at, the key of `reduce` or `combine`, where these are marked, or the
    item of a call."""
    visit: int = 0
    """Number of the call with this key: `combine` gets the same one now and again."""


class _Slot:
    """Place on the page for the record or key that one function is at."""

    _OFFSET = struct.Struct("<Q")
    _VISIT = struct.Struct("<Q")
    _LENGTH = struct.Struct("<H")
    _MAX_URI = 4_096
    SIZE = (_OFFSET.size + _VISIT.size + _LENGTH.size + _MAX_URI + 7) & ~7

    def __init__(self, page: mmap.mmap, at: int) -> None:
        self._page = page
        self._at = at
        self._visit_at = at + self._OFFSET.size
        self._length_at = self._visit_at + self._VISIT.size
        self._uri_at = self._length_at + self._LENGTH.size
        self._written: str | None = None
        self._visit = 0

    def clear(self) -> None:
        self._written = None
        self._LENGTH.pack_into(self._page, self._length_at, 0)

    def write(self, uri: str, offset: int) -> None:
        self._OFFSET.pack_into(self._page, self._at, offset)
        if uri is not self._written:
            data = uri.encode("utf-8", "surrogateescape")[: self._MAX_URI]
            self._page[self._uri_at : self._uri_at + len(data)] = data
            self._LENGTH.pack_into(self._page, self._length_at, len(data))
            self._written = uri

    def count_visit(self) -> None:
        """Note that what is written here begins anew."""
        self._visit += 1
        self._VISIT.pack_into(self._page, self._visit_at, self._visit)

    def read_visit(self) -> int:
        (visit,) = self._VISIT.unpack_from(self._page, self._visit_at)
        return int(visit)

    def read(self) -> Mark | None:
        (length,) = self._LENGTH.unpack_from(self._page, self._length_at)
        if not 0 < length <= self._MAX_URI:
            return None
        uri = self._page[self._uri_at : self._uri_at + length].decode("utf-8", "surrogateescape")
        (offset,) = self._OFFSET.unpack_from(self._page, self._at)
        return Mark(uri, offset)


class Board:
    """The page that a child writes and its agent reads.

    It is a `ProgressSink` for the task. Values that belong together are guarded by a version that
    is odd while they change. Marks are not: they are read when the writer is dead, or when it has
    been at the same one for long.
    """

    _MAX_STATUS = 1_024
    _VERSION = struct.Struct("<Q")
    _STATE = struct.Struct("<QddQQH")
    _STATE_AT = 8
    _STATUS_AT = _STATE_AT + _STATE.size
    _FUNCTION_AT = _STATUS_AT + _MAX_STATUS
    _SLOTS_AT = (_FUNCTION_AT + 1 + 7) & ~7
    _MARKED = ("map", "reduce", "combine", CALL)
    """Functions that have a slot each. One may run while another waits for it, as `combine` runs
    between two pairs of `map`."""
    SIZE = _SLOTS_AT + _Slot.SIZE * len(_MARKED)

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, self.SIZE)
        self._version = 0
        self._begun = 0
        self._started_at = 0.0
        self._progress = Progress()
        self._status = b""
        self._slots = {
            function: _Slot(self._page, self._SLOTS_AT + number * _Slot.SIZE)
            for number, function in enumerate(self._MARKED)
        }
        self._records = self._slots["map"]

    @classmethod
    def create(cls) -> tuple[Self, int]:
        """Return a new board and the descriptor of its memory, for the child."""
        descriptor = os.memfd_create("mrcore-board")
        try:
            os.ftruncate(descriptor, cls.SIZE)
            return cls(descriptor), descriptor
        except OSError:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Unmap the page."""
        self._page.close()

    def note_functions(self) -> None:
        """Have this process note the user's function that runs on this board."""
        note_in(self._page, self._FUNCTION_AT)

    def begin(self, now: float) -> None:
        """Note that the next order has been taken."""
        self._begun += 1
        self._started_at = now
        self._status = b""
        for slot in self._slots.values():
            slot.clear()
        self._page[self._FUNCTION_AT] = 0
        self.update(0.0, 0, 0)

    def begin_item(self, now: float, done: int, items: int) -> None:
        """Note that the next item of a call begins: a limit on its time starts anew."""
        self._started_at = now
        mark = item_mark(done)
        self._slots[CALL].write(mark.uri, mark.offset)
        self.update(done / items, done, 0)

    def end_items(self) -> None:
        """Note that all items of a call have ended."""
        self._slots[CALL].clear()

    def update(self, fraction: float, records: int, bytes: int) -> None:  # noqa: A002 - ProgressSink
        """Note how far the task is."""
        self._progress = Progress(fraction, records, bytes)
        self._write()

    def status(self, text: str) -> None:
        """Note what user code says of itself."""
        self._status = text.encode("utf-8", "replace")[: self._MAX_STATUS]
        self._write()

    def mark(self, piece_uri: str, offset: int) -> None:
        """Note the record that is about to be mapped; this is called for every record."""
        self._records.write(piece_uri, offset)

    def mark_key(self, mark: Mark) -> None:
        """Note the key that `reduce` or `combine` is about to take."""
        slot = self._slots[marked_function(mark)]
        slot.write(mark.uri, mark.offset)
        slot.count_visit()

    def leave_keys(self, function: str) -> None:
        """Note that `reduce` or `combine` is at no key."""
        self._slots[function].clear()

    def _write(self) -> None:
        page, progress, status = self._page, self._progress, self._status
        self._version += 1
        self._VERSION.pack_into(page, 0, self._version)
        self._STATE.pack_into(
            page, self._STATE_AT, self._begun, self._started_at,
            progress.fraction, progress.records, progress.bytes, len(status),
        )  # fmt: skip
        page[self._STATUS_AT : self._STATUS_AT + len(status)] = status
        self._version += 1
        self._VERSION.pack_into(page, 0, self._version)

    def read(self) -> BoardView:
        """Return what the child says at this moment (or said last)."""
        page = self._page
        for _ in range(100):
            (before,) = self._VERSION.unpack_from(page, 0)
            state = self._STATE.unpack_from(page, self._STATE_AT)
            begun, started_at, fraction, records, size, length = state
            length = min(length, self._MAX_STATUS)
            status = page[self._STATUS_AT : self._STATUS_AT + length]
            (after,) = self._VERSION.unpack_from(page, 0)
            if before == after and not before & 1:
                break
        # A child that died while it wrote leaves the version odd: what is there is good enough.
        progress = Progress(fraction, records, size, status.decode("utf-8", "replace"))
        number = page[self._FUNCTION_AT]
        function = NOTED[number] if number < len(NOTED) else ""
        # Whatever dies elsewhere than in `map` does not die of the record that map had last, and
        # likewise with other functions and their keys.
        slot = self._slots.get(function)
        if slot is None:
            return BoardView(begun, started_at, progress, function, None)
        return BoardView(begun, started_at, progress, function, slot.read(), slot.read_visit())
