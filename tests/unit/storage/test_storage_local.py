"""Duties that only a store of files has: folders, links, locks, processes that die."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mrcore.errors import (
    AlreadyExistsError,
    DiskFullError,
    MrcoreError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    UnavailableError,
)
from mrcore.storage.base import ABSENT
from mrcore.storage.local import files
from mrcore.storage.local import store as local
from mrcore.storage.local.store import LocalStorage
from mrcore.storage.system_errors import os_errors
from tests.support import stores
from tests.support.fake_clock import FakeClock
from tests.support.stores import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return stores.file_place(tmp_path)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, PermissionDeniedError),
        (errno.EROFS, PermissionDeniedError),
        (errno.ENOENT, NotFoundError),
        (errno.ENOTDIR, NotFoundError),
        (errno.EEXIST, AlreadyExistsError),
        (errno.EIO, UnavailableError),
        (errno.ENAMETOOLONG, StorageError),
    ],
)
def test_what_the_system_says_becomes_an_error_of_ours(
    number: int, kind: type[MrcoreError]
) -> None:
    with pytest.raises(kind, match="/data/x") as caught, os_errors("/data/x"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind


def test_a_full_disk_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="Free some, or choose another folder"):
        place.write("x", b"1", durable=True)
    assert place.names() == []


def test_durable_writers_share_the_syncs_of_their_folder(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sync lasts until all names are there: nobody holds the folder's lock meanwhile."""
    folder = place.uri("folder").removeprefix("file://")
    Path(folder).mkdir(parents=True)  # the sync of its own name is another
    writers = 20
    syncs: list[bool] = []
    links: list[bool] = []
    all_linked = threading.Event()
    real_fsync, real_link = os.fsync, os.link

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            syncs.append(all_linked.wait(20.0))
        real_fsync(fd)

    def link(*names: Any, **options: Any) -> None:
        real_link(*names, **options)
        links.append(True)
        if len(links) == writers:
            all_linked.set()

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    with ThreadPoolExecutor(writers) as pool:
        writes = [
            pool.submit(place.write, f"folder/{n}", b"x", durable=True) for n in range(writers)
        ]
        assert [write.result().size_bytes for write in writes] == [1] * writers
    assert all(syncs)
    assert 1 <= len(syncs) < writers
    assert len(os.listdir(folder)) == writers  # noqa: PTH208 - hidden names would count too


def test_a_publication_makes_content_and_name_durable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = place.write("staged/x", b"content")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    place.storage.publish(source, place.uri("out/x"), expect=ABSENT)
    part = Path(place.uri("out/x").removeprefix("file://"))
    new_folder = part.parent
    paths = (new_folder.parent, part, new_folder)
    assert synced == [path.stat().st_ino for path in paths]


def test_who_asks_during_a_sync_gets_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    syncs: list[bool] = []

    def sync(path: str) -> None:
        begun.set()
        syncs.append(go_on.wait(20.0))

    monkeypatch.setattr(files, "sync", sync)
    shared = files.FolderSync()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shared, "/folder")
        assert begun.wait(20.0)
        second = pool.submit(shared, "/folder")
        while shared._folders["/folder"].asked < 2:
            os.sched_yield()
        go_on.set()
        assert (first.result(), second.result()) == (None, None)
    assert syncs == [True, True]


def test_a_lock_file_that_was_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next holder must not lock a file that nobody else would look at."""
    real_flock, opened = fcntl.flock, threading.Event()

    def flock(fd: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EBADF, "folders cannot be locked here")
        if threading.current_thread() is not threading.main_thread():
            opened.set()
        real_flock(fd, operation)

    def names_while_locked() -> list[str]:
        with files.LockedFolder(str(tmp_path), create=False):
            return [path.name for path in tmp_path.iterdir()]

    monkeypatch.setattr(fcntl, "flock", flock)
    with ThreadPoolExecutor(1) as pool:
        with files.LockedFolder(str(tmp_path), create=False):
            waiting = pool.submit(names_while_locked)
            assert opened.wait(20.0)
        assert waiting.result() == [".tmp-lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_unlocked_though_another_process_holds_its_descriptor(tmp_path: Path) -> None:
    with files.LockedFolder(str(tmp_path), create=False) as folder:
        kept = os.dup(folder.fd)  # as a forked copy has
    fresh = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for descriptor in (fresh, kept):
        os.close(descriptor)


def test_a_replacement_that_fails_leaves_what_was_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("folder/x", b"before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DiskFullError):
        place.write("folder/x", b"after")
    folder = Path(place.uri("folder").removeprefix("file://"))
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("x", b"before")]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_writer_that_is_killed_leaves_nothing(place: Place, replaced: bool) -> None:
    if replaced:
        place.put("folder/x", b"before")
    script = (
        "import os, signal, sys\n"
        "from mrcore.storage.local.store import LocalStorage\n"
        "writer = LocalStorage().open_write(sys.argv[1])\n"
        "writer.write(bytes(1_000_000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, place.uri("folder/x")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert place.names() == (["folder/x"] if replaced else [])


def test_temporary_names_are_hidden_and_discarded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.without_nameless_files(monkeypatch)
    with place.storage.open_write(place.uri("x")) as writer:
        writer.write(b"1")
        (hidden,) = place.names()
        assert hidden.startswith(".tmp-")
        assert list(place.storage.list(place.uri(""))) == []
    assert place.names() == []


def test_the_mode_of_a_new_file_obeys_the_umask(place: Place) -> None:
    before = os.umask(0o027)
    try:
        info = place.create("x", b"1")
    finally:
        os.umask(before)
    assert Path(info.uri.removeprefix("file://")).stat().st_mode & 0o777 == 0o640


def test_no_lock_file_stays(place: Place) -> None:
    info = place.create("folder/x", b"1")
    place.write("folder/x", b"2", expect=info.generation)
    place.storage.publish(place.storage.stat(info.uri), place.uri("folder/y"), expect=ABSENT)
    assert sorted(place.names()) == ["folder/x", "folder/y"]


def test_the_stamp_of_a_version_is_not_a_tick_of_the_kernel(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels before 6.13 stamp in ticks of 4 ms, and may number a new file as one just deleted."""
    monkeypatch.setattr(local, "SYSTEM", FakeClock(1_000.5))
    stamp = int(place.write("x", b"same").generation.split("-")[1])
    assert stamp // 1_000 == 1_000_500_000


def test_a_folder_is_no_object(place: Place) -> None:
    place.put("folder/x", b"1")
    with pytest.raises(StorageError, match="folder"):
        place.create("folder", b"1")
    with pytest.raises(StorageError, match="folder"):
        place.storage.delete(place.uri("folder"))
    assert place.names() == ["folder/x"]


def test_links_are_followed_but_not_in_circles(place: Place, tmp_path: Path) -> None:
    place.put("a/x", b"12")
    root = Path(place.base_uri.removeprefix("file://"))
    (tmp_path / "elsewhere").write_bytes(b"123")
    (root / "a/back").symlink_to(root)
    (root / "a/file").symlink_to(tmp_path / "elsewhere")
    (root / "a/nowhere").symlink_to(root / "nothing")
    found = {info.uri: info.size_bytes for info in place.storage.list(place.uri(""))}
    assert found == {place.uri("a/file"): 3, place.uri("a/x"): 2}


def test_names_that_are_not_utf8_survive(place: Place) -> None:
    root = os.fsencode(place.base_uri.removeprefix("file://"))
    os.makedirs(root)  # noqa: PTH103 - a path of bytes
    with open(root + b"/caf\xe9", "wb") as stream:  # noqa: PTH123 - a path of bytes
        stream.write(b"1")
    (info,) = place.storage.list(place.uri(""))
    assert place.storage.read(info.uri) == b"1"
    assert place.storage.delete(info.uri)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_can_be_read(place: Place, make: Callable[[str], None]) -> None:
    place.put("x", b"1")
    make(place.uri("odd").removeprefix("file://"))
    with pytest.raises(NotFoundError, match=r"folder|regular"):
        place.storage.read(place.uri("odd"))
    with pytest.raises(NotFoundError, match=r"folder|regular"):
        place.storage.stat(place.uri("odd"))
    assert [i.uri for i in place.storage.list(place.uri(""))] == [place.uri("x")]


@pytest.mark.parametrize("uri", ["file://relative", "/no/scheme", "file://", "file:///a\0b"])
def test_what_names_no_file_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="absolute path"):
        LocalStorage().stat(uri)


class TestPruning:
    """Folders that object stores do not have."""

    def test_empty_folders_go_up_to_the_stop(self, place: Place) -> None:
        for name in ("out/_tmp/job/staged/x", "out/_tmp/job/runs/y"):
            place.put(name, b"")
            place.storage.delete(place.uri(name))
        place.put("out/_tmp/job/runs/.tmp-left-over", b"")
        place.storage.prune(place.uri("out/_tmp/job/"), up_to=place.uri("out"), abandoned=True)
        assert os.listdir(place.uri("out").removeprefix("file://")) == []  # noqa: PTH208

    def test_what_holds_a_file_stays(self, place: Place) -> None:
        place.put("out/_tmp/other/x", b"")
        place.put("out/_tmp/job/runs/y", b"")
        place.put("out/_tmp/job/staged/z", b"")
        place.storage.delete(place.uri("out/_tmp/job/staged/z"))
        place.storage.prune(place.uri("out/_tmp/job"), up_to=place.uri("out"), abandoned=True)
        assert sorted(place.names()) == ["out/_tmp/job/runs/y", "out/_tmp/other/x"]
        folder = place.uri("out/_tmp/job").removeprefix("file://")
        assert os.listdir(folder) == ["runs"]  # noqa: PTH208

    def test_what_is_not_there_is_no_error(self, place: Place) -> None:
        place.storage.prune(place.uri("nothing/at/all"), up_to=place.uri("nothing"), abandoned=True)
        place.storage.prune(place.uri("nothing"))

    def test_a_folder_that_is_removed_while_it_is_opened_is_made_again(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        system_open, refused = os.open, iter([True])

        def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE and next(refused, False):
                raise PermissionError(errno.EPERM, "Operation not permitted", path)  # as ext4 does
            return system_open(path, flags, *arguments, **options)

        monkeypatch.setattr(os, "open", opened)
        place.create("a/b", b"x")
        assert place.get("a/b") == b"x"

    def test_no_writer_loses_its_folder(self, place: Place) -> None:
        done = threading.Event()

        def prune_on_and_on() -> None:
            # Each job prunes once; without a breath between, no writer would ever get its turn.
            while not done.wait(0.001):
                place.storage.prune(place.uri("a/b"), up_to=place.base_uri, abandoned=True)

        thread = threading.Thread(target=prune_on_and_on)
        thread.start()
        try:
            for number in range(50):
                name = f"a/b/c/{number}"
                place.create(name, b"x")
                assert place.get(name) == b"x"
                assert place.storage.delete(place.uri(name))
        finally:
            done.set()
            thread.join()
