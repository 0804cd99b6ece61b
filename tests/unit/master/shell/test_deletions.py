"""Deletion of entries and snapshots on a store that refuses some of it."""

from __future__ import annotations

import pytest

from mrcore.errors import UnavailableError
from mrcore.master.shell.deletions import REFUSALS_MAX, delete_each
from mrcore.master.shell.snapshots import Snapshots
from mrcore.model import object_names
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultKind, FaultyStorage
from mrcore.storage.memory import MemoryStorage
from tests.support.journals import STATE, Master, job


def entries(storage: Storage) -> list[int]:
    return _numbers(storage, object_names.journal_prefix(STATE))


def snapshots(storage: Storage) -> list[int]:
    return _numbers(storage, object_names.snapshots_prefix(STATE))


def _numbers(storage: Storage, prefix: str) -> list[int]:
    return [int(info.uri.removeprefix(prefix)) for info in storage.list(prefix)]


@pytest.mark.parametrize("kind", [FaultKind.BEFORE, FaultKind.AFTER])
def test_an_object_that_cannot_be_deleted_keeps_no_other(kind: FaultKind) -> None:
    storage = MemoryStorage()
    master = Master(storage, "only")
    for name in "abcdef":
        master.append(*job(name))
        master.snapshot()
    assert (entries(storage), snapshots(storage)) == ([*range(1, 8)], [*range(2, 8)])

    def first_and_last(operation: str, uri: str, number: int) -> FaultKind | None:
        struck = operation == "delete" and uri.endswith(("2", "5"))
        return kind if struck else None

    faulty = Snapshots(FaultyStorage(storage, first_and_last), STATE)
    faulty.delete_covered(master.durable.epochs, master.journal.number)
    left = [2, 5] if kind is FaultKind.BEFORE else []
    assert entries(storage) == [1, *left, 7]
    assert snapshots(storage) == [*left, 6, 7]
    # Entries that are left do not change what a start reads, and go the next time.
    again = Master(storage, "again")
    assert again.durable.jobs == master.durable.jobs
    master.journal.snapshots.delete_covered(master.durable.epochs, master.journal.number)
    assert (entries(storage), snapshots(storage)) == ([1, 7, 8], [6, 7])


def test_a_store_that_is_gone_is_not_asked_for_each_object() -> None:
    storage = MemoryStorage()
    master = Master(storage, "only")
    for name in "abcdefghijklmnopqrst":
        master.append(*job(name))
        master.snapshot()
    asked: list[str] = []

    def all_fail(operation: str, uri: str, number: int) -> FaultKind | None:
        asked.append(operation)
        return FaultKind.BEFORE if operation == "delete" else None

    faulty = Snapshots(FaultyStorage(storage, all_fail), STATE)
    with pytest.raises(UnavailableError):
        faulty.delete_covered(master.durable.epochs, master.journal.number)
    assert asked.count("delete") == REFUSALS_MAX


def test_a_store_that_refuses_every_second_object_is_not_gone() -> None:
    storage = MemoryStorage()
    for number in range(4 * REFUSALS_MAX):
        storage.put(f"{STATE}/objects/{number:02d}", b"x")
    infos = list(storage.list(f"{STATE}/objects/"))

    def every_second(operation: str, uri: str, number: int) -> FaultKind | None:
        return FaultKind.BEFORE if operation == "delete" and int(uri[-2:]) % 2 else None

    assert delete_each(FaultyStorage(storage, every_second), infos) == 2 * REFUSALS_MAX
