"""One attempt at a call, as a function: its value, or in words why it failed."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from mrcore.calls.exceptions import dump_exception
from mrcore.calls.payload import (
    ItemFailure,
    Outcomes,
    dump_outcomes,
    dump_value,
    load_arguments,
    load_function,
    load_value,
    modules_of,
)
from mrcore.calls.references import Need, Reference
from mrcore.errors import InternalError, NotFoundError, PicklingError, StorageError
from mrcore.model import object_names
from mrcore.model.skipping import is_item
from mrcore.model.task import (
    MAX_RESULT_BYTES,
    MAX_SPARED_RESULT_BYTES,
    CallInput,
    CallValue,
    FailureKind,
    TaskFailure,
    TaskOutput,
    TaskResult,
    TaskSpec,
)
from mrcore.plugin.culprit import name_of
from mrcore.plugin.functions import UserFunction
from mrcore.plugin.running import CALL, running
from mrcore.plugin.tracebacks import last_line, user_traceback
from mrcore.storage import operations
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for
from mrcore.tasks.object_cache import ObjectCache, read_object
from mrcore.tasks.shipped import ShippedModules
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.lazy import load
from mrcore.util.texts import text_of

MAX_FUNCTIONS: Final = 1_000
"""Functions that a process keeps loaded."""
MAX_FUNCTION_BYTES: Final = 64 << 20
"""Bytes of the pickles of these functions."""
CACHE_BYTES: Final = 64 << 20
"""Bytes of stored values that a process keeps."""
FIRST_PAUSE_SECONDS: Final = 0.1
"""Pause before an item is tried again; each further one is twice as long."""
MAX_PAUSE_SECONDS: Final = 5.0
_MAX_MESSAGE: Final = 400
_MISSING: Final = (
    "it is not on the worker: name a module of yours in modules= of the cluster, and install any "
    "other on every worker"
)


class ItemSink(Protocol):
    """Receiver of progress: the board that a child's agent reads."""

    def begin_item(self, now: float, done: int, items: int) -> None:
        """Note that the next item begins: `done` of `items` have ended."""
        ...

    def end_items(self) -> None:
        """Note that all have ended: what happens now is the fault of none."""
        ...


class _Loaded(NamedTuple):
    """A function that is loaded."""

    size_bytes: int
    function: Callable[..., Any]
    modules: str
    """SHA-256 of the bundle with the modules that it imports; empty for none."""


class _FailedCallError(InternalError):
    """A failure that the call's own function, arguments or value are at fault for."""

    def __init__(self, message: str, error: BaseException) -> None:
        super().__init__(message)
        self.message = message
        self.error = error


class Calls:
    """Runner of calls, one by one, which keeps what many of them share."""

    def __init__(
        self,
        modules: ShippedModules,
        clock: Clock = SYSTEM,
        *,
        keep_values: bool = True,
        wrap: Callable[[UserFunction], UserFunction] | None = None,
    ) -> None:
        """Prepare for calls, whose values are dropped without `keep_values`.

        `wrap` returns what is called in place of a function.
        """
        self._keep_values = keep_values
        self._wrap = wrap
        self._clock = clock
        self._modules = modules
        self._functions: OrderedDict[str, _Loaded] = OrderedDict()
        self._function_bytes = 0
        self._stored = ObjectCache(CACHE_BYTES)
        self._folder = _current_folder()
        """Folder that each call starts in."""

    def run(self, spec: TaskSpec, progress: ItemSink) -> TaskResult:
        """Make one call. What its code or data does comes back as a TaskFailure.

        Raises StorageError for what the store has refused.
        """
        started = self._clock.monotonic()
        before = operations.counted()
        call = spec.work.read
        assert isinstance(call, CallInput)
        if self._folder and _current_folder() != self._folder:
            with contextlib.suppress(OSError):
                os.chdir(self._folder)
        try:
            result = self._run(spec, call, progress)
        except _FailedCallError as failed:
            return _failure(failed.message, failed.error)
        billed = operations.counted().since(before)
        return msgspec.structs.replace(
            result,
            elapsed_seconds=self._clock.monotonic() - started,
            class_a=billed.class_a,
            class_b=billed.class_b,
        )

    def _run(self, spec: TaskSpec, call: CallInput, progress: ItemSink) -> TaskOutput:
        function = self._function(spec.state_uri, call.function)
        name = name_of(function)
        data = call.arguments
        if call.arguments_object:
            data = read_object(spec.state_uri, call.arguments_object)
        arguments = _Arguments(data, call.values, spec.state_uri, self._stored, name)
        if not call.each:
            given, keywords = arguments.load()
            value = _called(name, function, given, keywords)
            del given, keywords
            return self._output(spec, call, _pickled(name, value, dump_value), 1)
        items, keywords = arguments.load()
        outcomes = self._each(name, function, items, keywords, arguments, spec, progress)
        done = len(items) - len(outcomes.failures)
        return self._output(spec, call, _pickled(name, outcomes, dump_outcomes), len(items), done)

    def _output(
        self, spec: TaskSpec, call: CallInput, data: bytes, items: int, done: int = 1
    ) -> TaskOutput:
        if self._keep_values:
            return _output(spec, call, data, items, done)
        return TaskOutput(records_in=items, records_out=done, bytes_out=len(data))

    def _each(
        self,
        name: str,
        function: Callable[..., Any],
        items: Sequence[Any],
        keywords: dict[str, Any],
        arguments: _Arguments,
        spec: TaskSpec,
        progress: ItemSink,
    ) -> Outcomes:
        """Call the function for each item; one that raises does not spoil the others.

        Items that former attempts have died of are not tried again.
        """
        assert spec.job.session is not None
        retries = spec.job.session.retries
        values: list[Any] = []
        failures: dict[int, ItemFailure] = {
            skip.mark.offset: ItemFailure(skip.cause, skip.traceback, skip.exception)
            for skip in spec.skip
            if is_item(skip.mark) and skip.mark.offset < len(items)
        }
        for at, item in enumerate(items):
            if at in failures:
                values.append(None)
                continue
            given = item
            for left in range(retries, -1, -1):
                progress.begin_item(self._clock.monotonic(), at, len(items))
                try:
                    values.append(_called(name, function, given, keywords))
                    break
                except _FailedCallError as failed:
                    if left:
                        self._pause(retries - left)
                        again, keywords = arguments.load()  # the function may have changed them
                        given = again[at]
                        continue
                    values.append(None)
                    failure = _failure(failed.message, failed.error)
                    failures[at] = ItemFailure(
                        failure.message, failure.traceback, failure.exception
                    )
        progress.end_items()
        return Outcomes(values, failures)

    def _pause(self, tries: int) -> None:
        self._clock.sleep(min(FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 10), MAX_PAUSE_SECONDS))

    def _function(self, state_uri: str, sha256: str) -> Callable[..., Any]:
        known = self._functions.get(sha256)
        if known is not None:
            self._functions.move_to_end(sha256)
            if known.modules:
                self._modules.provide(state_uri, known.modules)
            return known.function
        data = read_object(state_uri, sha256)
        modules = modules_of(data)
        if modules:
            self._modules.provide(state_uri, modules)
        try:
            with running(CALL):
                function = load_function(data)
            if self._wrap is not None:
                function = self._wrap(function)
        except BaseException as error:
            message = f"the function of the call cannot be loaded on the worker: {_said(error)}"
            raise _FailedCallError(message, error) from error
        self._functions[sha256] = _Loaded(len(data), function, modules)
        self._function_bytes += len(data)
        while len(self._functions) > 1 and (
            len(self._functions) > MAX_FUNCTIONS or self._function_bytes > MAX_FUNCTION_BYTES
        ):
            self._function_bytes -= self._functions.popitem(last=False)[1].size_bytes
        return function


class _Arguments:
    """Arguments of one call, which are loaded anew for each try."""

    def __init__(
        self,
        data: bytes,
        values: Sequence[CallValue],
        state_uri: str,
        stored: ObjectCache,
        function: str,
    ) -> None:
        self._data = data
        self._values = values
        self._state_uri = state_uri
        self._stored = stored
        self._function = function
        self._found: dict[Reference, object] = {}

    def load(self) -> tuple[Sequence[Any], dict[str, Any]]:
        """Return the arguments and the keyword arguments."""
        self._found.clear()
        try:
            with running(CALL):
                return load_arguments(self._data, self._value)
        except StorageError:
            raise
        except BaseException as error:
            message = (
                f"the arguments of {self._function} cannot be loaded on the worker: {_said(error)}"
            )
            raise _FailedCallError(message, error) from error

    def _value(self, reference: Reference) -> object:
        """Return what a placeholder stands for: the same object each time within one call."""
        if reference not in self._found:
            self._found[reference] = load_value(self._pickled(reference))
        return self._found[reference]

    def _pickled(self, reference: Reference) -> bytes:
        if not isinstance(reference, Need):
            return self._stored.read(self._state_uri, reference.sha256)
        value = self._values[reference.number]
        if value.object is None:
            return value.data
        info = value.object
        try:
            return storage_for(info.uri).read(info.uri, generation=info.generation)
        except NotFoundError:
            raise StorageError(
                f"the value {info.uri}, which the call takes, is not there any more"
            ) from None


def _called(
    name: str, function: Callable[..., Any], given: Sequence[Any], keywords: dict[str, Any]
) -> Any:
    """Return what the user's function returns; raise _FailedCallError for what it raises.

    The coroutine that an async function returns runs here, in an event loop of its own.
    """
    try:
        with running(CALL):
            value = function(*given, **keywords)
            # The loop is the function's own: nothing of a child's code runs in one.
            return load("asyncio:run")(value) if isinstance(value, Coroutine) else value
    except BaseException as error:
        if isinstance(error, SystemExit):
            message = (
                f"{name} called sys.exit({text_of(error.code, repr)}): return, or raise an "
                "exception instead"
            )
        else:
            message = f"{name} raised {_said(error)}"
            if isinstance(error, ModuleNotFoundError):
                error.add_note(f"{_MISSING} (mrcore)")
        raise _FailedCallError(message, error) from error


def _pickled(name: str, value: Any, dump: Callable[[Any, str], bytes]) -> bytes:
    try:
        with running(CALL):
            return dump(value, name)
    except PicklingError as error:
        raise _FailedCallError(str(error), error) from error


def _output(spec: TaskSpec, call: CallInput, data: bytes, items: int, done: int = 1) -> TaskOutput:
    """Return the output with a pickled value, which is stored as an object if it is long."""
    if len(data) <= (MAX_SPARED_RESULT_BYTES if call.store_value else MAX_RESULT_BYTES):
        return TaskOutput(result=data, records_in=items, records_out=done, bytes_out=len(data))
    uri = object_names.result_uri(spec.state_uri, spec.job, spec.attempt)
    with storage_for(uri).open_write(uri, expect=ABSENT) as writer:
        writer.write(data)
        info = writer.commit()
    return TaskOutput(object=info, records_in=items, records_out=done, bytes_out=len(data))


def _failure(message: str, error: BaseException) -> TaskFailure:
    is_plain = isinstance(error, Exception)
    return TaskFailure(
        kind=FailureKind.USER,
        message=message,
        traceback="" if isinstance(error, PicklingError) else user_traceback(error),
        # SystemExit or KeyboardInterrupt would end the caller.
        exception=dump_exception(error) if is_plain else b"",
    )


def _said(error: BaseException) -> str:
    text = last_line(error)[:_MAX_MESSAGE]
    hint = f" ({_MISSING})" if isinstance(error, ModuleNotFoundError) else ""
    return f"{text}{hint}"


def _current_folder() -> str:
    """Return the current folder; empty where somebody has removed it."""
    try:
        return os.getcwd()  # noqa: PTH109 - it is asked for at each call
    except OSError:
        return ""
