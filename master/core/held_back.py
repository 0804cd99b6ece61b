"""Queue of what may leave the master only once the facts before it are durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

HELD_BACK_MAX: Final = 20_000
"""Entries that wait before those that nobody waits for are dropped."""

T = TypeVar("T")


class HeldBack(Generic[T]):
    """Entries in order, each with the number of facts that must be durable before it.

    While the journal is blocked callers give up and come again, for hours maybe. So entries that
    are no longer wanted are dropped when they are many: what is left has the bound of the calls.
    """

    def __init__(self, wanted: Callable[[T], bool]) -> None:
        self._wanted = wanted
        self._entries: deque[tuple[int, T]] = deque()
        self._prune_at = HELD_BACK_MAX

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, facts: int, entry: T) -> None:
        """Hold an entry back until `facts` facts are durable."""
        self._entries.append((facts, entry))
        if len(self._entries) > self._prune_at:
            self._entries = deque(held for held in self._entries if self._wanted(held[1]))
            self._prune_at = max(HELD_BACK_MAX, 2 * len(self._entries))

    def release(self, durable: int) -> Iterator[T]:
        """Yield, and forget, the entries that wait for no more than `durable` facts."""
        while self._entries and self._entries[0][0] <= durable:
            yield self._entries.popleft()[1]
