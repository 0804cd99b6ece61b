"""Functions and classes of a session, which travel by value.

`pickle` names the class of a value by module and name, so that another process can find it. A class
of a notebook or a script exists nowhere but in the pickle of the job's functions: it is put where
its name says, in every process that loads them.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import pickle
import sys
import types
from collections.abc import Callable
from typing import Any


def dump(value: Any) -> bytes:
    """Pickle by `cloudpickle`, with the full name of each nested class, which it drops.

    By the last name alone, `One.Item` and `Two.Item` would be the same class to `pickle`.
    """
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

    stream = io.BytesIO()
    Pickler(stream).dump(value)
    return stream.getvalue()


def load(data: bytes) -> Any:
    """Unpickle what `cloudpickle` has pickled, so that values of its classes can be pickled."""
    unpickler = _Unpickler(io.BytesIO(data))
    found = unpickler.load()
    # Outer classes first: what is in them is there already.
    for kind in sorted(unpickler.made, key=lambda kind: kind.__qualname__.count(".")):
        _make_findable(kind)
    return found


def give_main_away() -> None:
    """Leave the name `__main__` to the session whose functions run in this process."""
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        sys.modules[main.__spec__.name] = main
    sys.modules["__main__"] = types.ModuleType("__main__")


class _Unpickler(pickle.Unpickler):
    """Notes the classes that it makes."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.made: list[type] = []

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return what a pickle names."""
        found = super().find_class(module_name, global_name)
        if module_name.startswith("cloudpickle") and global_name.startswith("_make_skeleton"):
            return self._noting(found)
        return found

    def _noting(self, make: Callable[..., type]) -> Callable[..., type]:
        def call(*arguments: Any) -> type:
            kind = make(*arguments)
            self.made.append(kind)
            return kind

        return call


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
        if path[-1] not in vars(holder):
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
    module.__path__ = []  # `import` wants parents to be packages
    return module
