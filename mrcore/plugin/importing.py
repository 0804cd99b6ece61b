"""The import of a bundle's modules: where they are looked for, and how they are compiled.

The plugin finds its own modules first. All other code, such as a library that is imported later,
finds them last: a `requests.py` of the user's must not become the library of that name.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import linecache
import os
import sys
import types
from collections.abc import Mapping, Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from typing import Any, Final

_OURS: Final = str(Path(__file__).resolve().parents[1])
_MACHINERY: Final = ("importlib", "_frozen_importlib", "cloudpickle", "pickle")
"""Packages that import in the name of their caller."""
_INSTALLED: Final = ("site-packages", "dist-packages")


def install(code: Path, files: Path | None, sources: Mapping[str, str]) -> None:
    """Make the modules below `code` importable, in place of those of a former bundle.

    `sources` has the path at home of each source. Side files and the current folder come last on
    `sys.path`: an `ssl.py` there must not become the library's.
    """
    places = [code, *([files] if files is not None else [])]
    here = [str(place) for place in places]
    here += [folder for folder in [current_folder()] if folder is not None]
    sys.path[:] = [*(entry for entry in sys.path if entry not in here), *here]
    hook = _Hook(code, sources)
    sys.path_hooks[:] = [hook, *(h for h in sys.path_hooks if not isinstance(h, _Hook))]
    sys.path_importer_cache.pop(str(code), None)
    finders = [finder for finder in sys.meta_path if not isinstance(finder, _PluginFinder)]
    sys.meta_path[:] = [_PluginFinder(hook(str(code))), *finders]
    # Only the inline engine loads several bundles in one process: each starts afresh.
    for module_name, module in list(sys.modules.items()):
        if isinstance(getattr(module, "__loader__", None), _HomeLoader):
            del sys.modules[module_name]
    importlib.invalidate_caches()


def current_folder() -> str | None:
    """Return the current folder, None where somebody has removed it."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


class _Hook:
    """Lets `sys.path` find the modules of one bundle, compiled under their paths at home."""

    def __init__(self, code: Path, sources: Mapping[str, str]) -> None:
        self._code = str(code)
        self._sources = sources

    def __call__(self, folder: str) -> FileFinder:
        """Return the finder of a folder; raise ImportError for a folder of others."""
        if folder != self._code and not folder.startswith(self._code + os.sep):
            raise ImportError(f"{folder} is not of the bundle")
        loader: Any = self._loader  # any callable will do
        return FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES), (loader, [".py"]))

    def _loader(self, fullname: str, path: str) -> SourceFileLoader:
        return _HomeLoader(fullname, path, self._sources.get(path, path))


class _PluginFinder(importlib.abc.MetaPathFinder):
    """Finds top-level modules of one bundle before all others, for the plugin only."""

    def __init__(self, finder: FileFinder) -> None:
        self._finder = finder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of a module, None for code that is installed."""
        if path is not None or _importer_is_installed():
            return None
        spec = self._finder.find_spec(fullname, target)
        # Without a loader it is a folder without __init__.py: the ordinary finder, which looks at
        # the same folder too, knows how to make a namespace of it.
        return spec if spec is not None and spec.loader is not None else None


def _importer_is_installed() -> bool:
    """Return whether the code that imports is a library, and neither the user's nor ours."""
    frame: types.FrameType | None = sys._getframe(2)  # noqa: SLF001 - there is no other way
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in _MACHINERY:
            file = frame.f_code.co_filename
            return any(part in file for part in _INSTALLED) and not file.startswith(_OURS)
        frame = frame.f_back
    return False


class _HomeLoader(SourceFileLoader):
    """Loads one source of a bundle as if it lay where the user wrote it."""

    def __init__(self, fullname: str, path: str, home: str) -> None:
        super().__init__(fullname, path)
        self._home = home

    def get_code(self, fullname: str) -> types.CodeType:
        source = self.get_data(self.path)
        # An entry without a time is one that linecache never checks against the disk: a traceback
        # shows the lines that ran, on machines that lack the file too.
        text = importlib.util.decode_source(source)
        linecache.cache[self._home] = (len(source), None, text.splitlines(True), self._home)
        code: types.CodeType = compile(source, self._home, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        # On the user's own machine `__file__` is the user's file, so that data beside it is found.
        home = Path(self._home)
        if home.is_file() and home.read_bytes() == self.get_data(self.path):
            module.__file__ = self._home
        super().exec_module(module)
