"""The store of a URI, and the URI of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcore.errors import UsageError
from mrcore.storage.local.store import LocalStorage
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import absolute_uri, register, storage_for
from tests.support import stores


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("out", "file:///home/me/out"),
        ("out/", "file:///home/me/out/"),
        (".", "file:///home/me"),
        ("./", "file:///home/me/"),
        ("..", "file:///home"),
        ("./a/../b//c", "file:///home/me/b/c"),
        ("/x/./y", "file:///x/y"),
        ("//x", "file:///x"),
        ("/", "file:///"),
        ("../../../..", "file:///"),
        ("*.txt", "file:///home/me/*.txt"),
        ("a%20b é", "file:///home/me/a%20b é"),
        ("file:///x/../y/", "file:///y/"),
        ("gs://b/a/../c//", "gs://b/a/../c//"),
        ("mem://x/y", "mem://x/y"),
        ("c:/x", "file:///home/me/c:/x"),
    ],
)
def test_a_text_means_a_uri(text: str, uri: str) -> None:
    assert absolute_uri(text, "/home/me") == uri


@pytest.mark.parametrize("text", ["", "file://", "file://relative/path"])
def test_some_texts_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="absolute path"):
        absolute_uri(text, "/home/me")


@given(st.text(st.sampled_from("ab./ "), min_size=1))
def test_a_uri_stays_what_it_is(text: str) -> None:
    uri = absolute_uri(text, "/home/me")
    assert absolute_uri(uri, "/elsewhere") == uri
    assert "/../" not in f"{uri}/"
    assert uri.endswith("/") == (text.endswith("/") or uri == "file:///")


def test_there_is_one_store_a_scheme() -> None:
    assert isinstance(storage_for("file:///x"), LocalStorage)
    assert storage_for("file:///x") is storage_for("file:///y/z")


@pytest.mark.parametrize("uri", ["s3://bucket/x", "/no/scheme", "nonsense"])
def test_an_unknown_scheme_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError, match="gs://"):
        storage_for(uri)


def test_a_scheme_can_be_registered() -> None:
    with stores.registered(stores.memory_place()):
        mine = MemoryStorage()
        register("mine", lambda: mine)
        assert storage_for("mine://x") is mine
    with pytest.raises(UsageError):
        storage_for("mine://x")
