"""Samples of processes over time: memory, descriptors and threads, and whether they stay flat."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

WARM_UP_SECONDS = 60.0
"""Age of a process up to which its growth is its start."""
LEAST_SECONDS = 60.0
"""Length of a series after the warm-up, below which nothing can be said."""
MEMORY_MB_PER_MINUTE = 1.5
"""Growth of memory that counts as flat: allocators keep what they had at peaks."""
MORE_DESCRIPTORS = 8
MORE_THREADS = 4


class Sample(NamedTuple):
    """One look at one process."""

    seconds: float
    memory_kb: int
    descriptors: int
    threads: int


def look(process_id: int, seconds: float) -> Sample | None:
    """Return a sample of a process; None if it is gone."""
    folder = Path(f"/proc/{process_id}")
    try:
        lines = (folder / "status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        descriptors = len(list((folder / "fd").iterdir()))
    except OSError:
        return None
    if "VmRSS" not in status:
        return None
    memory = int(status["VmRSS"].split()[0])
    return Sample(seconds, memory, descriptors, int(status["Threads"]))


@dataclass
class Series:
    """Samples of one process, in order."""

    name: str
    process_id: int
    samples: list[Sample] = field(default_factory=list)

    @property
    def settled(self) -> list[Sample]:
        """Return the samples after the warm-up."""
        if not self.samples:
            return []
        first = self.samples[0].seconds + WARM_UP_SECONDS
        return [sample for sample in self.samples if sample.seconds >= first]

    @property
    def is_long(self) -> bool:
        """Return whether the process lived long enough to be judged."""
        settled = self.settled
        return bool(settled) and settled[-1].seconds - settled[0].seconds >= LEAST_SECONDS

    @property
    def memory_mb_per_minute(self) -> float:
        """Return the growth of memory after the warm-up, that of the half that grew less.

        What leaks grows in both halves. A step of the allocator at a new peak is in one of them.
        """
        points = [(one.seconds / 60, one.memory_kb / 1024) for one in self.settled]
        half = len(points) // 2
        return min(slope(points[:half]), slope(points[half:]))

    def more(self, of: int) -> float:
        """Return by how much a number is higher in the last third than in the first."""
        numbers = [sample[of] for sample in self.settled]
        third = max(1, len(numbers) // 3)
        return statistics.median(numbers[-third:]) - statistics.median(numbers[:third])

    def problems(self) -> list[str]:
        """Return what is not flat, in words."""
        found = []
        if self.memory_mb_per_minute > MEMORY_MB_PER_MINUTE:
            found.append(f"memory grows by {self.memory_mb_per_minute:.2f} MiB a minute")
        if self.more(2) > MORE_DESCRIPTORS:
            found.append(f"{self.more(2):.0f} more descriptors are open")
        if self.more(3) > MORE_THREADS:
            found.append(f"{self.more(3):.0f} more threads run")
        return [f"{self.name} ({self.process_id}): {problem}." for problem in found]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope between points (Theil and Sen): peaks do not count."""
    step = max(1, len(points) // 120)
    few = points[::step]
    slopes = [
        (other[1] - one[1]) / (other[0] - one[0])
        for index, one in enumerate(few)
        for other in few[index + 1 :]
        if other[0] > one[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def table(series: Iterable[Series]) -> list[str]:
    """Return a line for each process that lived long enough."""
    lines = [f"{'PROCESS':26} {'MINUTES':>7} {'MiB':>6} {'MiB/min':>8} {'FDS':>9} {'THREADS':>9}"]
    for one in series:
        first, last = one.settled[0], one.settled[-1]
        minutes = (one.samples[-1].seconds - one.samples[0].seconds) / 60
        name, memory = f"{one.name} {one.process_id}", last.memory_kb / 1024
        lines.append(
            f"{name:26} {minutes:7.1f} {memory:6.0f} "
            f"{one.memory_mb_per_minute:8.2f} {f'{first.descriptors}-{last.descriptors}':>9} "
            f"{f'{first.threads}-{last.threads}':>9}"
        )
    return lines
