"""Futures and scattered values among the arguments of a call."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from mrcore.calls import payload
from mrcore.calls.references import Need, Reference, Stored
from mrcore.cluster.futures import CallFuture
from mrcore.cluster.scattered import Scattered
from mrcore.errors import RemoteError, UsageError

if TYPE_CHECKING:
    from mrcore.cluster.calls import Calls
    from mrcore.cluster.options import CallOptions
    from mrcore.cluster.pending import Pending


class References:
    """Placeholders for the arguments of one call, collected while these are pickled.

    A future whose value is here travels as that value; one whose value is on the cluster, or not
    there yet, as a placeholder.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.needs: list[Pending] = []
        """Calls whose values are among the arguments; each is held until the block ends."""
        self.objects: list[str] = []
        self.failed: CallFuture[Any] | None = None
        """A future among the arguments that failed or was cancelled."""

    def __call__(self, value: object) -> Reference | None:
        """Return the placeholder for an argument; None where it travels itself."""
        if isinstance(value, Scattered):
            self._calls.keep(value.sha256)
            self.objects.append(value.sha256)
            return Stored(value.sha256)
        if not isinstance(value, CallFuture) or value.is_here():
            return None
        pending = value.pending
        if pending is not None and self._calls.board.take(pending):
            self.needs.append(pending)
            return Need(len(self.needs) - 1)
        if value.cancelled() or value.exception() is not None:
            self.failed = value
            return Stored("")  # the call is not sent
        if value.is_here():  # it has ended just now
            return None
        raise UsageError(f"The value of {value.call_id} was freed. Call the function again.")

    def make(
        self,
        options: CallOptions,
        function: bytes,
        data: bytes,
        *,
        made: Sequence[types.FunctionType] = (),
        each: bool = False,
    ) -> Pending:
        """Return the call with these arguments; it holds the values that it takes from now on.

        `made` are the functions in it that travel by value: what they import goes along.
        """
        bundle = self._calls.shipping.bundle_for(made)
        if bundle:
            stored = self._calls.store(bundle)
            self.objects.append(stored)
            function = payload.with_modules(function, stored)
        pending = self._calls.make(
            options,
            self._calls.store(function),
            data,
            needs=self.needs,
            objects=self.objects,
            each=each,
        )
        self.needs = []
        return pending

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the values of a call that was not made."""
        for pending in self.needs:
            self._calls.board.untake(pending)
        self.needs = []


def unfolded(
    function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return a partial with a future or a scattered value as its function and all arguments."""
    if type(function) is functools.partial and any(map(_refers, _values_of(function))):
        arguments = (*function.args, *arguments)
        return function.func, arguments, {**function.keywords, **keywords}
    return function, arguments, keywords


def _values_of(function: functools.partial[Any]) -> tuple[Any, ...]:
    return (*function.args, *function.keywords.values())


def _refers(value: object) -> bool:
    return isinstance(value, CallFuture | Scattered)


def argument_error(failed: CallFuture[Any]) -> BaseException:
    """Return the error of a call whose argument failed: what that raised, as the master does it."""
    error = None if failed.cancelled() else failed.exception()
    return error or _without_value(failed.call_id, failed.cancelled())


def lost_argument_error(lost: Pending) -> BaseException:
    """Return the error of a call whose argument was never sent."""
    return lost.problem or _without_value(lost.name, lost.is_cancelled)


def _without_value(name: str, is_cancelled: bool) -> RemoteError:
    what = "was cancelled" if is_cancelled else "failed"
    return RemoteError(f"The argument that is the result of {name or 'another call'} {what}.")
