"""Modules of this machine that functions import when they are called.

A function of a script travels by value, with what it refers to. A module that it imports within its
body is not among that, and may not even be loaded here. Its source has to travel.
"""

from __future__ import annotations

import dis
import functools
import importlib.util
import sys
import types
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from mrcore.plugin.local_modules import RESERVED, is_installed


def local_imports(functions: Iterable[types.FunctionType]) -> set[str]:
    """Return the modules of this machine that these functions import when they are called."""
    found: set[str] = set()
    for function in functions:
        for level, module in _imports_of(function.__code__):
            name = _absolute(level, module, function)
            if name and is_local(name):
                found.add(name)
    return found


def is_local(name: str) -> bool:
    """Return whether a module is a source that is not installed."""
    top = name.partition(".")[0]
    if not top or top in RESERVED:
        return False
    return _is_local_top(top, tuple(sys.path))


@functools.lru_cache(maxsize=10_000)
def _is_local_top(top: str, path: tuple[str, ...]) -> bool:
    try:
        spec = PathFinder.find_spec(top, list(path))
    except (ImportError, ValueError, OSError):
        return False
    if spec is None:
        return False
    if spec.origin is not None:
        return spec.origin.endswith(".py") and not is_installed(Path(spec.origin))
    places = list(spec.submodule_search_locations or ())
    return bool(places) and not any(is_installed(Path(place)) for place in places)


@functools.lru_cache(maxsize=10_000)
def _imports_of(code: types.CodeType) -> tuple[tuple[int, str], ...]:
    """Return level and name of each import in a function's code, and in the functions within."""
    return tuple(_imports_in(code))


def _imports_in(code: types.CodeType) -> Iterator[tuple[int, str]]:
    if code.co_names:
        before: list[object] = []
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                level = before[-2] if len(before) > 1 else 0
                names = before[-1] if before else None
                yield from _named(level if isinstance(level, int) else 0, step.argval, names)
            if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
                before = [*before[-1:], step.argval]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imports_in(constant)


def _named(level: int, module: str, names: object) -> Iterator[tuple[int, str]]:
    """Yield a module, and what is imported from it, which may be modules, too."""
    yield level, module
    for name in names if isinstance(names, tuple) else ():
        if name != "*":
            yield level, f"{module}.{name}" if module else str(name)


def _absolute(level: int, module: str, function: types.FunctionType) -> str:
    if not level:
        return module
    package = function.__globals__.get("__package__")
    if not isinstance(package, str) or not package:
        return ""
    try:
        return importlib.util.resolve_name(f"{'.' * level}{module}", package)
    except ImportError:
        return ""
