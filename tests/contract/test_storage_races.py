"""Duties of every store when many threads change one name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
)
from mrcore.storage.base import ABSENT
from tests.support import stores
from tests.support.stores import Place

THREADS = 6
T = TypeVar("T")


def _together(do: Callable[[int], T], threads: int = THREADS) -> list[T]:
    """Call `do(0)`, `do(1)` … in threads that start at the same moment; return the results."""
    barrier = threading.Barrier(threads)

    def run(index: int) -> T:
        barrier.wait(30)
        return do(index)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def test_of_many_creators_one_wins(place: Place) -> None:
    def create(index: int) -> str | None:
        with place.storage.open_write(place.uri(f"r{round_}/x"), expect=ABSENT) as writer:
            writer.write(b"%d" % index)
            try:
                return writer.commit().generation
            except AlreadyExistsError:
                return None

    for round_ in range(10):
        outcomes = _together(create)
        (winner,) = [index for index, outcome in enumerate(outcomes) if outcome is not None]
        assert place.get(f"r{round_}/x") == b"%d" % winner
    assert len(place.names()) == 10


def test_compare_and_swap_loses_no_update(place: Place) -> None:
    place.put("counter", b"0")
    uri = place.uri("counter")

    def add(index: int) -> None:
        for _ in range(8):
            while True:
                info = place.storage.stat(uri)
                try:
                    value = int(place.storage.read(uri, generation=info.generation))
                    place.write("counter", b"%d" % (value + 1), expect=info.generation)
                    break
                except (NotFoundError, PreconditionFailedError):
                    continue

    _together(add, 4)
    assert place.get("counter") == b"32"
    assert place.names() == ["counter"]


def test_many_publishers_make_one_publication(place: Place) -> None:
    source = place.create("staged", b"content")
    generations = _together(
        lambda index: place.storage.publish(source, place.uri("out"), expect=ABSENT).generation
    )
    assert len(set(generations)) == 1
    assert place.get("out") == b"content"


def test_a_deleter_of_the_old_generation_never_hits_the_new_one(place: Place) -> None:
    for round_ in range(10):
        name = f"x{round_}"
        old = place.create(name, b"old")

        def step(index: int, name: str = name, generation: str = old.generation) -> bool:
            if index == 0:
                try:
                    place.write(name, b"new", expect=generation)
                except PreconditionFailedError:
                    return False
                return True
            return place.storage.delete(place.uri(name), generation=generation)

        replaced, *deleted = _together(step, 3)
        if replaced:
            assert place.get(name) == b"new"
            assert not any(deleted)
        else:
            assert place.get(name) is None
            assert sorted(deleted) == [False, True]


def test_readers_see_whole_versions_only(place: Place) -> None:
    place.put("x", b"0" * 50_000)
    done = threading.Event()

    def step(index: int) -> set[int]:
        if index == 0:
            for digit in b"123456789":
                place.write("x", bytes([digit]) * 50_000)
            done.set()
            return set()
        seen = set()
        while not done.is_set():
            content = place.storage.read(place.uri("x"))
            assert len(content) == 50_000
            seen |= set(content[:1]) if len(set(content)) == 1 else {-1}
        return seen

    for seen in _together(step, 3):
        assert -1 not in seen


def test_a_source_that_was_replaced_is_another_publication(place: Place) -> None:
    first = place.create("staged", b"1")
    published = place.storage.publish(first, place.uri("out"), expect=ABSENT)
    second = place.write("staged", b"2")
    place.storage.publish(second, place.uri("out"), expect=published.generation)
    assert place.get("out") == b"2"


class TestWithoutLocks:
    """Creating only, where nobody has seen the other one: as between machines whose locks fail."""

    def test_a_creator_does_not_replace(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with place.storage.open_write(place.uri("x"), expect=ABSENT) as writer:
            writer.write(b"ours")
            place.put("x", b"theirs")
            stores.without_locks_and_sight(monkeypatch)
            with pytest.raises(AlreadyExistsError):
                writer.commit()
        assert place.get("x") == b"theirs"
        assert place.names() == ["x"]

    def test_a_publisher_does_not_replace(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = place.create("staged", b"ours")
        place.put("out", b"theirs")
        stores.without_locks_and_sight(monkeypatch, place.uri("out"))
        with pytest.raises(AlreadyExistsError):
            place.storage.publish(source, place.uri("out"), expect=ABSENT)
        assert place.get("out") == b"theirs"
