"""Modules that only the user's machine has: the ones that are loaded here and not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Final

RESERVED: Final = sys.stdlib_module_names | {
    "cloudpickle", "google", "google_crc32c", "grpc", "mrcore", "msgspec", "numpy", "pyarrow",
}  # fmt: skip
"""Modules that a child has loaded, or may load, under these names for itself."""


def user_source(module: object) -> Path | None:
    """Return the file of a module that is not installed, or None."""
    path = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    if not isinstance(path, str) or not path.endswith(".py"):
        return None
    if name.partition(".")[0] in RESERVED:
        return None
    file = Path(path).absolute()
    return None if is_installed(file) or not file.is_file() else file


def is_installed(file: Path) -> bool:
    """Return whether a file belongs to an installed package."""
    return "site-packages" in file.parts or "dist-packages" in file.parts


class LocalModules:
    """The loaded modules that are not installed, looked up again only for what was loaded since."""

    def __init__(self) -> None:
        self._seen = {"__main__"}
        self._local: list[str] = []
        self._loaded = 0

    def names(self) -> list[str]:
        """Return their names, without `__main__`, which never travels by its name."""
        if len(sys.modules) != self._loaded:
            loaded = list(sys.modules.items())
            self._loaded = len(loaded)
            for name, module in loaded:
                if name not in self._seen:
                    self._seen.add(name)
                    is_module = isinstance(module, ModuleType) and module.__name__ == name
                    if is_module and user_source(module) is not None:
                        self._local.append(name)
        return [name for name in self._local if name in sys.modules]
