"""Exceptions of calls on their way to the caller."""

from __future__ import annotations

import threading
import traceback
from typing import Any

import pytest

from mrcore.calls.exceptions import RemoteTraceback, dump_exception, load_exception
from mrcore.errors import RemoteError


class OwnError(Exception):
    """An exception whose constructor takes other arguments than `args` has."""

    def __init__(self, code: int, *, place: str) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.place = place


class Locked(Exception):  # noqa: N818 - as users name them
    def __init__(self) -> None:
        super().__init__("locked")
        self.lock = threading.Lock()


def travelled(error: BaseException) -> BaseException:
    return load_exception(dump_exception(error), "the sentence", "Traceback: line 7")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 3),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "x.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        ExceptionGroup("two", [ValueError(1), TypeError(2)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_keeps_its_class_and_arguments(error: BaseException) -> None:
    again = travelled(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert repr(again.args) == repr(error.args)


def test_an_exception_whose_constructor_cannot_be_repeated_keeps_its_attributes() -> None:
    error = OwnError(7, place="here")
    error.add_note("a note")
    again = travelled(error)
    assert isinstance(again, OwnError)
    assert (again.code, again.place, str(again)) == (7, "here", "code 7")
    assert again.__notes__ == ["a note"]


class CountedError(Exception):
    """An error that makes its message of what it is given."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} of them")
        self.count = count


def test_an_exception_that_makes_its_message_keeps_it() -> None:
    found = load_exception(dump_exception(CountedError(3)), "", "")
    assert isinstance(found, CountedError)
    assert str(found) == "3 of them"
    assert found.count == 3


def test_the_remote_traceback_is_the_cause() -> None:
    again = travelled(ValueError("no"))
    assert isinstance(again.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(again))
    assert "in the process that ran the call\nTraceback: line 7" in shown
    assert shown.rstrip().endswith("ValueError: no")


@pytest.mark.parametrize(
    "error", [Locked(), ValueError("x" * 70_000)], ids=["cannot be pickled", "too long"]
)
def test_an_exception_that_cannot_travel_becomes_its_text(error: BaseException) -> None:
    assert dump_exception(error) == b""
    again = travelled(error)
    assert type(again) is RemoteError
    assert str(again) == "the sentence"
    assert isinstance(again.__cause__, RemoteTraceback)


@pytest.mark.parametrize("data", [b"nonsense", b"\x80\x05K\x03.", b"cnowhere.at_all\nError\n."])
def test_bytes_that_are_not_an_exception_here_become_a_remote_error(data: bytes) -> None:
    again: Any = load_exception(data, "the sentence", "")
    assert type(again) is RemoteError
    assert again.__cause__ is None
