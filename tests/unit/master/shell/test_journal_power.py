"""The journal and its neighbours on files, when the power is cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mrcore.errors import AlreadyExistsError, UnavailableError
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.leader import announce, open_cluster, protect_state, read_leader
from mrcore.model import object_names
from mrcore.storage.base import ABSENT
from mrcore.storage.local.store import LocalStorage
from tests.support import stores
from tests.support.fake_clock import FakeClock
from tests.support.journals import cancelled, history_of, leader
from tests.support.power import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "kept")


@pytest.fixture
def state(tmp_path: Path) -> str:
    return f"file://{tmp_path}/state"


def lose_all(disk: Disk) -> None:
    disk.cut([True] * len(disk.unsynced))


def begin(state: str) -> Journal:
    """Take over as a master does: the folder of the state comes first."""
    protect_state(LocalStorage(), state)
    journal = Journal(LocalStorage(), state, "w", FakeClock())
    for _ in journal.take_over():
        pass
    return journal


def test_what_was_appended_outlives_a_power_cut(disk: Disk, state: str) -> None:
    with disk.watched():
        journal = begin(state)
        announce(LocalStorage(), state, leader(1))
        for name in "abc":
            journal.append([cancelled(name)])
    lose_all(disk)
    entries = history_of(LocalStorage(), state)
    assert [entry.facts for entry in entries[1:]] == [(cancelled(name),) for name in "abc"]
    for number in range(1, 5):
        entry = Path(object_names.journal_uri(state, number).removeprefix("file://"))
        assert entry.stat().st_ino in disk.synced_files


@pytest.mark.parametrize("failing", [1, 2])
def test_an_entry_whose_folder_was_not_synced_is_not_believed(
    disk: Disk, state: str, failing: int
) -> None:
    with disk.watched():
        journal = begin(state)
        announce(LocalStorage(), state, leader(1))
        disk.failing_folder_syncs = failing
        journal.append([cancelled("a")])  # its retry meets its own entry
    lose_all(disk)
    assert history_of(LocalStorage(), state)[-1].facts == (cancelled("a"),)


def test_a_name_that_refuses_a_durable_writer_is_durable(disk: Disk, state: str) -> None:
    storage, uri = LocalStorage(), f"{state}/x"

    def write() -> None:
        with storage.open_write(uri, expect=ABSENT, durable=True) as writer:
            writer.write(b"x")
            writer.commit()

    protect_state(LocalStorage(), state)
    with disk.watched():
        disk.failing_folder_syncs = 2
        for error in (UnavailableError, UnavailableError, AlreadyExistsError):
            with pytest.raises(error):
                write()
    lose_all(disk)
    assert storage.read(uri) == b"x"


@pytest.mark.parametrize("failing", [0, 1])
def test_a_master_that_serves_has_a_durable_identity(disk: Disk, state: str, failing: int) -> None:
    """The cluster object may be left from a start that failed as it could not sync it."""
    storage = LocalStorage()

    def attempt(act: Callable[[], object]) -> None:
        try:
            act()
        except UnavailableError:
            assert failing
            act()

    with disk.watched():
        begin(state)
        disk.failing_folder_syncs = failing
        attempt(lambda: open_cluster(storage, state))
        cluster = open_cluster(storage, state)
        disk.failing_folder_syncs = failing
        attempt(lambda: announce(storage, state, leader(1)))
    lose_all(disk)
    assert open_cluster(storage, state) == cluster
    assert read_leader(storage, state)[0] == leader(1)


def test_a_new_folder_on_the_way_to_a_durable_file_is_durable(disk: Disk, state: str) -> None:
    protect_state(LocalStorage(), state)
    with disk.watched():
        uri = object_names.plan_uri(state, "job-a")
        with LocalStorage().open_write(uri, durable=True) as writer:
            writer.write(b"plan")
            writer.commit()
    lose_all(disk)
    assert LocalStorage().read(uri) == b"plan"


def test_a_new_state_folder_is_durable(disk: Disk, tmp_path: Path) -> None:
    with disk.watched():
        protect_state(LocalStorage(), f"file://{tmp_path}/a/b/state")
    lose_all(disk)
    assert (tmp_path / "a" / "b" / "state").is_dir()


def test_state_without_nameless_files(
    disk: Disk, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.without_links(monkeypatch)
    with disk.watched():
        journal = begin(state)
        announce(LocalStorage(), state, leader(1))
        journal.append([cancelled("a")])
    lose_all(disk)
    assert history_of(LocalStorage(), state)[-1].facts == (cancelled("a"),)
