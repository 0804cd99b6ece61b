"""The operations that a bucket bills are counted as they are made."""

from __future__ import annotations

import pytest

from mrcore.storage.base import ABSENT
from mrcore.storage.operations import Operations, billed, counted
from tests.gcsserver import Fault, GcsServer
from tests.support.stores import Place

API = "https://storage.googleapis.com"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/storage/v1/b/x/o?prefix=a", Operations(1, 0)),
        ("GET", "/storage/v1/b/x/o/a%2Fo", Operations(0, 1)),
        ("GET", "/download/storage/v1/b/x/o/a?alt=media", Operations(0, 1)),
        ("POST", "/upload/storage/v1/b/x/o?uploadType=multipart", Operations(1, 0)),
        ("POST", "/upload/storage/v1/b/x/o?uploadType=resumable", Operations(1, 0)),
        ("PUT", "/upload/storage/v1/b/x/o?uploadType=resumable&upload_id=1", Operations(0, 0)),
        ("POST", "/storage/v1/b/x/o/a/rewriteTo/b/x/o/b", Operations(1, 0)),
        ("DELETE", "/storage/v1/b/x/o/a", Operations(0, 0)),
    ],
)
def test_requests_are_billed_by_what_they_do(method: str, path: str, expected: Operations) -> None:
    assert billed(method, API + path) == expected


def test_what_the_store_does_is_counted(gcs_place: Place) -> None:
    storage = gcs_place.storage
    before = counted()
    info = gcs_place.create("x", b"content")
    assert counted().since(before) == Operations(1, 0)
    assert storage.read(info.uri) == b"content"
    assert counted().since(before) == Operations(1, 1)
    assert list(storage.list(gcs_place.uri("")))
    storage.publish(info, gcs_place.uri("y"), expect=ABSENT)
    assert counted().since(before) == Operations(3, 1)
    assert storage.delete(info.uri, generation=info.generation)
    assert counted().since(before) == Operations(3, 1)


def test_a_large_object_is_one_operation(gcs_place: Place) -> None:
    before = counted()
    gcs_place.create("x", bytes(20 << 20))
    assert counted().since(before) == Operations(1, 0)


def test_what_is_tried_again_is_billed_again(gcs_place: Place, gcs_server: GcsServer) -> None:
    gcs_server.faults.add(Fault("error", "objects.get", status=503, count=2))
    info = gcs_place.create("x", b"content")
    before = counted()
    gcs_place.storage.stat(info.uri)
    assert counted().since(before) == Operations(0, 3)
