"""Pickles of calls: what only the caller's process has travels by value.

A function or class of `__main__`, of a notebook, or of a module that is not installed exists
nowhere else, so its pickle holds all of it. `mrcore.plugin.by_value` puts classes where their names
say in the process that loads them.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import threading
import types
from collections.abc import Collection, Iterator
from typing import Any, Final, cast

from mrcore.calls.references import Need, Refer, Resolve, Stored
from mrcore.plugin import by_value
from mrcore.plugin.local_modules import LocalModules

_ATOMS: Final = frozenset({type(None), bool, int, float, str, bytes})
"""Types whose values need no help of `cloudpickle`, which takes long to import."""
_SHORT: Final = 16
"""Length of containers that are looked into for such values."""
_DEPTH: Final = 4
"""Containers within each other that are looked into."""


def dumps(
    value: object, refer: Refer | None = None, made: list[types.FunctionType] | None = None
) -> bytes:
    """Pickle a value; objects that `refer` has a placeholder for are replaced by it.

    `made` gets the functions that travel by value. Raises whatever the user's objects raise.
    """
    if _is_plain(value, _DEPTH):
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream = io.BytesIO()
    with _registered.now():
        _pickler_class()(stream, refer, made).dump(value)
    return stream.getvalue()


def _is_plain(value: object, depth: int) -> bool:
    """Return whether a value is an atom, or a short container of atoms."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if not depth:
        return False
    if kind is tuple or kind is list:
        items = cast(Collection[object], value)
    elif kind is dict:
        items = [each for pair in cast(dict[object, object], value).items() for each in pair]
    else:
        return False
    return len(items) <= _SHORT and all(_is_plain(each, depth - 1) for each in items)


def loads(data: bytes, resolve: Resolve | None = None) -> Any:
    """Unpickle a value, with what `resolve` returns in the places of placeholders."""
    return by_value.load(data, _finder(resolve))


def _finder(resolve: Resolve | None) -> by_value.Find | None:
    if resolve is None:
        return None

    def find(module: str, name: str) -> object:
        kind = {"Need": Need, "Stored": Stored}.get(name)
        if module != Need.__module__ or kind is None:
            return None
        return lambda argument: resolve(kind(argument))

    return find


class _Registered:
    """Registration of local modules with `cloudpickle`, while any thread pickles.

    The registration is of the whole process, and other users of `cloudpickle` in it may rely on
    their own choice. So it lasts no longer than a pickle takes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._names: list[str] = []
        self._modules = LocalModules()

    @contextlib.contextmanager
    def now(self) -> Iterator[None]:
        """Register what is loaded now, for the time of the block."""
        import cloudpickle

        with self._lock:
            self._users += 1
            known = cloudpickle.list_registry_pickle_by_value()
            for name in {*self._modules.names(), *by_value.made_modules()} - known:
                with contextlib.suppress(ValueError, KeyError):  # it was unloaded just now
                    cloudpickle.register_pickle_by_value(by_value.loaded(name))
                    self._names.append(name)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    for name in self._names:
                        with contextlib.suppress(ValueError, KeyError):
                            cloudpickle.unregister_pickle_by_value(by_value.loaded(name))
                    self._names.clear()


_registered: Final = _Registered()


@functools.cache
def _pickler_class() -> Any:
    """Return the pickler, made when it is first used."""
    base = by_value.pickler_class()

    class CallPickler(base):  # type: ignore[misc, valid-type]
        def __init__(
            self,
            stream: io.BytesIO,
            refer: Refer | None,
            made: list[types.FunctionType] | None,
        ) -> None:
            super().__init__(stream, protocol=pickle.HIGHEST_PROTOCOL)
            self._refer = refer
            self._made = made

        def reducer_override(self, obj: Any) -> Any:
            if self._refer is not None:
                reference = self._refer(obj)
                if isinstance(reference, Need):
                    return Need, (reference.number,)
                if reference is not None:
                    return Stored, (reference.sha256,)
            if type(obj) is _CACHED and by_value.is_made_here(obj):
                return _cached, (obj.__wrapped__, obj.cache_parameters())
            reduced = super().reducer_override(obj)
            is_by_value = isinstance(obj, types.FunctionType) and reduced is not NotImplemented
            if is_by_value and self._made is not None:
                self._made.append(obj)
            return reduced

    return CallPickler


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    """Return a function with a cache of its own, as `functools.lru_cache` makes it."""
    return functools.lru_cache(**parameters)(function)


_CACHED: Final = type(functools.cache(len))
