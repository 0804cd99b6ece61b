"""Deletion of many objects from a store that may refuse some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mrcore.errors import UnavailableError
from mrcore.storage.base import ObjectInfo, Storage

REFUSALS_MAX: Final = 10
"""Refusals in a row after which the store counts as gone."""


def delete_each(storage: Storage, objects: Iterable[ObjectInfo]) -> int:
    """Delete objects in their order, and return their number.

    One that the store refuses for the moment is left to the next time. Otherwise a store with a
    fault in every thousandth operation would keep most of a thousand entries, each time anew.
    Raises UnavailableError where the store refuses ten in a row.
    """
    deleted = refusals = 0
    for one in objects:
        try:
            deleted += storage.delete(one.uri)
            refusals = 0
        except UnavailableError:
            refusals += 1
            if refusals >= REFUSALS_MAX:
                raise
    return deleted
