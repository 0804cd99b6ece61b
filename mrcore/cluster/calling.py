"""Calls of functions as they are made: pickled, with placeholders, and with a fallback."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mrcore.calls import payload
from mrcore.cluster.calls import Calls
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.options import CallOptions
from mrcore.cluster.references import References, argument_error, unfolded
from mrcore.errors import MrcoreError

if TYPE_CHECKING:
    from mrcore.cluster.pending import Pending
    from mrcore.rpc.v1.failure_pb2 import Failure

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
            spare_made: list[types.FunctionType] = []
            fallback, given, named = unfolded(fallback, arguments, keywords)
            spare = payload.dump_function(fallback, spare_made)

            def on_failure(future: CallFuture[Any], failure: Failure) -> bool:
                story = f"It is the fallback of a call that failed: {failure.message}"
                try:
                    pending = self._make(spare, spare_made, given, named, options)
                    if isinstance(pending, CallFuture):
                        return False
                    pending.story = story
                    future.retarget(pending)
                    self._calls.add(pending, future)
                except MrcoreError:
                    return False
                return True

        made: list[types.FunctionType] = []
        function, arguments, keywords = unfolded(function, arguments, keywords)
        pending = self._make(
            payload.dump_function(function, made), made, arguments, keywords, options
        )
        if isinstance(pending, CallFuture):
            return pending
        pending.on_failure = on_failure
        future: CallFuture[T] = CallFuture(pending)
        self._calls.add(pending, future)
        if options.keep:  # it is to go on whatever happens to this process next
            self._calls.wait_sent(pending)
        return future

    def _make(
        self,
        function: bytes,
        made: Sequence[types.FunctionType],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        options: CallOptions,
    ) -> Pending | CallFuture[Any]:
        """Return a call that can be added, or the future of one whose argument has failed."""
        all_made = list(made)
        with References(self._calls) as references:
            data = payload.dump_arguments(arguments, keywords, references, all_made)
            if references.failed is not None:
                return CallFuture(None, argument_error(references.failed))
            return references.make(options, function, data, made=all_made)
