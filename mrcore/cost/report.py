"""Report of what a cluster has cost, by the books in its state."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mrcore.cost.core.ledger import Spend
from mrcore.cost.text import cost_line
from mrcore.errors import MrcoreError, NotFoundError, UsageError
from mrcore.model import object_names
from mrcore.model.snapshots import cost_json
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM
from mrcore.util.decoding import UNREADABLE

NEWS_SECONDS: Final = 10.0
"""A master that lives looks at its fleet more often than that."""
_PAUSE_SECONDS: Final = 0.5


class Books(msgspec.Struct, frozen=True):
    """Part of a fleet's document that is read."""

    spend: Spend
    wall_seconds: float = 0.0


def read_books(state_uri: str, *, booked_after: float = 0.0) -> Books:
    """Return the books of a cluster.

    booked_after: seconds since 1970; older books are read again for up to `NEWS_SECONDS`. Raises
    UsageError where no master has kept any.
    """
    uri = object_names.fleet_uri(state_uri.rstrip("/"))
    end = SYSTEM.monotonic() + NEWS_SECONDS
    while (books := _read(uri)).wall_seconds < booked_after and SYSTEM.monotonic() < end:
        SYSTEM.sleep(_PAUSE_SECONDS)
    return books


def report_json(books: Books) -> dict[str, Any]:
    """Return the books as a JSON object."""
    spend = books.spend
    return {
        **cost_json(spend.total),
        "machines": len(spend.machines),
        "at_seconds": books.wall_seconds,
        "jobs": {job_id: cost_json(cost) for job_id, cost in spend.jobs.items()},
    }


def report_text(books: Books) -> str:
    """Return the books for people, a line a job."""
    spend = books.spend
    lines = [f"all       {cost_line(spend.total)}"]
    lines += [f"{job_id}  {cost_line(cost)}" for job_id, cost in spend.jobs.items()]
    lines.append(f"machines  {len(spend.machines)} are paid for now")
    return "\n".join(lines)


def _read(uri: str) -> Books:
    try:
        return msgspec.json.decode(storage_for(uri).read(uri), type=Books)
    except NotFoundError as error:
        raise UsageError(f"{uri} is not there: no master with a fleet has run.") from error
    except UNREADABLE as error:
        raise MrcoreError(f"{uri} cannot be read ({error}).") from error
