"""Texts that failures, counters and skipped records quote: any bytes must travel and be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import Mark, Skip, TaskFailure, TaskOutput, TaskResult
from mrcore.plugin.context import Context
from mrcore.plugin.functions import UserFunctions
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register
from mrcore.tasks.child.protocol import Finished, ReportReader, pack_report
from mrcore.util.texts import encodable, one_line, printable
from tests.support.inprocess import Job
from tests.support.task_functions import URI, failing_map

WILD = b"\xff\x1b[31m bad\nok\n"
"""A record that is not UTF-8 and would turn a terminal red, and one that is fine."""


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    register("mem", MemoryStorage)


def told(result: TaskResult) -> TaskResult:
    """Return what the agent reads of a child's report."""
    attempt = AttemptId(TaskId("test-1", 0, 0), AttemptNumber(1, 1))
    (report,) = ReportReader().feed(pack_report(Finished(attempt, result)))
    return report.result


def test_a_failure_quotes_a_record_that_is_not_utf8() -> None:
    def user_map(key: Any, value: str) -> Any:
        raise ValueError(f"no: {value}")

    failure = told(
        failing_map(UserFunctions(map=user_map), WILD.decode("utf-8", "surrogateescape"))
    )
    assert isinstance(failure, TaskFailure)
    assert failure.message == (
        r"map raised ValueError: no: \udcff\x1b[31m bad, "
        r"on the record at offset 0 of in/0.txt: \udcff\x1b[31m bad"
    )
    assert r"ValueError: no: \udcff" in failure.traceback
    assert failure.mark == Mark(URI, 0)


def test_an_exception_of_code_that_wants_utf8_is_told() -> None:
    def user_map(key: Any, value: str) -> Iterator[Any]:
        yield value.encode(), 1

    failure = told(
        failing_map(UserFunctions(map=user_map), WILD.decode("utf-8", "surrogateescape"))
    )
    assert isinstance(failure, TaskFailure)
    assert "UnicodeEncodeError" in failure.message
    assert "value.encode()" in failure.traceback


def test_counters_and_skipped_records_travel() -> None:
    kept: list[Context] = []

    def user_map(key: Any, value: str) -> Iterator[Any]:
        kept[0].count(f"seen {value}\udcff\n")
        kept[0].count(rf"seen {value}\udcff\n", 2)  # the same once both can be written
        yield value, 1

    job = Job([WILD], UserFunctions(map=user_map, setup=kept.append))
    output = told(job.run_map(0, skip=(Skip(Mark(URI, 0)),)))
    assert isinstance(output, TaskOutput)
    assert output.counters == {r"seen ok\udcff\n": 3}
    (bad,) = output.bad_records
    assert bad.record == "\\udcff\x1b[31m bad"


def test_a_status_is_one_line_that_steers_no_terminal() -> None:
    said: list[str] = []
    Context(task="map-00000", params={}, on_status=said.append).status("a\n\x1b[2Jb\udcff")
    assert said == [r"a\n\x1b[2Jb\udcff"]


def test_what_is_fit_stays_as_it_is() -> None:
    for text in ("", "plain", "naïve ﬁsh 鯨", "a" * 10):
        assert encodable(text) == one_line(text) == printable(text, 10 + len(text)) == text
    assert printable("é" * 9, 5) == "éééé…"
    assert one_line("a\u2028b\x85") == r"a\u2028b\x85"


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("abc", "map returned 'abc', not pairs: yield (key, value), or return a list"),
        (5, "map returned 5, not pairs: yield (key, value), or return a list of pairs"),
        (("a", 1), "map returned ('a', 1), one pair by itself: yield it, or return a list"),
        ((("a", 1), 1), "map returned (('a', 1), 1), one pair by itself: yield it"),
    ],
)
def test_what_map_returns_must_be_pairs(returned: Any, said: str) -> None:
    failure = failing_map(UserFunctions(map=lambda key, value: returned))
    assert failure.message.startswith(said)
    assert failure.message.endswith(" (on the record at offset 0 of in/0.txt: ab)")


def test_a_tuple_of_pairs_is_pairs() -> None:
    job = Job(["x"], UserFunctions(map=lambda key, value: ((value, 1), (value, 2))))
    output = job.run_map(0)
    assert isinstance(output, TaskOutput)
    assert output.records_out == 2


@pytest.mark.parametrize("record", ["", " \t"])
def test_a_blank_record_is_called_so(record: str) -> None:
    failure = failing_map(UserFunctions(map=lambda key, value: 1 / 0), f"{record}\nx")
    assert failure.message.endswith(" on the record at offset 0 of in/0.txt, which is blank")
