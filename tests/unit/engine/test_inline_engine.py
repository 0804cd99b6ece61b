"""The inline engine: user code in the caller's own process."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import mrcore
from mrcore.model.snapshots import job_json
from mrcore.output.receipt import read_receipt
from mrcore.shuffle import ranges


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with an input of two files and a state of its own."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a b\n")
    (tmp_path / "in/b.txt").write_text("c\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_a_forked_copy_leaves_the_running_job_alone(here: Path) -> None:
    process = os.getpid()

    def user_map(key: object, line: str) -> list[tuple[str, int]]:
        copy = os.fork()
        if not copy:
            sys.exit(7)
        status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        assert (here / "out/_claim").exists()
        return [(line, status)]

    try:
        result = mrcore.run(map=user_map, map_only=True, inputs="in", output="out", engine="inline")
    finally:
        if os.getpid() != process:
            os._exit(99)  # a copy that came back must not go on as these tests
    assert sorted(result.lines()) == ["a b\t7", "c\t7"]


def test_setup_is_called_once_for_all_tasks() -> None:
    result = mrcore.run(
        map=lambda key, line: [(line, 1)],
        setup=lambda context: context.count("models"),
        inputs="in",
        output="out",
        engine="inline",
    )
    assert dict(result.counters) == {"models": 1}


def test_steps_and_finish_functions_of_a_session(here: Path) -> None:
    (here / "in/b.txt").write_text("c b\n")
    counts: Counter[str] = Counter()

    def count(key: object, line: str) -> None:
        counts.update(line.split())

    def emit(context: object) -> Iterator[tuple[str, int]]:
        yield from counts.items()
        counts.clear()

    result = mrcore.run(
        steps=[
            mrcore.Step(map=count, map_finish=emit, reduce=mrcore.sum),
            mrcore.Step(
                map=lambda word, number: [(number, word)],
                reduce=lambda number, words: " ".join(words),
            ),
        ],
        inputs="in",
        output="out",
        engine="inline",
    )
    assert list(result.lines()) == ["1\ta c", "2\tb"]
    assert not counts, "the functions that ran were copies"
    figures = read_receipt(f"file://{here}/out").stages
    assert [(one.name, one.tasks, one.attempts) for one in figures] == [
        ("step1-map", 2, 2),
        ("step1-reduce", 1, 1),
        ("step2-reduce", 1, 1),
    ]
    # Two lines give a pair a word of each file, then one a word, then one a number.
    assert [(one.records_in, one.records_out) for one in figures] == [(2, 4), (4, 3), (3, 2)]
    written, read = [one.bytes_out for one in figures], [one.bytes_in for one in figures]
    assert written[-1] == (here / "out/part-00000").stat().st_size
    assert min(read + written) > 0
    assert job_json(result.job)["stages"] == msgspec.to_builtins(list(figures))


def test_the_sections_of_a_run_are_summed_once_for_all_readers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Summed for each reader, a step of a thousand partitions would cost a thousand cubed."""
    summed = 0

    def accumulate(*arguments: Any, **options: Any) -> Iterator[Any]:
        nonlocal summed
        summed += 1
        return itertools.accumulate(*arguments, **options)

    monkeypatch.setattr(ranges, "accumulate", accumulate)
    step = mrcore.Step(map=lambda key, value: [(value, 1)], reduce=mrcore.sum)
    mrcore.run(steps=[step, step], inputs="in", output="out", reduces=5, engine="inline")
    assert summed == 2 + 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": []}, "steps in session is empty"),
        ({"steps": 3}, "steps in session is not a list but an int"),
        ({"steps": [mrcore.Step(map=print)], "map": print}, "has both steps and a function map"),
        ({}, "mrcore.run needs one of plugin=PATH, map=FUNCTION and steps="),
    ],
)
def test_steps_that_cannot_work_are_refused(here: Path, options: Any, said: str) -> None:
    with pytest.raises(mrcore.UsageError, match=re.escape(said)):
        mrcore.run(inputs="in", output="out", engine="inline", **options)
    assert not (here / "out").exists()
