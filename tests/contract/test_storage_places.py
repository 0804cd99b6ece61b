"""Names and folders of every store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrcore.errors import AlreadyExistsError, PermissionDeniedError
from mrcore.storage import registry
from mrcore.storage.places import NameKind, Reach
from tests.support.stores import Place

REACHES = {"memory": Reach.PROCESS, "gs": Reach.EVERYWHERE, "toy": Reach.EVERYWHERE}


def has_folders(place: Place) -> bool:
    return "file" in place.kind


def folder_of(place: Place, name: str) -> Path:
    return Path(place.storage.shown(place.uri(name)))


class TestNames:
    """Questions that touch no object."""

    def test_the_reach_is_that_of_the_medium(self, place: Place) -> None:
        kind = place.kind.removeprefix("faulty-")
        assert place.storage.reach is REACHES.get(kind, Reach.MACHINE)
        assert registry.reach_of(place.base_uri) is place.storage.reach

    def test_what_is_shown_can_be_typed(self, place: Place) -> None:
        uri = place.uri("a/b c")
        assert registry.absolute_uri(place.storage.shown(uri), "/elsewhere") == uri
        assert place.storage.shown(uri) == registry.shown(uri)

    def test_its_own_names_are_well_formed(self, place: Place) -> None:
        scheme, _, _ = place.base_uri.partition("://")
        assert place.storage.form_problem(place.uri("x")) is None
        wrong = f"{scheme}://" + ("x/y" if has_folders(place) else "/x")
        assert scheme in (place.storage.form_problem(wrong) or "")

    def test_a_root_is_whole_and_a_folder_in_it_is_not(self, place: Place) -> None:
        assert place.storage.whole(place.uri("x")) is None
        scheme, _, path = place.base_uri.partition("://")
        root = f"{scheme}:///" if path.startswith("/") else f"{scheme}://{path.split('/')[0]}"
        assert place.storage.whole(root) == ("file system" if has_folders(place) else "bucket")

    def test_a_resolved_name_is_the_same_object(self, place: Place) -> None:
        info = place.create("x", b"1")
        resolved = place.storage.resolved(info.uri)
        assert place.storage.stat(resolved).generation == info.generation
        assert place.storage.resolved(resolved) == resolved
        assert place.storage.resolved(f"{info.uri}/").endswith("/x/")

    def test_links_on_the_way_are_resolved(self, place: Place) -> None:
        place.create("real/x", b"1")
        if not has_folders(place):
            assert place.storage.resolved(place.uri("link/x")) == place.uri("link/x")
            return
        folder_of(place, "link").symlink_to("real")
        real = place.storage.resolved(place.uri("real/x"))
        assert place.storage.resolved(place.uri("link/x")) == real


class TestLooks:
    """Questions that touch the store."""

    def test_the_kind_of_a_name(self, place: Place) -> None:
        place.create("folder/x", b"1")
        kinds = [place.storage.kind(place.uri(name)) for name in ("folder", "folder/x", "none")]
        if not has_folders(place):
            assert kinds == [NameKind.UNKNOWN] * 3
            return
        assert kinds == [NameKind.FOLDER, NameKind.OBJECT, NameKind.ABSENT]
        folder_of(place, "broken").symlink_to("nowhere")
        assert place.storage.kind(place.uri("broken")) is NameKind.OTHER

    def test_what_can_be_read_is_not_reported(self, place: Place) -> None:
        uris = [place.create(f"x{number}", b"1" * number).uri for number in range(3)]
        assert place.storage.first_unreadable(uris) is None

    def test_the_first_that_may_not_be_read_is_reported(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uris = [place.create(name, b"1").uri for name in ("x", "y")]

        def refuse(*args: object, **kwargs: object) -> bytes:
            raise PermissionDeniedError("the bucket is closed")

        inner = getattr(place.storage, "_inner", place.storage)
        monkeypatch.setattr(inner, "read", refuse)
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("/y"))
        found = place.storage.first_unreadable(uris)
        if has_folders(place):
            assert found == (uris[1], " (permission denied): check its permissions.")
        else:
            assert found == (uris[0], ": the bucket is closed")

    def test_a_place_where_one_can_write_leaves_no_trace(self, place: Place) -> None:
        before = place.names()
        place.storage.check_writable(place.uri("new/folder"))
        assert place.names() == before
        assert not folder_of(place, "new").exists()


class TestFolders:
    """Folders that remain once their objects are gone."""

    def test_no_object_is_pruned(self, place: Place) -> None:
        place.create("out/_tmp/job/x", b"1")
        place.create("out/_tmp/job/more/y", b"1")
        place.storage.delete(place.uri("out/_tmp/job/more/y"))
        for name in ("out/_tmp/job", "out/_tmp/job/", "out", "nothing"):
            place.storage.prune(place.uri(name), up_to=place.base_uri, abandoned=True)
        assert place.names() == ["out/_tmp/job/x"]

    def test_a_folder_that_held_objects_goes(self, place: Place) -> None:
        place.create("out/x", b"1")
        place.create("out/_tmp/job/x", b"1")
        place.storage.delete(place.uri("out/_tmp/job/x"))
        place.storage.prune(place.uri("out/_tmp"))  # holds a folder, and may be written to
        assert folder_of(place, "out/_tmp/job").exists() == has_folders(place)
        place.storage.prune(place.uri("out/_tmp/job"), up_to=place.uri("out"))
        assert not folder_of(place, "out/_tmp").exists()
        assert place.get("out/x") == b"1"

    def test_publications_are_synced_in_bulk(self, place: Place) -> None:
        for number in range(3):
            source = place.create(f"staged/{number}", b"1")
            place.storage.publish(source, place.uri(f"out/{number}"), durable=False)
        place.storage.sync(place.uri("out"))
        assert [place.get(f"out/{number}") for number in range(3)] == [b"1"] * 3
        place.storage.sync(place.uri("nothing"))

    def test_a_protected_folder_takes_objects(self, place: Place) -> None:
        assert not place.storage.protect(place.uri("state"), [place.uri("state/secret")])
        place.create("state/secret", b"1")
        assert not place.storage.protect(place.uri("state"), [place.uri("state/secret")])
        assert place.get("state/secret") == b"1"


class TestLocks:
    """The lock of a state, where processes of one machine share it."""

    def test_one_holds_it_at_a_time(self, place: Place) -> None:
        uri = place.uri("state/lock")
        assert not place.storage.is_locked(uri)
        with place.storage.lock(uri):
            assert place.storage.is_locked(uri) == has_folders(place)
            if has_folders(place):
                with pytest.raises(AlreadyExistsError, match="still alive"):
                    place.storage.lock(uri)
            else:
                place.storage.lock(uri).close()
        assert not place.storage.is_locked(uri)
        place.storage.lock(uri).close()
