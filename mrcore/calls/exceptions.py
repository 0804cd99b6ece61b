"""Exceptions of calls: raised in a child, and raised again at the caller.

An exception travels as what it is where that is possible: its class, arguments, attributes and
notes. Its traceback, and the exceptions that caused it, go along as text.
"""

from __future__ import annotations

import pickle
from typing import Any

from mrcore.calls.pickling import dumps, loads
from mrcore.errors import RemoteError
from mrcore.model.task import MAX_RESULT_BYTES
from mrcore.util.texts import text_of


class RemoteTraceback(Exception):  # noqa: N818 - it is shown as the cause of an error
    """The traceback of an exception in the process where it was raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """Return the traceback below a line that says where it is from."""
        return f"in the process that ran the call\n{self.text}"


def dump_exception(error: BaseException, limit_bytes: int = MAX_RESULT_BYTES) -> bytes:
    """Return a pickle of the exception; empty where it cannot be loaded again, or is too long."""
    rebuilt = _Rebuilt(error)
    return (
        _checked(error, error, limit_bytes, same_text=True)
        or _checked(rebuilt, error, limit_bytes, same_text=True)
        or _checked(error, error, limit_bytes, same_text=False)
        or _checked(rebuilt, error, limit_bytes, same_text=False)
    )


def dump_timeout(message: str) -> bytes:
    """Return a pickle of a TimeoutError, for a call that was stopped and raised nothing itself."""
    return pickle.dumps(TimeoutError(message), protocol=pickle.HIGHEST_PROTOCOL)


def _checked(form: object, error: BaseException, limit_bytes: int, *, same_text: bool) -> bytes:
    """Return the pickle of an exception; empty where loading it does not give such an error again.

    A constructor that makes a message of its arguments gets the message as one, and makes another
    message of it: with `same_text` such a form is refused.
    """
    try:
        data = dumps(form)
        found = loads(data)
        travels = len(data) <= limit_bytes and type(found) is type(error)
        if travels and same_text:
            travels = text_of(found) == text_of(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - methods of the user's exception run here
        return b""
    return data if travels else b""


def load_exception(data: bytes, message: str, traceback: str) -> BaseException:
    """Return the exception to raise at the caller, with the remote traceback as its cause.

    One that did not travel, or is of a class that does not exist here, becomes a RemoteError with
    `message`.
    """
    error: BaseException | None = None
    if data:
        try:
            found = loads(data)
            error = found if isinstance(found, BaseException) else None
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - methods of the user's exception run here
            error = None
    if error is None:
        error = RemoteError(message)
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error


class _Rebuilt:
    """An exception that is pickled without its constructor.

    By itself an exception is pickled as a call of its class with `args`, which fails where the
    constructor takes other arguments than it passes on.
    """

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        return _rebuild, (type(error), error.args, dict(vars(error)))


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = kind.__new__(kind, *args)
    error.args = args
    vars(error).update(state)
    return error
