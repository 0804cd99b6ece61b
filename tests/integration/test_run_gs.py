"""Runs whose input, output and temporaries lie in a bucket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mrcore.storage.gcs.store import GcsStorage
from mrcore.storage.registry import register
from tests.gcsserver.server import GcsServer
from tests.support.run_support import WORD_COUNT, Place


@pytest.fixture
def bucket(place: Place) -> Iterator[GcsServer]:
    """Serve a bucket to everything that runs in the place."""
    with GcsServer() as server:
        server.store.create_bucket("books")
        place.environment["STORAGE_EMULATOR_HOST"] = server.url
        register("gs", GcsStorage)  # in place of one that knows another server
        yield server
        register("gs", GcsStorage)


def test_from_bucket_to_bucket(place: Place, bucket: GcsServer) -> None:
    place.write("wc.py", WORD_COUNT)
    place.write("lines.py", "def map(key, value):\n    yield value, None\n")
    place.write("in/1.txt", "a b\n")
    place.write("in/2.txt", "b c\n")
    place.done("run", "lines.py", "in", "-o", "gs://books/lines", "--map-only", "-w", "1")
    assert place.done("cat", "gs://books/lines").stdout == "a b\nb c\n"
    options = ("-r", "2", "-w", "2", "--temp", "gs://books/temporary")
    found = place.json("run", "wc.py", "gs://books/lines/", "-o", "gs://books/out", *options)
    assert found["output"] == "gs://books/out"
    counted = place.done("cat", "gs://books/out").stdout
    assert sorted(counted.splitlines()) == ["a\t1", "b\t2", "c\t1"]
    assert "ok: 2 parts" in place.done("verify", "gs://books/out").stdout
    refused = place.run("run", "wc.py", "gs://books/lines/", "-o", "gs://books/out", "-w", "1")
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    missing = place.run("run", "wc.py", "gs://books/none/*", "-o", "gs://books/new", "-w", "1")
    assert missing.returncode == 2
    assert "No file matches gs://books/none/*" in missing.stderr
    elsewhere = place.run("run", "wc.py", "gs://not-there/x", "-o", "gs://books/new", "-w", "1")
    assert elsewhere.returncode == 2
    assert len(elsewhere.stderr.splitlines()) == 1


PARTITIONS = """
def map(key, line):
    name, _, number = line.partition(",")
    yield {"name": name, "number": int(number)}
"""


def test_partitions_are_published_all_or_none(place: Place, bucket: GcsServer) -> None:
    place.write("rows.py", PARTITIONS)
    place.write("in/1.txt", "a,1\nb,2\n")
    place.write("in/2.txt", "b,3\n")
    options = ("--map-only", "--partition-by", "name", "--output-format", "csv", "-w", "1")
    done = place.done("run", "rows.py", "in", "-o", "gs://books/rows", *options)
    assert "3 records, 3 parts in gs://books/rows" in done.stderr
    assert "ok: 3 parts, 3 records" in place.done("verify", "gs://books/rows").stdout
    listed = bucket.store.list("books", prefix="rows/").items
    assert [version.name for version in listed] == [
        "rows/_SUCCESS",
        "rows/name=a/part-00000.csv",
        "rows/name=b/part-00000.csv",
        "rows/name=b/part-00001.csv",
    ]
    assert place.done("cat", "gs://books/rows").stdout == "number\n1\n2\n3\n"
    # A task that fails publishes nothing, and the former output stays as it was.
    place.write("in/3.txt", "c,x\n")
    failed = place.run("run", "rows.py", "in", "-o", "gs://books/rows", "--overwrite", *options)
    assert failed.returncode == 1
    assert "ok: 3 parts, 3 records" in place.done("verify", "gs://books/rows").stdout
