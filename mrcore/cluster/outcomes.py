"""Errors that the failures of calls become at the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcore.calls.exceptions import load_exception

if TYPE_CHECKING:
    from mrcore.calls.payload import ItemFailure
    from mrcore.rpc.v1.job_pb2 import Failure


def error_of(failure: Failure) -> BaseException:
    """Return the exception to raise for a call that failed: the function's own, or RemoteError."""
    error = load_exception(failure.exception, failure.message, failure.traceback)
    if failure.exception and failure.message.startswith("The argument that is"):
        error.add_note(failure.message)  # it is the exception of another call
    return error


def error_of_item(failure: ItemFailure) -> BaseException:
    """Return the exception to raise for one item of a `map`."""
    return load_exception(failure.exception, failure.message, failure.traceback)
