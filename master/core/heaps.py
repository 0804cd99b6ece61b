"""Heaps whose entries may become void: dropped as they surface, or when they are many."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T", bound=tuple[object, ...])


def push(heap: list[T], entry: T, most: int, is_valid: Callable[[T], bool]) -> None:
    """Push an entry; drop those that are void, and repetitions, where the heap has `most`.

    What is void deep in a heap would surface late, or never where entries before it keep coming.
    `most` leaves room for as many void entries as valid ones, so that a sweep is rare.
    """
    if len(heap) >= most:
        heap[:] = {other for other in heap if is_valid(other)}
        heapq.heapify(heap)
    heapq.heappush(heap, entry)
