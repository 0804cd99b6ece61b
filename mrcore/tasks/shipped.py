"""Modules of the caller's machine that calls import, as one process has them."""

from __future__ import annotations

from pathlib import Path

from mrcore.plugin.loader import install_modules
from mrcore.tasks.object_cache import read_object


class ShippedModules:
    """The modules that came with the function that is called now, unpacked below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._installed = ""

    def provide(self, state_uri: str, sha256: str) -> None:
        """Make the modules of a stored bundle importable, in place of those of another function.

        Raises StorageError where the bundle is gone, PluginError where it is damaged.
        """
        if sha256 != self._installed:
            install_modules(read_object(state_uri, sha256), self._folder)
            self._installed = sha256
