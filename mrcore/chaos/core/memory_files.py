"""Files by which control groups limit memory, in both versions of groups. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Names of files in a group, and the word for no limit."""

    limit: str
    usage: str
    events: str
    """File with the number of processes that the kernel has killed for want of memory."""
    swap: str
    swap_counts_memory: bool
    """Whether the limit of swap is one of memory and swap together."""
    no_limit: str

    def limited(self, size_bytes: int) -> list[tuple[str, str]]:
        """Return what to write into which file, in order, to limit memory and forbid swap."""
        swap = str(size_bytes) if self.swap_counts_memory else "0"
        return [(self.limit, str(size_bytes)), (self.swap, swap)]

    def unlimited(self) -> list[tuple[str, str]]:
        """Return what to write into which file, in order, to undo that."""
        # The limit of both together must never be below that of memory alone.
        return [(self.swap, self.no_limit), (self.limit, self.no_limit)]


VERSION_1: Final = Version(
    limit="memory.limit_in_bytes",
    usage="memory.usage_in_bytes",
    events="memory.oom_control",
    swap="memory.memsw.limit_in_bytes",
    swap_counts_memory=True,
    no_limit="-1",
)
VERSION_2: Final = Version(
    limit="memory.max",
    usage="memory.current",
    events="memory.events",
    swap="memory.swap.max",
    swap_counts_memory=False,
    no_limit="max",
)


def kills_in(events: str) -> int:
    """Return how many processes the kernel has killed, by the text of the file of events."""
    for line in events.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def cached_in(stat: str) -> int:
    """Return the bytes of files that the kernel can drop, by the text of `memory.stat`."""
    fields = (line.partition(" ") for line in stat.splitlines())
    return sum(int(value) for name, _, value in fields if name in ("inactive_file", "active_file"))
