"""Calls of functions as they are made: pickled, with placeholders, and with a fallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mrcore.calls import payload
from mrcore.cluster.calls import Calls
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.options import CallOptions
from mrcore.cluster.references import References, argument_error
from mrcore.errors import MrcoreError

if TYPE_CHECKING:
    from mrcore.rpc.v1.job_pb2 import Failure

T = TypeVar("T")


class Caller:
    """Makes the calls of one client."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def call(
        self,
        function: Callable[..., T],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        options: CallOptions,
        fallback: Callable[..., T] | None = None,
    ) -> CallFuture[T]:
        """Call a function on a worker; all keywords go to it."""
        on_failure: Callable[[CallFuture[Any], Failure], bool] | None = None
        if fallback is not None:
            spare = payload.dump_function(fallback)

            def on_failure(future: CallFuture[Any], failure: Failure) -> bool:
                story = f"It is the fallback of a call that failed: {failure.message}"
                return self._call_instead(future, spare, arguments, keywords, options, story)

        code = payload.dump_function(function)
        with References(self._calls) as references:
            data = payload.dump_arguments(arguments, keywords, references)
            if references.failed is not None:
                return CallFuture(None, argument_error(references.failed))
            pending = references.make(options, code, data)
        pending.on_failure = on_failure
        future: CallFuture[T] = CallFuture(pending)
        self._calls.add(pending, future)
        return future

    def _call_instead(
        self,
        future: CallFuture[Any],
        function: bytes,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        options: CallOptions,
        story: str,
    ) -> bool:
        """Make another call in place of one that failed; return False where that cannot be."""
        try:
            with References(self._calls) as references:
                data = payload.dump_arguments(arguments, keywords, references)
                if references.failed is not None:
                    return False
                pending = references.make(options, function, data)
            pending.story = story
            future.retarget(pending)
            self._calls.add(pending, future)
        except MrcoreError:
            return False
        return True
