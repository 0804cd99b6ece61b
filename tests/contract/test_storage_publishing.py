"""Duties of every store when content gets a second name."""

from __future__ import annotations

import pytest

from mrcore.errors import AlreadyExistsError, NotFoundError, PreconditionFailedError
from mrcore.storage.base import ABSENT
from tests.support.stores import Place

CONTENT = bytes(range(256)) * 40


class TestPublishing:
    """Copies within the store."""

    def test_content_gets_a_second_name(self, place: Place) -> None:
        source = place.create("staged/x", CONTENT)
        published = place.storage.publish(source, place.uri("out/x"), expect=ABSENT)
        assert (published.uri, published.size_bytes) == (place.uri("out/x"), len(CONTENT))
        assert place.get("out/x") == CONTENT
        assert place.storage.stat(published.uri).generation == published.generation
        place.storage.delete(source.uri)
        assert place.get("out/x") == CONTENT

    @pytest.mark.parametrize("expect", [None, ABSENT, "same", "12345"])
    def test_again_it_gives_what_is_there(self, place: Place, expect: str | None) -> None:
        source = place.create("staged", b"1")
        first = place.storage.publish(source, place.uri("out"), expect=ABSENT)
        if expect == "same":
            expect = first.generation
        again = place.storage.publish(source, place.uri("out"), expect=expect)
        assert again.generation == first.generation
        place.storage.delete(source.uri)
        late = place.storage.publish(source, place.uri("out"), expect=expect)
        assert late.generation == first.generation

    def test_a_name_that_is_taken_is_refused(self, place: Place) -> None:
        source = place.create("staged", b"ours")
        place.put("out", b"theirs")
        with pytest.raises(AlreadyExistsError):
            place.storage.publish(source, place.uri("out"), expect=ABSENT)
        with pytest.raises(PreconditionFailedError):
            place.storage.publish(source, place.uri("out"), expect="12345")
        assert place.get("out") == b"theirs"
        with pytest.raises(PreconditionFailedError):
            place.storage.publish(source, place.uri("elsewhere"), expect="12345")
        assert place.get("elsewhere") is None

    def test_the_expected_generation_is_replaced(self, place: Place) -> None:
        source = place.create("staged", b"new")
        old = place.create("out", b"old")
        published = place.storage.publish(source, old.uri, expect=old.generation)
        assert place.get("out") == b"new"
        assert published.generation != old.generation
        assert not place.storage.delete(old.uri, generation=old.generation)

    def test_without_expectation_anything_is_replaced(self, place: Place) -> None:
        source = place.create("staged", b"new")
        place.put("out", b"old")
        place.storage.publish(source, place.uri("out"))
        assert place.get("out") == b"new"

    def test_equal_content_from_another_source_is_another_publication(self, place: Place) -> None:
        first = place.create("one", b"same")
        second = place.create("two", b"same")
        place.storage.publish(first, place.uri("out"), expect=ABSENT)
        with pytest.raises(AlreadyExistsError):
            place.storage.publish(second, place.uri("out"), expect=ABSENT)

    def test_a_source_that_is_gone_or_replaced_is_not_found(self, place: Place) -> None:
        source = place.create("staged", b"1")
        place.write("staged", b"2")
        with pytest.raises(NotFoundError):
            place.storage.publish(source, place.uri("out"), expect=ABSENT)
        place.storage.delete(source.uri)
        with pytest.raises(NotFoundError):
            place.storage.publish(source, place.uri("out"), expect=ABSENT)
        assert place.names() == []

    def test_metadata_goes_to_the_destination(self, place: Place) -> None:
        source = place.create("staged", b"1")
        published = place.storage.publish(source, place.uri("out"), metadata={"job": "j"})
        expected = {"job": "j"} if place.keeps_metadata else {}
        assert expected.items() <= published.metadata.items()


class TestDeletingMany:
    """Deletion of the temporaries of a job."""

    def test_only_the_named_versions_go(self, place: Place) -> None:
        gone = [place.create(f"tmp/{number % 3}/{number}", b"x") for number in range(9)]
        kept = place.create("tmp/0/kept", b"old")
        place.put("tmp/0/kept", b"new")
        missing = place.create("tmp/1/missing", b"x")
        place.storage.delete(missing.uri)
        place.storage.delete_all([*gone[:4], kept, missing, *gone[4:]])
        assert [info.uri for info in place.storage.list(place.uri("tmp/"))] == [kept.uri]
        assert place.get("tmp/0/kept") == b"new"

    def test_a_folder_that_is_gone_is_not_an_error(self, place: Place) -> None:
        gone = place.create("tmp/a/x", b"x")
        place.storage.delete(gone.uri)
        place.storage.prune(place.uri("tmp/a"), abandoned=True)
        place.storage.delete_all([gone])
        assert list(place.storage.list(place.uri("tmp/"))) == []
