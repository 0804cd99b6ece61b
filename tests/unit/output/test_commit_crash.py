"""A committer that dies at any step, one that sleeps at any step, and two at once."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mrcore.errors import MrcoreError, NotFoundError, OutputError
from mrcore.output import commit
from mrcore.storage.faulty import FaultKind
from tests.support import stores
from tests.support.commit_world import (
    BY_X,
    FLAT,
    CommittedJob,
    Crash,
    at_operation,
    crash_at,
    faulty,
    new_job,
    old_job,
    snapshot,
)
from tests.support.stores import Place

MakePlace = Callable[[], Place]
MANY = 90
"""More operations than any commit here has."""


@pytest.fixture(params=["memory", "file"])
def make_place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> MakePlace:
    """Return a function that gives an empty place."""
    stores.without_fsync(monkeypatch)

    def make() -> Place:
        if request.param == "memory":
            return stores.memory_place()
        shutil.rmtree(tmp_path / "objects", ignore_errors=True)
        return stores.file_place(tmp_path)

    return make


def _check_readers_view(place: Place, jobs: list[CommittedJob]) -> None:
    """Whoever finds a receipt finds what it says, whole and unmixed."""
    if place.get("out/_SUCCESS") is None:
        return
    report = commit.verify(place.uri("out"))
    (job,) = [job for job in jobs if job.job_id == report.receipt.job_id]
    problems = [p for p in report.problems if "the receipt does not name" not in p]
    assert problems == []
    for name, content in job.files().items():
        assert place.get(name) == content


def _crash(place: Place, job: CommittedJob, number: int, kind: FaultKind) -> bool:
    """Run the job's commit until its death at an operation; return False if it has fewer.

    An operation that fails by itself has no reply that could be lost: nobody dies there.
    """
    reached: list[str] = []
    hook = at_operation(number, lambda: reached.append("the operation"))
    with contextlib.suppress(Crash), faulty(place, crash_at(number, kind), hook):
        job.run()
    return bool(reached)


LAYOUTS = [(None, FLAT), (FLAT, FLAT), (None, BY_X), (BY_X, BY_X), (FLAT, BY_X), (BY_X, FLAT)]
"""Columns that the output of the old job and of the new one are partitioned by."""


@pytest.mark.parametrize("kind", [FaultKind.BEFORE, FaultKind.AFTER])
@pytest.mark.parametrize(("old", "new"), LAYOUTS)
def test_another_committer_goes_on_after_a_crash_anywhere(
    make_place: MakePlace,
    kind: FaultKind,
    old: tuple[str, ...] | None,
    new: tuple[str, ...],
) -> None:
    for number in range(MANY):
        place = make_place()
        with stores.registered(place):
            jobs = [] if old is None else [old_job(place, old)]
            job = new_job(place, new)
            crashed = _crash(place, job, number, kind)
            _check_readers_view(place, [*jobs, job])
            job.run()
            assert snapshot(place) == job.expected()
        if not crashed:
            break
    assert 10 < number < MANY - 1


@pytest.mark.parametrize("layout", [FLAT, BY_X])
def test_crashes_of_one_committer_after_the_other(
    make_place: MakePlace, layout: tuple[str, ...]
) -> None:
    for first in range(0, MANY, 3):
        place = make_place()
        with stores.registered(place):
            jobs = [old_job(place, layout)]
            job = new_job(place, layout)
            number, crashed = first, True
            while crashed:
                crashed = _crash(place, job, number, FaultKind.AFTER)
                _check_readers_view(place, [*jobs, job])
                number += 1
            assert snapshot(place) == job.expected()


def _sleeper(job: CommittedJob) -> CommittedJob:
    """Return a second committer of the same job, which has read the journal up to now."""
    return CommittedJob(
        job.place,
        job.job_id,
        job.part_count,
        job.spec,
        job.bad,
        job.generation,
        job.parts,
        plan=job.plan,
    )


def _let_sleep(place: Place, job: CommittedJob, number: int, meanwhile: Callable[[], None]) -> bool:
    """Publish as a committer that sleeps before an operation; return False if it has fewer."""
    woken = False

    def act() -> None:
        nonlocal woken
        woken = True
        with stores.registered(place):
            meanwhile()

    strike = at_operation(number, act)

    def hook(operation: str, uri: str) -> None:
        if operation != "prune":  # changes no object; the last one comes after the claim's end
            strike(operation, uri)

    with faulty(place, lambda *_: None, hook):
        try:
            job.publish()
            commit.clean_up(job.spec, job.job_id, True)
            commit.release_claim(job.spec.output_uri, job.generation)
        except (OutputError, NotFoundError):
            pass  # it has noticed that it comes too late
    return woken


@pytest.mark.parametrize("layout", [FLAT, BY_X])
def test_a_committer_that_wakes_after_the_end_changes_nothing(
    make_place: MakePlace, layout: tuple[str, ...]
) -> None:
    for number in range(MANY):
        place = make_place()
        with stores.registered(place):
            old_job(place, layout)
            job = new_job(place, layout)
            job.plan = job.prepare()
            woken = _let_sleep(place, _sleeper(job), number, job.run)
            assert snapshot(place) == job.expected()
        if not woken:
            break
    assert 8 < number < MANY - 1


@pytest.mark.parametrize(("parts", "layout"), [(1, FLAT), (2, FLAT), (4, FLAT), (2, BY_X)])
def test_a_committer_that_wakes_after_another_job_changes_nothing(
    make_place: MakePlace, parts: int, layout: tuple[str, ...]
) -> None:
    for number in range(MANY):
        place = make_place()
        with stores.registered(place):
            old_job(place, layout)
            job = new_job(place, layout)
            job.plan = job.prepare()
            third = CommittedJob(place, "third", parts, job.spec)

            def meanwhile(job: CommittedJob = job, third: CommittedJob = third) -> None:
                job.run()
                third.begin().run()

            woken = _let_sleep(place, _sleeper(job), number, meanwhile)
            assert snapshot(place) == third.expected() if woken else job.expected()
        if not woken:
            break
    assert 8 < number < MANY - 1


def test_a_committer_that_wakes_in_the_midst_of_another_job_harms_nothing(
    make_place: MakePlace,
) -> None:
    """The late one wakes at each of its steps, while the other job stands at each of its own."""
    # At each step only some of the other's, for time; the next ones at the next step.
    stride = 2 if make_place().kind == "memory" else 5
    for number in range(MANY):
        woken = False
        for midst in range(number % stride, MANY, stride):
            place = make_place()
            with stores.registered(place):
                old_job(place)
                job = new_job(place)
                job.plan = job.prepare()
                third = CommittedJob(place, "third", 3, job.spec)
                crashed = False

                def meanwhile(
                    place: Place = place,
                    job: CommittedJob = job,
                    third: CommittedJob = third,
                    midst: int = midst,
                ) -> None:
                    nonlocal crashed
                    job.run()
                    third.begin()
                    crashed = _crash(place, third, midst, FaultKind.AFTER)

                woken = _let_sleep(place, _sleeper(job), number, meanwhile)
                if woken:
                    third.run()
                    assert snapshot(place) == third.expected()
            if not crashed:
                break
        if not woken:
            break
    assert 8 < number < MANY - 1


def test_an_output_that_was_deleted_by_hand_stays_so(make_place: MakePlace) -> None:
    for number in range(MANY):
        place = make_place()
        with stores.registered(place):
            old_job(place)
            job = new_job(place)
            job.plan = job.prepare()

            def meanwhile(place: Place = place, job: CommittedJob = job) -> None:
                job.run()
                for info in list(place.storage.list(place.uri("out/"))):
                    place.storage.delete(info.uri)

            if not _let_sleep(place, _sleeper(job), number, meanwhile):
                break
            assert snapshot(place) == {}
    assert 8 < number < MANY - 1


def test_two_committers_at_once_end_as_one(any_storage: Place) -> None:
    for _ in range(5):
        old = old_job(any_storage)
        job = new_job(any_storage)
        job.plan = job.prepare()
        barrier = threading.Barrier(2)
        refused: list[MrcoreError] = []

        def commit_it(
            mine: CommittedJob,
            barrier: threading.Barrier = barrier,
            refused: list[MrcoreError] = refused,
        ) -> None:
            barrier.wait(30)
            try:
                mine.run()
            except (OutputError, NotFoundError) as error:
                refused.append(error)

        threads = [threading.Thread(target=commit_it, args=(_sleeper(job),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) <= 1, refused
        assert snapshot(any_storage) == job.expected()
        for name in job.expected() | old.expected():
            any_storage.storage.delete(any_storage.uri(name))
