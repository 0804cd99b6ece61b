"""Ctrl-C in the moment in which text is made of a user's object ends the program."""

from __future__ import annotations

import traceback
from typing import NoReturn

import pytest

from mrcore.plugin.tracebacks import last_line, user_traceback
from mrcore.util.texts import text_of


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class Slow:
    def __repr__(self) -> str:
        interrupted()


def test_an_interrupt_of_the_users_own_text_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        text_of(Slow())


def test_an_interrupt_of_a_traceback_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traceback.TracebackException, "from_exception", interrupted)
    with pytest.raises(KeyboardInterrupt):
        user_traceback(ValueError("oops"))


def test_an_interrupt_of_a_last_line_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traceback, "format_exception_only", interrupted)
    with pytest.raises(KeyboardInterrupt):
        last_line(ValueError("oops"))
