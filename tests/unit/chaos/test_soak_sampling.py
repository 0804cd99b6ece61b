"""Judgement of a soak: what counts as growth."""

from __future__ import annotations

import os

import pytest

from tests.soak.sampling import Sample, Series, look, slope


def series(*, memory: float = 0.0, descriptors: float = 0.0, threads: float = 0.0) -> Series:
    """Return ten minutes of a process that grows by these a minute, after a fast first minute."""
    found = Series("master", 1)
    for step in range(300):
        minutes = step / 30
        start = min(minutes, 1.0) * 30_000
        peak = 80_000 if step % 40 == 0 else 0  # a garbage collection later it is gone
        kb = 100_000 + start + peak + memory * 1024 * minutes
        counts = (20 + descriptors * minutes, 8 + threads * minutes)
        found.samples.append(Sample(step * 2.0, int(kb), *map(int, counts)))
    return found


def test_a_process_that_stays_as_it_was() -> None:
    flat = series()
    assert flat.is_long
    assert flat.problems() == []


@pytest.mark.parametrize(
    ("growing", "word"),
    [
        (series(memory=3.0), "memory grows by 3.00 MiB a minute"),
        (series(descriptors=2.0), "descriptors"),
        (series(threads=1.0), "threads"),
    ],
)
def test_a_process_that_grows(growing: Series, word: str) -> None:
    (problem,) = growing.problems()
    assert word in problem
    assert problem.startswith("master (1): ")


@pytest.mark.parametrize("at", [3.0, 8.0])
def test_one_step_of_memory_is_no_growth(at: float) -> None:
    stepped = series()
    stepped.samples = [
        one._replace(memory_kb=one.memory_kb + 20_000 * (one.seconds >= 60 * at))
        for one in stepped.samples
    ]
    assert stepped.problems() == []


def test_a_staircase_of_memory_is_growth() -> None:
    growing = series()
    growing.samples = [
        one._replace(memory_kb=one.memory_kb + 4_000 * int(one.seconds / 60))
        for one in growing.samples
    ]
    (problem,) = growing.problems()
    assert "memory grows by 3." in problem or "memory grows by 4." in problem


def test_a_process_that_was_killed_soon_is_not_judged() -> None:
    short = series()
    short.samples = short.samples[:50]
    assert not short.is_long
    assert not Series("worker", 2).is_long


def test_the_slope_of_points() -> None:
    assert slope([(float(x), 2.0 * x + 1.0) for x in range(50)]) == pytest.approx(2.0)
    assert slope([(1.0, 1.0)]) == 0.0


def test_a_look_at_a_process() -> None:
    sample = look(os.getpid(), 1.0)
    assert sample is not None
    assert sample.memory_kb > 1_000
    assert sample.descriptors >= 3
    assert sample.threads >= 1
    assert look(2**22 + 1, 1.0) is None
