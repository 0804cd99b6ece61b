"""Resources of workers: reservations of attempts, and fitness of workers for jobs.

A job's tasks may need labels, CPUs and memory of their worker. Labels are there or not. CPUs and
memory are reserved from the assignment of an attempt until it is dropped, whether it has begun or
not, so that a worker never holds more than it offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mrcore.master.core.events import WorkerAbout
from mrcore.master.core.volatile import Worker
from mrcore.model.job import Resources
from mrcore.model.resources import thousandths

_LABELS_SHOWN: Final = 5


def is_counted(needs: Resources) -> bool:
    """Return whether a task takes something that others then lack."""
    return needs.cpus > 0.0 or needs.memory_bytes > 0


def suits(needs: Resources, about: WorkerAbout) -> bool:
    """Return whether a worker without other work satisfies these needs."""
    return (
        thousandths(needs.cpus) <= thousandths(about.cpus)
        and needs.memory_bytes <= about.memory_bytes
        and set(needs.labels) <= set(about.labels)
    )


def has_room(needs: Resources, worker: Worker) -> bool:
    """Return whether a worker satisfies these needs beside what its attempts have reserved.

    What this decides is played in 80_resources, 81_a_large_task_gets_its_turn and 82_labels.
    """
    return (
        set(needs.labels) <= set(worker.about.labels)
        and worker.cpus_reserved + thousandths(needs.cpus) <= thousandths(worker.about.cpus)
        and worker.memory_reserved + needs.memory_bytes <= worker.about.memory_bytes
    )


def reserve(needs: Resources, worker: Worker, attempts: int = 1) -> None:
    """Reserve what one more attempt takes; with -1, release it."""
    worker.cpus_reserved += attempts * thousandths(needs.cpus)
    worker.memory_reserved += attempts * needs.memory_bytes


def unmet(needs: Resources, workers: Sequence[WorkerAbout]) -> str:
    """Return why none of these workers can ever satisfy these needs; empty where one can.

    Before the first worker nobody knows (test_what_no_worker_can_satisfy_is_named).
    """
    if not workers or any(suits(needs, about) for about in workers):
        return ""
    labelled = [about for about in workers if set(needs.labels) <= set(about.labels)]
    if not labelled:
        return f"no worker has {_labels_text(needs.labels)} ({_known_labels(workers)})"
    among = f" among those with {_labels_text(needs.labels)}" if needs.labels else ""
    count = _count(len(labelled))
    if all(thousandths(about.cpus) < thousandths(needs.cpus) for about in labelled):
        most = max(about.cpus for about in labelled)
        return f"no worker{among} has {needs.cpus:g} CPUs ({count}, at most {most:g})"
    if all(about.memory_bytes < needs.memory_bytes for about in labelled):
        most_bytes = max(about.memory_bytes for about in labelled)
        wanted = f"{needs.memory_bytes >> 20:,} MiB of memory"
        return f"no worker{among} has {wanted} ({count}, at most {most_bytes >> 20:,} MiB)"
    wanted = f"{needs.cpus:g} CPUs and {needs.memory_bytes >> 20:,} MiB of memory"
    return f"no worker{among} has {wanted} ({count})"


def shortage(needs: Resources, about: WorkerAbout) -> str:
    """Return the CPUs or memory that a worker lacks to satisfy these needs, with what it offers."""
    if thousandths(needs.cpus) > thousandths(about.cpus):
        return f"{needs.cpus:g} CPUs, and {about.cpus:g} are offered there"
    wanted, offered = needs.memory_bytes >> 20, about.memory_bytes >> 20
    return f"{wanted:,} MiB of memory, and {offered:,} MiB are offered there"


def _labels_text(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return f"the label {labels[0]}"
    return f"the labels {', '.join(labels[:-1])} and {labels[-1]}"


def _known_labels(workers: Sequence[WorkerAbout]) -> str:
    known = sorted({label for about in workers for label in about.labels})
    more = ", …" if len(known) > _LABELS_SHOWN else ""
    listed = f"labels: {', '.join(known[:_LABELS_SHOWN])}{more}" if known else "without labels"
    return f"{_count(len(workers))}, {listed}"


def _count(workers: int) -> str:
    return f"{workers:,} worker{'' if workers == 1 else 's'}"
