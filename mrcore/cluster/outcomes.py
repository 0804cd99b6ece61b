"""Errors that the failures of calls become at the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcore.calls.exceptions import load_exception

if TYPE_CHECKING:
    from mrcore.calls.payload import ItemFailure
    from mrcore.rpc.v1.failure_pb2 import Failure


def error_of(failure: Failure) -> BaseException:
    """Return the exception to raise for a call that failed: the function's own, or RemoteError."""
    error = load_exception(failure.exception, failure.message, failure.traceback)
    if failure.exception and failure.message.startswith("The argument that is"):
        error.add_note(failure.message)  # it is the exception of another call
    return error


def error_of_item(failure: ItemFailure, item: int) -> BaseException:
    """Return the exception to raise for the item of a `map` with this number, from 0 on.

    One that the function did not raise itself has the number as a note: nothing else shows which
    item ended its process, or took too long.
    """
    error = load_exception(failure.exception, failure.message, failure.traceback)
    if not failure.traceback:
        error.add_note(f"It was item {item:,} of the map, counted from 0.")
    return error
