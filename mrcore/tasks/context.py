"""What `setup(context)` is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from mrcore.errors import UsageError


class Context:
    """The user's side of a task: its parameters, counters, status and side files."""

    def __init__(
        self,
        *,
        task: str,
        params: Mapping[str, str],
        files_folder: Path | None = None,
        on_status: Callable[[str], None] | None = None,
    ) -> None:
        self.task = task
        """The task's name, `map-00003`: the same for every attempt."""
        self.params: Mapping[str, str] = MappingProxyType(dict(params))
        """What `--param K=V` gave."""
        self.counters: dict[str, int] = {}
        self._files_folder = files_folder
        self._on_status = on_status

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of the job; attempts that do not win do not count."""
        if type(name) is not str or type(n) is not int:
            raise TypeError(f"count() takes a str and an int, not {name!r} and {n!r}")
        self.counters[name] = self.counters.get(name, 0) + n

    def status(self, text: str) -> None:
        """Show a line of text beside the running task."""
        if self._on_status is not None:
            self._on_status(str(text))

    def file(self, name: str) -> Path:
        """Return where a side file of `--files` lies on this machine; raise UsageError."""
        if self._files_folder is not None:
            path = self._files_folder / name
            if not Path(name).is_absolute() and ".." not in Path(name).parts and path.exists():
                return path
        raise UsageError(f"there is no side file {name!r}: name it by --files when the job is run")
