"""Modules that are loaded, and that code of this process imports as if they were not.

Code that imports a name gets what its own path has under that name. Where that is the file of a
hidden module, it gets the hidden one: many extension modules cannot be loaded twice.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType


def hide(packages: Collection[str]) -> None:
    """Hide these packages, with all modules in them, as far as they are loaded."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _root(name) in packages}
    sys.meta_path.insert(0, _Finder(hidden))


def _root(name: str) -> str:
    return name.partition(".")[0]


class _Finder:
    """Finder of the hidden modules that an import would load from the same file."""

    def __init__(self, hidden: dict[str, ModuleType]) -> None:
        self._hidden = hidden

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import a hidden module; None leaves the import to other finders."""
        module = self._hidden.get(name)
        known = None if module is None else module.__spec__
        found = None if known is None else PathFinder.find_spec(name, path, target)
        if module is None or known is None or found is None or found.origin is None:
            return None
        if found.origin != known.origin:
            return None
        found.loader = _Restorer(module)
        return found


class _Restorer(Loader):
    """Loader of a module that is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: its code has run."""
