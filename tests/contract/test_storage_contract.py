"""Duties of every store, alone and with one writer at a time."""

from __future__ import annotations

import io

import google_crc32c
import pytest

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
)
from mrcore.storage.base import ABSENT, ObjectInfo
from tests.support.stores import Place

CONTENT = bytes(range(256)) * 40
ODD_NAMES = [
    "a b",
    "a%20b",
    "a+b",
    "a#b?c=d&e",
    "é",
    "e\u0301",
    "\ufffd",
    "\U0001f600",
    "(x)[y]*z",
    "quote'\"",
    "..x",
    "-",
    "tab\there",
]


def _names(place: Place, prefix: str, *, recursive: bool = True) -> list[str]:
    base = f"{place.base_uri}/"
    listed = place.storage.list(base + prefix, recursive=recursive)
    return [info.uri.removeprefix(base) for info in listed]


class TestReading:
    """Reads of what a side door has put there."""

    @pytest.mark.parametrize(
        ("start", "end"),
        [(0, None), (0, 10), (5, 5), (7, 3), (100, 5_000), (10_239, None), (10_240, None),
         (0, 10_240), (0, 99_999), (9_000, 99_999), (20_000, None), (20_000, 30_000)],
    )  # fmt: skip
    def test_read_gives_the_range_clipped_to_the_object(
        self, place: Place, start: int, end: int | None
    ) -> None:
        place.put("x", CONTENT)
        expected = CONTENT[start:end]
        assert place.storage.read(place.uri("x"), start, end) == expected
        with place.storage.open_read(place.uri("x"), start, end) as stream:
            assert stream.read() == expected

    def test_an_empty_object_can_be_read(self, place: Place) -> None:
        place.put("empty", b"")
        assert place.storage.stat(place.uri("empty")).size_bytes == 0
        assert place.storage.read(place.uri("empty")) == b""
        assert place.storage.read(place.uri("empty"), 0, 10) == b""
        with place.storage.open_read(place.uri("empty")) as stream:
            assert stream.read() == b""

    def test_what_is_absent_is_not_found(self, place: Place) -> None:
        place.put("folder/x", b"1")
        for name in ("nothing", "folder", "folder/x/y", "no/such/folder/x"):
            with pytest.raises(NotFoundError):
                place.storage.stat(place.uri(name))
            with pytest.raises(NotFoundError):
                place.storage.read(place.uri(name))
            with pytest.raises(NotFoundError):
                place.storage.read(place.uri(name), 3, 3)
            with pytest.raises(NotFoundError):
                place.storage.open_read(place.uri(name))

    def test_a_generation_pins_what_is_read(self, place: Place) -> None:
        place.put("x", b"old content")
        old = place.storage.stat(place.uri("x"))
        uri = old.uri
        assert place.storage.read(uri, 0, 3, generation=old.generation) == b"old"
        with place.storage.open_read(uri, generation=old.generation) as stream:
            assert stream.read() == b"old content"
        new = place.write("x", b"new content")
        assert new.generation != old.generation
        with pytest.raises(NotFoundError):
            place.storage.read(uri, generation=old.generation)
        with pytest.raises(NotFoundError):
            place.storage.read(uri, 4, 4, generation=old.generation)
        with pytest.raises(NotFoundError):
            place.storage.open_read(uri, generation=old.generation)
        assert place.storage.read(uri, generation=new.generation) == b"new content"

    def test_a_stream_can_be_read_in_pieces_and_sought(self, place: Place) -> None:
        place.put("x", CONTENT)
        with place.storage.open_read(place.uri("x"), 10, 9_000) as stream:
            assert stream.read(7) == CONTENT[10:17]
            assert stream.read(500) == CONTENT[17:517]
            assert stream.seek(-5, io.SEEK_END) == 8_985
            assert stream.read(100) == CONTENT[8_995:9_000]
            assert stream.read(100) == b""
            assert stream.seek(3) == 3
            assert stream.tell() == 3
            assert stream.read(2) == CONTENT[13:15]

    def test_a_stream_of_several_blocks_gives_every_byte(self, place: Place) -> None:
        content = CONTENT * 1_000  # 10 MB: more than two blocks of any store
        place.put("big", content)
        with place.storage.open_read(place.uri("big")) as stream:
            pieces = list(iter(lambda: stream.read(999_983), b""))
        assert b"".join(pieces) == content

    def test_stat_tells_size_and_time(self, place: Place) -> None:
        place.put("x", CONTENT)
        info = place.storage.stat(place.uri("x"))
        assert (info.uri, info.size_bytes) == (place.uri("x"), len(CONTENT))
        assert info.modified_seconds > 1_700_000_000
        assert not info.is_folder


class TestWriting:
    """Writes, looked at through a side door."""

    @pytest.mark.parametrize("expect", [None, ABSENT])
    @pytest.mark.parametrize("durable", [False, True])
    def test_content_appears_with_commit(
        self, place: Place, expect: str | None, durable: bool
    ) -> None:
        with place.storage.open_write(
            place.uri("deep/down/x"), expect=expect, durable=durable
        ) as writer:
            assert writer.write(b"one ") == 4
            assert writer.write(bytearray(b"two ")) == 4
            assert writer.write(memoryview(b"three")) == 5
            assert place.get("deep/down/x") is None
            info = writer.commit()
        assert place.get("deep/down/x") == b"one two three"
        assert info.size_bytes == 13
        assert info.crc32c == google_crc32c.value(b"one two three")
        stated = place.storage.stat(info.uri)
        assert (stated.uri, stated.generation) == (place.uri("deep/down/x"), info.generation)
        assert stated.crc32c in (None, info.crc32c)
        assert place.names() == ["deep/down/x"]

    def test_an_empty_object_can_be_written(self, place: Place) -> None:
        info = place.create("empty", b"")
        assert (info.size_bytes, info.crc32c) == (0, 0)
        assert place.get("empty") == b""

    def test_large_content_is_written_whole(self, place: Place) -> None:
        content = CONTENT * 2_000  # 20 MB: beyond what any store sends in one request
        with place.storage.open_write(place.uri("big"), expect=ABSENT) as writer:
            for start in range(0, len(content), 1_000_003):
                writer.write(content[start : start + 1_000_003])
            info = writer.commit()
        assert place.get("big") == content
        assert info.crc32c == google_crc32c.value(content)

    @pytest.mark.parametrize("size", [0, 5, 9_000_000])
    def test_without_commit_nothing_is_left(self, place: Place, size: int) -> None:
        with place.storage.open_write(place.uri("x")) as writer:
            writer.write(bytes(size))
        assert place.names() == []
        assert _names(place, "") == []

    def test_an_error_discards(self, place: Place) -> None:
        place.put("x", b"before")

        def write_and_stop() -> None:
            with place.storage.open_write(place.uri("x")) as writer:
                writer.write(b"after")
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            write_and_stop()
        assert place.get("x") == b"before"
        assert place.names() == ["x"]

    def test_content_on_its_way_is_not_listed(self, place: Place) -> None:
        place.put("a", b"1")
        with place.storage.open_write(place.uri("b")) as writer:
            writer.write(bytes(1_000_000))
            assert _names(place, "") == ["a"]
            assert _names(place, "", recursive=False) == ["a"]

    def test_create_only_refuses_a_name_that_is_taken(self, place: Place) -> None:
        place.put("x", b"theirs")
        with pytest.raises(AlreadyExistsError):
            place.create("x", b"ours")
        assert place.get("x") == b"theirs"
        assert place.names() == ["x"]

    def test_replacing_needs_the_generation_that_is_there(self, place: Place) -> None:
        first = place.create("x", b"1")
        second = place.write("x", b"2", expect=first.generation)
        assert place.get("x") == b"2"
        with pytest.raises(PreconditionFailedError):
            place.write("x", b"3", expect=first.generation)
        assert place.get("x") == b"2"
        place.storage.delete(second.uri)
        with pytest.raises(PreconditionFailedError):
            place.write("x", b"3", expect=second.generation)
        assert place.names() == []

    def test_without_expectation_the_last_one_stays(self, place: Place) -> None:
        place.put("x", b"1")
        place.write("x", b"2")
        place.write("x", b"3")
        assert place.get("x") == b"3"

    def test_equal_content_never_has_an_equal_generation(self, place: Place) -> None:
        seen = set()
        for _ in range(20):
            seen.add(place.write("x", b"same").generation)
        for _ in range(20):
            place.storage.delete(place.uri("x"))
            seen.add(place.create("x", b"same").generation)
        assert len(seen) == 40

    def test_a_name_below_an_object_is_no_success_in_silence(self, place: Place) -> None:
        place.put("x", b"1")
        try:
            place.create("x/y", b"2")
        except StorageError:
            assert place.get("x/y") is None  # files: x cannot be a folder as well
        else:
            assert place.get("x/y") == b"2"
        assert place.get("x") == b"1"

    def test_metadata_is_kept_where_the_store_keeps_any(self, place: Place) -> None:
        with place.storage.open_write(place.uri("x"), metadata={"key": "value é"}) as writer:
            info = writer.commit()
        expected = {"key": "value é"} if place.keeps_metadata else {}
        (listed,) = place.storage.list(place.uri(""))
        for found in (info, place.storage.stat(info.uri), listed):
            assert expected.items() <= found.metadata.items()  # a server may add its own

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_a_name_is_what_it_is(self, place: Place, name: str) -> None:
        info = place.create(f"in {name}/{name}", b"here")
        assert place.get(f"in {name}/{name}") == b"here"
        assert place.storage.read(info.uri) == b"here"
        assert [i.uri for i in place.storage.list(place.uri(""))] == [info.uri]
        folders = place.storage.list(place.uri(""), recursive=False)
        assert [i.uri for i in folders] == [place.uri(f"in {name}/")]
        copy = place.storage.publish(info, place.uri(f"to {name}"), expect=ABSENT)
        assert place.get(f"to {name}") == b"here"
        assert place.storage.delete(copy.uri, generation=copy.generation)


class TestListing:
    """Lists of what a side door has put there."""

    def test_all_below_a_prefix_in_order_of_bytes(self, place: Place) -> None:
        names = ["a", "a-b", "a.txt", "a0", "b/a", "b/a.b/x", "b/a/x", "b/a0", "z", *ODD_NAMES]
        names.remove("b/a")  # a file cannot be a folder too
        for name in reversed(names):
            place.put(name, name.encode())
        expected = sorted(names, key=str.encode)
        assert _names(place, "") == expected
        sizes = {info.uri: info.size_bytes for info in place.storage.list(place.uri(""))}
        assert sizes == {place.uri(name): len(name.encode()) for name in names}

    def test_a_prefix_may_end_within_a_name(self, place: Place) -> None:
        for name in ("part-0", "part-1/x", "party", "p", "other/part-0"):
            place.put(name, b"")
        assert _names(place, "part") == ["part-0", "part-1/x", "party"]
        assert _names(place, "part-") == ["part-0", "part-1/x"]
        assert _names(place, "part-1/") == ["part-1/x"]
        assert _names(place, "part-1/x") == ["part-1/x"]
        assert _names(place, "nothing") == []
        assert _names(place, "nothing/at/all") == []
        assert _names(place, "party/x") == []

    def test_one_level_shows_folders_once(self, place: Place) -> None:
        for name in ("a/1", "a/2/3", "a.b/1", "b", "c/1", "a0"):
            place.put(name, b"")
        assert _names(place, "", recursive=False) == ["a.b/", "a/", "a0", "b", "c/"]
        assert _names(place, "a", recursive=False) == ["a.b/", "a/", "a0"]
        assert _names(place, "a/", recursive=False) == ["a/1", "a/2/"]
        found = {i.uri: i for i in place.storage.list(place.uri(""), recursive=False)}
        folder = found[place.uri("a/")]
        assert folder == ObjectInfo(uri=place.uri("a/"), size_bytes=0, generation="")
        assert folder.is_folder
        assert not found[place.uri("b")].is_folder

    def test_hidden_names_can_be_left_out(self, place: Place) -> None:
        for name in ("a", "_b", ".c/d", "e/.f", "e/g", "e/_h/i", "e/j_/.k", "e/j_/l.m"):
            place.put(name, b"")

        def seen(prefix: str, *, recursive: bool = True) -> list[str]:
            start = place.uri(prefix)
            found = place.storage.list(start, recursive=recursive, hidden=False)
            return [info.uri.removeprefix(place.uri("")) for info in found]

        assert seen("") == ["a", "e/g", "e/j_/l.m"]
        assert seen("", recursive=False) == ["a", "e/"]
        assert seen("e/_h/") == ["e/_h/i"]
        assert seen("e/_") == seen("_") == []

    def test_a_listing_knows_the_generation(self, place: Place) -> None:
        info = place.create("x", b"1")
        (listed,) = place.storage.list(place.uri(""))
        assert (listed.uri, listed.generation) == (info.uri, info.generation)

    def test_a_listing_starts_after_a_name(self, place: Place) -> None:
        for name in ("a", "b/a", "b/b", "b.c", "c/x/y", "é", "z"):
            place.put(name, b"")
        # A name that is there, one that is not, a folder, the last one.
        for start in (
            "",
            "a",
            "b",
            "b.b",
            "b/a",
            "b/aa",
            "b/",
            "c/x/y",
            "c/z",
            "d",
            "é",
            "z",
            "zz",
        ):
            found = place.storage.list(place.uri(""), start_after=place.uri(start))
            expected = [name for name in _names(place, "") if name.encode() > start.encode()]
            assert [info.uri for info in found] == [place.uri(name) for name in expected], start

    def test_more_than_a_page(self, place: Place) -> None:
        names = [f"{number % 7}/{number:05d}" for number in range(1_500)]
        for name in names:
            place.put(name, b"")
        assert _names(place, "") == sorted(names)
        assert _names(place, "", recursive=False) == [f"{number}/" for number in range(7)]


class TestDeleting:
    """Deletes, looked at through a side door."""

    def test_it_tells_whether_there_was_something(self, place: Place) -> None:
        place.put("folder/x", b"1")
        assert place.storage.delete(place.uri("folder/x"))
        assert place.get("folder/x") is None
        assert not place.storage.delete(place.uri("folder/x"))
        assert not place.storage.delete(place.uri("no/such/folder/x"))

    def test_another_generation_is_left_alone(self, place: Place) -> None:
        old = place.create("x", b"1")
        new = place.write("x", b"2")
        assert not place.storage.delete(new.uri, generation=old.generation)
        assert place.get("x") == b"2"
        assert place.storage.delete(new.uri, generation=new.generation)
        assert place.names() == []
        place.create("x", b"2")
        assert not place.storage.delete(new.uri, generation=new.generation)
        assert place.get("x") == b"2"
