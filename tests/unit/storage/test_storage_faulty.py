"""The store that fails on purpose."""

from __future__ import annotations

from random import Random

import pytest

from mrcore.errors import NotFoundError, UnavailableError
from mrcore.storage.base import ABSENT
from mrcore.storage.faulty import FaultKind, FaultyStorage, Plan, random_faults, script
from mrcore.storage.memory import MemoryStorage

URI = "mem://x/object"


def _wrap(plan: Plan) -> tuple[MemoryStorage, FaultyStorage]:
    inner = MemoryStorage()
    return inner, FaultyStorage(inner, plan)


def _create(storage: FaultyStorage, uri: str = URI) -> None:
    with storage.open_write(uri, expect=ABSENT) as writer:
        writer.write(b"content")
        writer.commit()


def test_before_nothing_happens_and_after_it_has() -> None:
    inner, storage = _wrap(script({0: FaultKind.BEFORE, 1: FaultKind.AFTER}))
    with pytest.raises(UnavailableError, match="commit of mem://x/object"):
        _create(storage)
    with pytest.raises(NotFoundError):
        inner.stat(URI)
    with pytest.raises(UnavailableError, match="lost"):
        _create(storage)
    assert inner.read(URI) == b"content"


@pytest.mark.parametrize("kind", [FaultKind.BEFORE, FaultKind.AFTER])
def test_every_operation_can_fail(kind: FaultKind) -> None:
    inner, storage = _wrap(lambda *_: kind)
    info = inner.put(URI, b"content")
    for act in (
        lambda: storage.stat(URI),
        lambda: storage.read(URI),
        lambda: storage.open_read(URI),
        lambda: list(storage.list("mem://x/")),
        lambda: storage.publish(info, f"{URI}2"),
        lambda: storage.delete(URI),
        lambda: _create(storage, f"{URI}3"),
    ):
        with pytest.raises(UnavailableError):
            act()
    applied = kind is FaultKind.AFTER
    left = [f"{URI}2", f"{URI}3"] if applied else [URI]
    assert [i.uri for i in inner.list("mem://x/")] == left


def test_a_truncated_read_says_nothing() -> None:
    inner, storage = _wrap(lambda *_: FaultKind.TRUNCATE)
    inner.put(URI, b"0123456789")
    assert storage.read(URI) == b"01234"
    assert storage.read(URI, 2, 6) == b"23"
    with storage.open_read(URI, 0, 4) as stream:
        assert stream.read() == b"01"
    assert storage.stat(URI).size_bytes == 10


def test_the_error_can_be_chosen() -> None:
    inner = MemoryStorage()
    storage = FaultyStorage(inner, lambda *_: FaultKind.BEFORE, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.stat(URI)


def test_the_hook_sees_what_is_about_to_happen() -> None:
    seen: list[tuple[str, str]] = []
    inner = MemoryStorage()
    storage = FaultyStorage(
        inner, lambda *_: None, hook=lambda operation, uri: seen.append((operation, uri))
    )
    _create(storage)
    storage.read(URI)
    list(storage.list("mem://x/"))
    assert seen == [("commit", URI), ("read", URI), ("list", "mem://x/")]


def test_the_seed_decides_what_fails() -> None:
    rates = {"stat": {FaultKind.BEFORE: 0.2, FaultKind.AFTER: 0.3}, "*": {FaultKind.BEFORE: 1.0}}

    def draw(seed: int) -> list[FaultKind | None]:
        plan = random_faults(Random(seed), rates)
        return [plan("stat", URI, number) for number in range(1_000)]

    first = draw(1)
    assert first == draw(1)
    assert first != draw(2)
    assert 150 < first.count(FaultKind.BEFORE) < 250
    assert 250 < first.count(FaultKind.AFTER) < 350
    assert random_faults(Random(1), rates)("delete", URI, 0) is FaultKind.BEFORE
    assert random_faults(Random(1), {})("delete", URI, 0) is None
