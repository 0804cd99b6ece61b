"""Modules of this machine that calls import when they run, on their way to the workers."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mrcore.errors import PluginError, UsageError
from mrcore.plugin.bundle import build_bundle_of_modules
from mrcore.plugin.lazy_imports import local_imports
from mrcore.plugin.local_modules import is_installed
from mrcore.util.clock import SYSTEM, Clock

_FRESH_SECONDS: Final = 1.0
"""Time for which sources are not read again."""
_PACKED: Final = 100
"""Sets of modules whose bundles are remembered."""


class Shipping:
    """Bundles of the modules that calls need: those that were named, and those that are found."""

    def __init__(self, named: Iterable[str | types.ModuleType] = (), clock: Clock = SYSTEM) -> None:
        """Take the modules that all calls get; raise UsageError for what names none."""
        self._named = frozenset(_name(each) for each in _all(named))
        self._clock = clock
        self._lock = threading.Lock()
        self._packed: dict[frozenset[str], tuple[float, bytes]] = {}

    def bundle_for(self, made: Iterable[types.FunctionType]) -> bytes:
        """Return the modules that calls of these functions import; empty where they need none.

        Raises PluginError for a module that was named and is nowhere, or too large.
        """
        names = self._named | local_imports(made)
        if not names:
            return b""
        with self._lock:
            now = self._clock.monotonic()
            known = self._packed.get(names)
            if known is not None and now - known[0] < _FRESH_SECONDS:
                return known[1]
            data = self._pack(names)
            if len(self._packed) >= _PACKED:
                del self._packed[next(iter(self._packed))]
            self._packed[names] = (now, data)
            return data

    def _pack(self, names: frozenset[str]) -> bytes:
        roots = [Path(entry).absolute() for entry in sys.path if not is_installed(Path(entry))]
        try:
            return build_bundle_of_modules(sorted(names), roots, Path.cwd()).data
        except PluginError:
            if names == self._named:
                raise
        # What was only found may be there already, on workers that have the same folders.
        return self._pack(self._named) if self._named else b""


def _all(named: object) -> Iterable[object]:
    if isinstance(named, str | types.ModuleType):
        return (named,)
    if not isinstance(named, Iterable):
        raise UsageError(f"modules is {named!r}. Give a list of names, or of modules.")
    return named


def _name(module: object) -> str:
    name = module.__name__ if isinstance(module, types.ModuleType) else module
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"modules has {module!r}. Give the name of a module, or the module.")
    return name
