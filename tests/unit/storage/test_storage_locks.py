"""Locks of files: who holds a folder is waited for, but not for ever; a state has one master."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mrcore.errors import (
    AlreadyExistsError,
    UnavailableError,
)
from mrcore.storage.base import ABSENT
from mrcore.storage.local import files
from mrcore.storage.local.lock import FileLock, is_locked
from tests.support import stores
from tests.support.stores import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return stores.file_place(tmp_path)


def test_a_change_waits_for_who_holds_the_folder(place: Place) -> None:
    place.put("folder/x", b"1")
    holder = os.open(f"{place.base_uri.removeprefix('file://')}/folder", os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    deleted = threading.Event()

    def delete() -> None:
        place.storage.delete(place.uri("folder/x"))
        deleted.set()

    thread = threading.Thread(target=delete)
    thread.start()
    assert not deleted.wait(0.1)
    assert place.get("folder/x") == b"1"
    os.close(holder)
    assert deleted.wait(30)
    thread.join()
    assert place.get("folder/x") is None


def test_a_file_that_another_program_removes_keeps_no_others_from_their_deletion(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = [place.create(f"folder/{number}", b"1") for number in range(3)]
    unlink, first = os.unlink, infos[0].uri.removeprefix("file://")

    def unlink_late(path: str) -> None:
        if path == first:
            unlink(path)  # as `rm` does, between a look and the deletion
        unlink(path)

    monkeypatch.setattr(os, "unlink", unlink_late)
    place.storage.delete_all(infos)
    assert list(place.storage.list(place.uri("folder/"))) == []


@pytest.mark.parametrize("locked_by_file", [False, True])
def test_a_lock_that_is_never_given_back_is_a_sentence(
    place: Place, monkeypatch: pytest.MonkeyPatch, locked_by_file: bool
) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    info = place.create("folder/x", b"1")
    source = place.create("source", b"2")
    name = "folder"
    if locked_by_file:
        stores.without_folder_locks(monkeypatch)
        name = f"folder/{files._LOCK_NAME}"
        place.put(name, b"")
    holder = os.open(f"{place.base_uri.removeprefix('file://')}/{name}", os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_SH)
    files_open = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    changes: list[Callable[[], object]] = [
        lambda: place.write("folder/x", b"", expect=info.generation),
        lambda: place.storage.delete(info.uri),
        lambda: place.storage.delete_all([info]),
        lambda: place.storage.publish(source, info.uri, expect=info.generation),
    ]
    if locked_by_file:
        changes.append(lambda: place.create("folder/y", b""))
    else:  # a name that is new takes nothing from anybody
        place.create("folder/y", b"")
    place.storage.publish(source, place.uri("folder/z"), expect=ABSENT)  # likewise
    for change in changes:
        with pytest.raises(UnavailableError, match=r"held a lock on the folder \S+/folder for"):
            change()
    assert len(os.listdir("/proc/self/fd")) == files_open  # noqa: PTH208
    os.close(holder)
    assert place.storage.delete(info.uri)


class TestLock:
    """The lock of a state on files."""

    def test_one_holder_at_a_time(self, tmp_path: Path) -> None:
        uri = f"file://{tmp_path}/state/lock"
        assert not is_locked(uri)
        with FileLock(uri):
            assert is_locked(uri)
            with pytest.raises(AlreadyExistsError, match="still alive"):
                FileLock(uri)
        assert not is_locked(uri)
        FileLock(uri).close()

    def test_a_process_that_dies_frees_it(self, tmp_path: Path) -> None:
        uri = f"file://{tmp_path}/lock"
        script = (
            "import sys\n"
            "from mrcore.storage.local.lock import FileLock\n"
            "lock = FileLock(sys.argv[1])\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            assert is_locked(uri)
            holder.kill()
        assert not is_locked(uri)

    def test_looking_takes_it_from_nobody(self, tmp_path: Path) -> None:
        uri = f"file://{tmp_path}/lock"
        done = threading.Event()

        def look_on_and_on() -> None:
            while not done.is_set():
                is_locked(uri)

        thread = threading.Thread(target=look_on_and_on)
        thread.start()
        try:
            for _ in range(200):
                FileLock(uri).close()
        finally:
            done.set()
            thread.join()
