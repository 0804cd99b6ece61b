"""Reservations of attempts, and the reason why a job has to wait for another worker."""

from __future__ import annotations

import pytest

from mrcore.master.core import resources
from mrcore.master.core.events import WorkerAbout
from mrcore.master.core.volatile import Worker
from mrcore.model.job import Resources

GIB = 1 << 30


def about(cpus: float = 2.0, memory_bytes: int = 4 * GIB, *labels: str) -> WorkerAbout:
    return WorkerAbout(cpus=cpus, memory_bytes=memory_bytes, labels=labels)


@pytest.mark.parametrize(
    ("needs", "suits"),
    [
        (Resources(), True),
        (Resources(cpus=2.0), True),
        (Resources(cpus=2.001), False),
        (Resources(memory_bytes=4 * GIB), True),
        (Resources(memory_bytes=4 * GIB + 1), False),
        (Resources(labels=("gpu",)), True),
        (Resources(labels=("gpu", "ssd")), False),
        (Resources(cpus=1.0, labels=("ssd",)), False),
    ],
)
def test_a_worker_suits_needs_that_are_all_within_what_it_offers(
    needs: Resources, suits: bool
) -> None:
    offered = about(2.0, 4 * GIB, "gpu")
    assert resources.suits(needs, offered) == suits
    assert resources.has_room(needs, Worker("w", 1, 10.0, about=offered)) == suits


def test_tenths_of_cpus_add_up_exactly() -> None:
    worker = Worker("w", 1, 10.0, about=about(1.0))
    needs = Resources(cpus=0.1, memory_bytes=1)
    for _ in range(10):
        assert resources.has_room(needs, worker)
        resources.reserve(needs, worker)
    assert not resources.has_room(needs, worker)
    assert not resources.has_room(Resources(cpus=0.001), worker)
    assert resources.has_room(Resources(), worker)
    for _ in range(10):
        resources.reserve(needs, worker, -1)
    assert (worker.cpus_reserved, worker.memory_reserved) == (0, 0)


MANY = [about(2.0, GIB, "ssd"), about(4.0, GIB), about(1.0, 8 * GIB, "gpu", "ssd")]


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (Resources(cpus=4.0, memory_bytes=GIB), ""),
        (Resources(labels=("tpu",)), "no worker has the label tpu (3 workers, labels: gpu, ssd)"),
        (
            Resources(labels=("gpu", "tpu")),
            "no worker has the labels gpu and tpu (3 workers, labels: gpu, ssd)",
        ),
        (Resources(cpus=8.0), "no worker has 8 CPUs (3 workers, at most 4)"),
        (
            Resources(cpus=4.0, labels=("ssd",)),
            "no worker among those with the label ssd has 4 CPUs (2 workers, at most 2)",
        ),
        (
            Resources(memory_bytes=16 * GIB),
            "no worker has 16,384 MiB of memory (3 workers, at most 8,192 MiB)",
        ),
        (
            Resources(cpus=2.0, memory_bytes=8 * GIB),
            "no worker has 2 CPUs and 8,192 MiB of memory (3 workers)",
        ),
    ],
)
def test_what_no_worker_can_satisfy_is_named(needs: Resources, said: str) -> None:
    assert resources.unmet(needs, MANY) == said
    assert resources.unmet(needs, []) == ""


def test_workers_without_labels_are_counted() -> None:
    needs = Resources(labels=("gpu",))
    assert resources.unmet(needs, [about()]) == (
        "no worker has the label gpu (1 worker, without labels)"
    )
    crowd = [about(1.0, GIB, *(f"l{n}" for n in range(9)))]
    assert resources.unmet(needs, crowd).endswith("(1 worker, labels: l0, l1, l2, l3, l4, …)")
