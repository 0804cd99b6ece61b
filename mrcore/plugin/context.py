"""Context that `setup(context)` receives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mrcore.errors import UsageError
from mrcore.util.texts import one_line

MAX_COUNTERS: Final = 1_000
"""Names of counters in a job, and so in each of its tasks."""
MAX_COUNTS: Final = 2_000_000
"""Counters of a job's tasks, summed over the tasks: the master keeps each task's own."""
MAX_COUNTER_NAME: Final = 200
COUNTER_LIMIT: Final = 2**63
"""A counter of one task stays within 64 bits, sign included; sums over a job have no bound."""


def counters_problem(names: int, counts: int, names_max: int, counts_max: int) -> str | None:
    """Return why a job has too many counters; None while it has not.

    `names` are the different names in the job, `counts` the counters of each task, summed up.
    """
    if names > names_max:
        return (
            f"The job counts under {names:,} names, and {names_max:,} is the limit. Use fewer "
            "names for context.count(), or emit such counts as pairs."
        )
    if counts > counts_max:
        return (
            f"The tasks of the job have {counts:,} counters in all, and {counts_max:,} is the "
            "limit. Use fewer names for context.count(), or emit such counts as pairs."
        )
    return None


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
        """The name of the task that runs, `map-00003`: the same for every attempt."""
        self.params: Mapping[str, str] = MappingProxyType(dict(sorted(params.items())))
        """Values of `--param K=V`, in the order of the names: the same in every process."""
        self._counters: dict[str, int] = {}
        self._files_folder = files_folder
        self._on_status = on_status

    def begin_task(self, task: str, on_status: Callable[[str], None] | None) -> None:
        """Serve the next task of the job in this process: its counters begin at nothing."""
        self.task = task
        self._on_status = on_status
        self._counters = {}

    @property
    def counters(self) -> Mapping[str, int]:
        """Counters of this attempt so far."""
        return MappingProxyType(self._counters)

    def restore(self, counters: Mapping[str, int]) -> None:
        """Take back what was counted since the counters were these."""
        self._counters = dict(counters)

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of the job; attempts that do not win do not count.

        Raises TypeError unless given str and int, OverflowError beyond 64 bits, ValueError for a
        name that is too long or one too many; the counter then stays as it was.
        """
        if type(name) is not str or type(n) is not int:
            raise TypeError(f"count() takes a str and an int, not {name!r} and {n!r}")
        counters = self._counters
        total = counters.get(name, 0) + n
        if not -COUNTER_LIMIT <= total < COUNTER_LIMIT:
            raise OverflowError(
                f"the counter {name!r} of this task would be {total:,}, which is beyond 64 bits: "
                "count in larger units, or emit it as a pair"
            )
        if name not in counters:
            if len(name) > MAX_COUNTER_NAME:
                raise ValueError(
                    f"the name of a counter is {len(name):,} characters long, and "
                    f"{MAX_COUNTER_NAME} is the limit: {name[:40]!r}…"
                )
            if len(counters) == MAX_COUNTERS:
                raise ValueError(
                    f"{name!r} is counter number {MAX_COUNTERS + 1:,} of this task, and "
                    f"{MAX_COUNTERS:,} is the limit: emit such counts as pairs"
                )
        counters[name] = total

    def status(self, text: str) -> None:
        """Show a line of text beside the running task."""
        if self._on_status is not None:
            self._on_status(one_line(str(text)))

    def file(self, name: str) -> Path:
        """Return where a side file of `--files` lies on this machine; raise UsageError."""
        if self._files_folder is not None:
            path = self._files_folder / name
            if not Path(name).is_absolute() and ".." not in Path(name).parts and path.exists():
                return path
        raise UsageError(f"there is no side file {name!r}: name it by --files when the job is run")
