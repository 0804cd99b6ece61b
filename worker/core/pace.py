"""Forecast of whether a running attempt ends before its worker has to leave."""

from __future__ import annotations

from typing import Final

UNREPORTED_FRACTION: Final = 0.05
"""Progress that an attempt is credited with at most while it has reported none."""


def can_finish(elapsed_seconds: float, fraction: float, seconds_left: float) -> bool:
    """Return whether an attempt is likely to end in time, by its pace so far.

    One without progress reports gets the benefit of the doubt only for a moment, which is then all
    that handing it back can lose: a lease that is kept in vain delays the job by far more.
    """
    done = fraction if fraction > 0.0 else UNREPORTED_FRACTION
    return elapsed_seconds * (1.0 - done) / done < 0.8 * seconds_left
