"""Time that user code has spent on one record, from looks at a child now and then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from mrcore.model.task import Mark

LOOK_SECONDS_MAX: Final = 1.0
"""Time that one look adds at most: a worker that was stopped has not seen what its child did."""


@dataclass
class _Stay:
    """The record that a function is at, and for how long it was found there."""

    order: int
    mark: Mark
    visit: int
    seconds: float = 0.0


@dataclass
class RecordClock:
    """Clock of a child's records.

    A record gets the time between two looks if the function was at it both times. So time that code
    of ours takes, such as a spill, does not count. Each function has a record of its own, since
    `combine` runs between two pairs that `map` yields.
    """

    _stays: dict[str, _Stay] = field(default_factory=dict)
    _looked_at: float | None = None

    def look(
        self, now: float, order: int, function: str, mark: Mark | None, visit: int = 0
    ) -> float:
        """Return how long the function has been at its record; 0 where no record is marked.

        `order` is the number of the child's order, `visit` that of the function's call. `combine`
        may get one key very often, for a moment each.
        """
        before, self._looked_at = self._looked_at, now
        if mark is None:
            return 0.0
        stay = self._stays.get(function)
        if stay is None or (stay.order, stay.mark, stay.visit) != (order, mark, visit):
            self._stays[function] = _Stay(order, mark, visit)
            return 0.0
        assert before is not None
        stay.seconds += min(now - before, LOOK_SECONDS_MAX)
        return stay.seconds
