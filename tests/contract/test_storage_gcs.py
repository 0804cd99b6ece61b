"""GCS when it misbehaves: replies lost, cut, slow and wrong, and requests refused."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from mrcore.errors import (
    AlreadyExistsError,
    DiskFullError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
)
from mrcore.storage.base import ABSENT
from mrcore.storage.gcs.store import GcsStorage
from tests.gcsserver import Fault, GcsServer
from tests.support.stores import Place, impatient_gcs_storage

SMALL = b"small content"
BIG = Random(7).randbytes(20 << 20)
"""Beyond one request, and beyond one chunk of a resumable upload."""


@pytest.fixture
def place(gcs_place: Place) -> Place:
    return gcs_place


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_is_worth_retrying_is_retried(
    place: Place, gcs_server: GcsServer, status: int
) -> None:
    for verb in ("insert", "get", "media", "list", "rewrite", "delete"):
        gcs_server.faults.add(Fault("error", f"objects.{verb}", status=status, count=2))
    info = place.create("x", SMALL)
    assert place.storage.stat(info.uri).generation == info.generation
    assert place.storage.read(info.uri) == SMALL
    assert [i.uri for i in place.storage.list(place.uri(""))] == [info.uri]
    place.storage.publish(info, place.uri("y"), expect=ABSENT)
    assert place.storage.delete(info.uri, generation=info.generation)
    assert place.get("y") == SMALL
    assert all(rule["hits"] == 2 for rule in gcs_server.faults.as_json())


@pytest.mark.parametrize("kind", ["lost", "drop"])
@pytest.mark.parametrize("count", [1, 3])
class TestLostReplies:
    """The request worked, or did not, and nobody said so."""

    def test_of_a_create(self, place: Place, gcs_server: GcsServer, kind: str, count: int) -> None:
        gcs_server.faults.add(Fault(kind, "objects.insert", count=count))  # type: ignore[arg-type]
        info = place.create("x", SMALL)
        assert place.get("x") == SMALL
        assert place.storage.stat(info.uri).generation == info.generation
        with pytest.raises(AlreadyExistsError):
            place.create("x", SMALL)

    def test_of_a_replacement(
        self, place: Place, gcs_server: GcsServer, kind: str, count: int
    ) -> None:
        old = place.create("x", b"old")
        gcs_server.faults.add(Fault(kind, "objects.insert", count=count))  # type: ignore[arg-type]
        new = place.write("x", SMALL, expect=old.generation)
        assert place.storage.stat(new.uri).generation == new.generation
        with pytest.raises(PreconditionFailedError):
            place.write("x", SMALL, expect=old.generation)

    @pytest.mark.parametrize("verb", ["uploads.start", "uploads.chunk"])
    @pytest.mark.parametrize("skip", [0, 1])
    def test_of_a_large_create(
        self, place: Place, gcs_server: GcsServer, kind: str, count: int, verb: str, skip: int
    ) -> None:
        gcs_server.faults.add(Fault(kind, verb, count=count, skip=skip))  # type: ignore[arg-type]
        info = place.create("x", BIG)
        assert place.get("x") == BIG
        assert place.storage.stat(info.uri).generation == info.generation

    @pytest.mark.parametrize("skip", [0, 2, 4])
    def test_of_a_publication(
        self, place: Place, gcs_server: GcsServer, kind: str, count: int, skip: int
    ) -> None:
        gcs_server.store.rewrite_bytes = 4 << 20
        source = place.create("staged", BIG)
        gcs_server.faults.add(Fault(kind, "objects.rewrite", count=count, skip=skip))  # type: ignore[arg-type]
        published = place.storage.publish(source, place.uri("x"), expect=ABSENT)
        assert place.get("x") == BIG
        assert place.storage.stat(published.uri).generation == published.generation
        assert published.crc32c == source.crc32c

    def test_of_a_delete(self, place: Place, gcs_server: GcsServer, kind: str, count: int) -> None:
        info = place.create("x", SMALL)
        gcs_server.faults.add(Fault(kind, "objects.delete", count=count))  # type: ignore[arg-type]
        place.storage.delete(info.uri, generation=info.generation)
        assert place.get("x") is None


def test_who_may_create_but_not_replace_finds_what_it_has_made(
    place: Place, gcs_server: GcsServer
) -> None:
    gcs_server.faults.add(Fault("lost", "objects.insert", count=1))
    # The second try gets this answer: to go through, it would have to replace the first.
    gcs_server.faults.add(Fault("error", "objects.insert", status=403, count=1))
    info = place.create("x", SMALL)
    assert place.storage.stat(info.uri).generation == info.generation
    assert place.get("x") == SMALL


def test_who_may_not_write_is_told_so_at_once(place: Place, gcs_server: GcsServer) -> None:
    gcs_server.faults.add(Fault("error", "objects.insert", status=403))
    before = gcs_server.counts().get("objects.get", 0)
    with pytest.raises(PermissionDeniedError):
        place.create("x", SMALL)
    assert gcs_server.counts().get("objects.get", 0) == before


def test_a_create_that_lost_to_another_is_no_success(place: Place, gcs_server: GcsServer) -> None:
    """The first try is dropped, and meanwhile somebody else creates the same content."""
    place.put("x", SMALL)
    gcs_server.faults.add(Fault("drop", "objects.insert", count=1))
    with pytest.raises(AlreadyExistsError):
        place.create("x", SMALL)


@pytest.mark.parametrize("status", [412, 503])
def test_an_upload_that_fails_for_good_leaves_nothing(
    place: Place, gcs_server: GcsServer, status: int
) -> None:
    gcs_server.faults.add(Fault("error", "uploads.chunk", status=status, skip=1))
    with (
        impatient_gcs_storage(0.5) as storage,
        storage.open_write(place.uri("x"), expect=ABSENT) as writer,
    ):
        writer.write(BIG)
        with pytest.raises(StorageError):
            writer.commit()
    assert place.names() == []


@pytest.mark.parametrize("kind", ["cut", "drop"])
def test_a_reply_that_is_cut_is_read_again(place: Place, gcs_server: GcsServer, kind: str) -> None:
    place.put("x", BIG)
    gcs_server.faults.add(Fault(kind, "objects.media", count=2))  # type: ignore[arg-type]
    assert place.storage.read(place.uri("x")) == BIG
    gcs_server.faults.add(Fault(kind, "objects.media", count=2))  # type: ignore[arg-type]
    assert place.storage.read(place.uri("x"), 100, 5_000_100) == BIG[100:5_000_100]
    gcs_server.faults.add(Fault(kind, "objects.media", probability=0.3, count=4))  # type: ignore[arg-type]
    with place.storage.open_read(place.uri("x"), 1) as stream:
        assert stream.read() == BIG[1:]


def test_a_slow_reply_is_waited_for(place: Place, gcs_server: GcsServer) -> None:
    place.put("x", SMALL * 1_000)
    gcs_server.faults.add(Fault("slow", "objects.media", seconds=0.2, count=1))
    gcs_server.faults.add(Fault("delay", "objects.get", seconds=0.1, count=1))
    assert place.storage.stat(place.uri("x")).size_bytes == 13_000
    assert place.storage.read(place.uri("x")) == SMALL * 1_000


def test_a_reply_that_takes_too_long_is_asked_for_again(
    place: Place, gcs_server: GcsServer
) -> None:
    place.put("x", SMALL)
    gcs_server.faults.add(Fault("delay", "objects.get", seconds=1.0, count=1))
    with impatient_gcs_storage(5, timeout_seconds=0.2) as storage:
        assert storage.stat(place.uri("x")).size_bytes == len(SMALL)
    assert gcs_server.counts()["objects.get"] >= 2


def test_retries_have_an_end(place: Place, gcs_server: GcsServer) -> None:
    place.put("x", SMALL)
    gcs_server.faults.add(Fault("error", "*", status=503))
    uri = place.uri("x")
    with impatient_gcs_storage(0.3) as storage:
        for act in (storage.stat, storage.read, lambda u: list(storage.list(u)), storage.delete):
            with pytest.raises(UnavailableError, match="gives no answer"):
                act(uri)


def test_nobody_at_home_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with GcsServer() as server:
        url = server.url
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
    with (
        impatient_gcs_storage(0.2) as storage,
        pytest.raises(UnavailableError, match="gs://bucket/x"),
    ):
        storage.stat("gs://bucket/x")


def test_damaged_content_is_noticed(place: Place, gcs_server: GcsServer) -> None:
    place.put("x", SMALL)
    gcs_server.faults.add(Fault("corrupt", "objects.media"))
    with impatient_gcs_storage(0.2) as storage, pytest.raises(UnavailableError, match="damaged"):
        storage.read(place.uri("x"))


def test_credentials_that_are_not_accepted_are_told_as_such(
    place: Place, gcs_server: GcsServer
) -> None:
    gcs_server.faults.add(Fault("error", "*", status=401))
    with pytest.raises(PermissionDeniedError, match="application-default login"):
        place.storage.stat(place.uri("x"))


def test_what_is_not_allowed_names_the_bucket_and_the_role(
    place: Place, gcs_server: GcsServer
) -> None:
    gcs_server.faults.add(Fault("error", "*", status=403))
    bucket = place.base_uri.rpartition("/")[0]
    for act in (
        lambda: place.storage.stat(place.uri("x")),
        lambda: place.storage.read(place.uri("x")),
        lambda: place.create("x", SMALL),
        lambda: place.create("x", BIG),
        lambda: list(place.storage.list(place.uri(""))),
        lambda: place.storage.delete(place.uri("x")),
    ):
        with pytest.raises(PermissionDeniedError, match=rf"{bucket} .*storage\.objectUser"):
            act()


def test_a_bucket_that_is_not_there_is_named(place: Place) -> None:
    uri = "gs://no-such-bucket/x"
    source = place.create("staged", SMALL)

    def write(uri: str) -> None:
        with place.storage.open_write(uri) as writer:
            writer.commit()

    for act in (
        lambda: place.storage.stat(uri),
        lambda: place.storage.read(uri),
        lambda: write(uri),
        lambda: list(place.storage.list(uri)),
        lambda: place.storage.publish(source, uri),
    ):
        with pytest.raises(NotFoundError, match="The bucket gs://no-such-bucket does not exist"):
            act()


@pytest.mark.parametrize("uri", ["gs://", "gs:///x", "gs://bucket", "gs://bucket/"])
def test_what_names_no_object_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match=r"does not name a bucket|names a bucket, not"):
        GcsStorage().stat(uri)


def test_no_credentials_are_told_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(PermissionDeniedError, match="application-default login"):
        GcsStorage().stat("gs://bucket/x")


def test_a_full_disk_under_the_spool_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with place.storage.open_write(place.uri("x")) as writer:
        monkeypatch.setattr("tempfile.TemporaryFile", full)
        with pytest.raises(DiskFullError, match="No space"):
            writer.write(BIG)
    assert place.names() == []


def test_markers_of_folders_are_no_objects(place: Place) -> None:
    for name in ("folder/", "folder/x", "empty/"):
        place.put(name, b"")
    listed = [i.uri for i in place.storage.list(place.uri(""))]
    assert listed == [place.uri("folder/x")]
    level = [i.uri for i in place.storage.list(place.uri("folder/"), recursive=False)]
    assert level == [place.uri("folder/x")]


def test_many_threads_share_one_client(place: Place, gcs_server: GcsServer) -> None:
    place.put("x", BIG)
    ranges = [(start, start + 100_000) for start in range(0, 6_400_000, 100_000)]
    with ThreadPoolExecutor(32) as pool:
        got = list(pool.map(lambda r: place.storage.read(place.uri("x"), *r), ranges))
    assert got == [BIG[start:end] for start, end in ranges]


def test_a_storm_of_faults_loses_and_doubles_nothing(place: Place, gcs_server: GcsServer) -> None:
    """Entries are added under compare-and-swap, while requests fail in every way."""
    place.put("entries", b"")
    gcs_server.faults.seed(11)
    for kind in ("drop", "lost", "error", "cut"):
        gcs_server.faults.add(Fault(kind, "objects.*", probability=0.05))

    def add(entry: bytes) -> None:
        unknown = False
        while True:
            info = place.storage.stat(place.uri("entries"))
            try:
                old = place.storage.read(info.uri, generation=info.generation)
                if unknown and entry in old.split():
                    return  # the write whose outcome was unknown did work
                place.write("entries", old + entry + b" ", expect=info.generation)
                return
            except (NotFoundError, PreconditionFailedError):
                continue
            except UnavailableError:
                unknown = True

    entries = [b"%d" % number for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, entries))
    gcs_server.faults.clear()
    assert sorted((place.get("entries") or b"").split()) == sorted(entries)


def test_the_environment_names_the_server(place: Place, gcs_server: GcsServer) -> None:
    assert os.environ["STORAGE_EMULATOR_HOST"] == gcs_server.url
    before = gcs_server.counts().get("objects.list", 0)
    with impatient_gcs_storage(5) as storage:
        assert list(storage.list(place.uri(""))) == []
    assert gcs_server.counts()["objects.list"] == before + 1
