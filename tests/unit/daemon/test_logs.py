"""Log lines for people, for programs and for journald."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrcore.daemon import logs
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId

ATTEMPT = AttemptId(TaskId("wc", 0, 3), AttemptNumber(1, 2))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _same_logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logs.add_to_all_lines(cluster="", worker="")


def speak() -> None:
    """Log three records, of which one is not to be shown."""
    log = logging.getLogger("mrcore.test")
    log.debug("not shown")
    log.warning("attempt failed: %s", "why", extra={**logs.about(ATTEMPT, "map"), "unknown": "x"})
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("broken")


def logged(stream: io.StringIO, form: str = "auto") -> list[str]:
    logs.configure("info", stream, form)
    speak()
    return stream.getvalue().splitlines()


def test_logs_are_json_lines_for_programs() -> None:
    logs.add_to_all_lines(cluster="books", worker="vm-0")
    first, second = map(json.loads, logged(io.StringIO()))
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "severity": "WARNING",
        "source": "mrcore.test",
        "message": "attempt failed: why",
        "cluster": "books",
        "worker": "vm-0",
        "job": "wc",
        "task": "map-00003",
        "attempt": "1.2",
    }
    assert "ValueError: boom" in second["traceback"]
    assert second["severity"] == "ERROR"


def test_logs_are_plain_lines_on_a_terminal() -> None:
    first, *rest = logged(Terminal())
    story = "mrcore.test: warning: attempt failed: why (job=wc, task=map-00003, attempt=1.2)"
    assert first.endswith(story)
    assert rest[-1] == "ValueError: boom"


@pytest.mark.parametrize(
    ("form", "stream", "is_json"), [("json", Terminal, True), ("plain", io.StringIO, False)]
)
def test_the_form_can_be_named(form: str, stream: Callable[[], io.StringIO], is_json: bool) -> None:
    assert logged(stream(), form)[0].startswith("{") is is_json


def test_each_line_for_journald_bears_its_priority(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
        names = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        logs.configure("info", stream, "plain", names)
        speak()
    first, *rest = path.read_text().splitlines()
    assert first.startswith("<4>")
    assert len(rest) > 2
    assert all(line.startswith("<3>") for line in rest), "a traceback is of many lines"


def test_a_file_that_is_not_the_journal_gets_no_priorities(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    with path.open("w") as stream:
        logs.configure("info", stream, "json", {"JOURNAL_STREAM": "8:1234567"})
        speak()
    assert path.read_text().startswith('{"time":')
