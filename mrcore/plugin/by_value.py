"""Functions and classes of a session, which travel by value.

`pickle` names the class of a value by module and name, so that another process can find it. A class
of a notebook or a script exists nowhere but in the pickle of the job's functions: it is put where
its name says, in every process that loads them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Set
from typing import Any, Final, TypeAlias

Find: TypeAlias = Callable[[str, str], object]
"""Returns what a pickle names by module and name, or None where the ordinary rules hold."""
_made_modules: Final[set[str]] = set()
"""Modules that exist here only for the classes that were put into them."""
_made_classes: Final[weakref.WeakSet[type]] = weakref.WeakSet()
"""Classes that pickles have made in this process."""
_TRACKER_ID_AT: Final = {"_make_skeleton_class": 4, "_make_skeleton_enum": 5}
"""Position of a class's identity among the arguments of these functions of `cloudpickle`."""


def dump(value: Any) -> bytes:
    """Pickle by `cloudpickle`, with the full name of each nested class, which it drops.

    By the last name alone, `One.Item` and `Two.Item` would be the same class to `pickle`.
    """
    stream = io.BytesIO()
    pickler_class()(stream).dump(value)
    return stream.getvalue()


@functools.cache
def pickler_class() -> Any:
    """Return the pickler of `dump`, made when it is first used: `cloudpickle` imports slowly."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            full = obj.__qualname__ if isinstance(obj, type) else "<locals>"
            if "<locals>" in full or not isinstance(reduced, tuple):
                return reduced
            make, arguments, *rest = reduced
            if getattr(make, "__name__", "") != "_make_skeleton_class":
                return reduced
            arguments = tuple(
                {**each, "__qualname__": full} if isinstance(each, dict) else each
                for each in arguments
            )
            return (make, arguments, *rest)

    return Pickler


def load(data: bytes, find: Find | None = None) -> Any:
    """Unpickle what `cloudpickle` has pickled, so that values of its classes can be pickled."""
    unpickler = _Unpickler(io.BytesIO(data), find)
    found = unpickler.load()
    # Outer classes first: what is in them is there already.
    for kind in sorted(unpickler.made, key=lambda kind: kind.__qualname__.count(".")):
        _make_findable(kind)
    return found


def made_modules() -> Set[str]:
    """Return the modules that exist only in this process, for classes that came by value."""
    return _made_modules


def forget_made(names: Set[str]) -> None:
    """Make room for modules that are to be imported, and exist for some of their classes alone."""
    for name in [each for each in _made_modules if each.partition(".")[0] in names]:
        _made_modules.discard(name)
        sys.modules.pop(name, None)


def loaded(name: str) -> types.ModuleType:
    """Return a loaded module; raise KeyError."""
    return sys.modules[name]


def is_made_here(function: Any) -> bool:
    """Return whether a function or class belongs to `__main__` or a module that travels by value.

    `cloudpickle` must have these modules registered.
    """
    from cloudpickle import list_registry_pickle_by_value

    name = getattr(function, "__module__", None) or "__main__"
    return name == "__main__" or name in list_registry_pickle_by_value()


def give_main_away() -> None:
    """Leave the name `__main__` to the session whose functions run in this process."""
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        sys.modules[main.__spec__.name] = main
    sys.modules["__main__"] = types.ModuleType("__main__")


class _Unpickler(pickle.Unpickler):
    """Notes the classes that it makes, and leaves alone those that were defined here."""

    def __init__(self, stream: io.BytesIO, find: Find | None) -> None:
        super().__init__(stream)
        self.made: list[type] = []
        self._find = find

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what a pickle names."""
        if self._find is not None:
            own = self._find(module_name, global_name)
            if own is not None:
                return own
        found = super().find_class(module_name, global_name)
        if module_name.startswith("cloudpickle"):
            if global_name in _TRACKER_ID_AT:
                return self._noting(found, _TRACKER_ID_AT[global_name])
            if global_name == "_class_setstate":
                return functools.partial(_set_state, found)
        return found

    def _noting(self, make: Callable[..., type], tracker_id_at: int) -> Callable[..., type]:
        from cloudpickle import cloudpickle

        def call(*arguments: Any) -> type:
            tracked = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID  # noqa: SLF001 - it has no public name
            is_known = arguments[tracker_id_at] in tracked
            kind = make(*arguments)
            if not is_known:
                _made_classes.add(kind)
            if kind in _made_classes:
                self.made.append(kind)
            return kind

        return call


def _set_state(set_state: Callable[[type, Any], type], kind: type, state: Any) -> type:
    """Set the attributes of a class, unless it is defined here and comes back with a value.

    Its methods would become copies that no longer see the variables of their module.
    """
    return set_state(kind, state) if kind in _made_classes else kind


def _make_findable(kind: type) -> None:
    """Put a class where `pickle` looks for it, unless another one is there."""
    path = kind.__qualname__.split(".")
    if "<locals>" in path:
        return  # without a name that others could look up, here as in the session
    holder: Any = _module(kind.__module__)
    with contextlib.suppress(AttributeError, TypeError):
        for name in path[:-1]:
            if name not in vars(holder):  # the outer class does not travel with the inner one
                setattr(holder, name, type(name, (), {}))
            holder = getattr(holder, name)
        # In the session itself the class is there, or one that was defined anew.
        there = vars(holder).get(path[-1])
        if there is None or there in _made_classes:
            setattr(holder, path[-1], kind)


def _module(name: str) -> types.ModuleType:
    """Return the module of this name; where there is none, an empty one, in packages alike."""
    parent, _, _ = name.rpartition(".")
    if parent:
        _module(parent)
    with contextlib.suppress(Exception):  # the module may be the user's, and fail
        if name in sys.modules or importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    module = sys.modules[name] = types.ModuleType(name)
    _made_modules.add(name)
    module.__path__ = []  # `import` wants parents to be packages
    return module
