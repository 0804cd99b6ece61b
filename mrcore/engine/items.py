"""Items of in-memory jobs: pickled, and stored where a cluster reads them."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any, Final

from mrcore.errors import PicklingError, UsageError
from mrcore.plugin.culprit import find_culprit
from mrcore.util.texts import text_of

if TYPE_CHECKING:
    from mrcore.client.client import MasterClient

MAX_ITEMS_BYTES: Final = 1 << 30
"""Bytes of the items of one job, pickled."""


def pickled_items(items: list[Any]) -> bytes:
    """Return the items as a file of frames (`mrcore.records.frames`).

    Raises PicklingError for one that cannot travel, UsageError for too many.
    """
    from mrcore.records.frames import item_frames

    try:
        data = item_frames(items)
    except KeyboardInterrupt:
        raise
    except Exception as error:
        raise PicklingError(
            f"The items cannot be sent to a worker, since {_item_at_fault(items, error)}. Give "
            "plain data, and open files and connections in the functions."
        ) from error
    if len(data) > MAX_ITEMS_BYTES:
        raise UsageError(
            f"The items take {len(data) >> 20:,} MiB, and {MAX_ITEMS_BYTES >> 20:,} MiB is the "
            "limit. Write them to files, and read those."
        )
    return data


def _item_at_fault(items: list[Any], error: Exception) -> str:
    """Return which of the items cannot be pickled, and why."""
    place, problem = find_culprit(items, lambda value: pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    return f"{place or 'one of them'} cannot be pickled ({problem or text_of(error)})"


def store_items(client: MasterClient, data: bytes) -> str:
    """Store the items of an in-memory job with the cluster, and return their place."""
    from mrcore.client.calls import CallClient

    return CallClient(client.connection).put(hashlib.sha256(data).hexdigest(), data)
