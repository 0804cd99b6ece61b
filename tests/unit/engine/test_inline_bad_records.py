"""The inline engine skips bad records by the rules of a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.model import skipping
from mrcore.output.receipt import read_receipt


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with an input of two files and a state of its own."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a\nbad 1\nb\nbad 2\n")
    (tmp_path / "in/b.txt").write_text("c\nbad 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def fragile(key: Any, line: str) -> Iterator[Any]:
    """Emit the line unless it is bad."""
    if line.startswith("bad"):
        raise ValueError(line)
    yield line, 1


def test_bad_records_are_skipped_and_saved(here: Path) -> None:
    result = mrcore.run(
        map=fragile, map_only=True, inputs="in", output="out", max_bad_records=3, engine="inline"
    )
    assert sorted(result.lines()) == ["a\t1", "b\t1", "c\t1"]
    bad = [
        json.loads(line)
        for path in sorted((here / "out/_bad").iterdir())
        for line in path.read_text().splitlines()
    ]
    assert [(each["record"], each["offset"]) for each in bad] == [
        ("bad 1", 2),
        ("bad 2", 10),
        ("bad 3", 2),
    ]
    assert all("ValueError: bad" in each["cause"] for each in bad)
    assert all("in fragile\n    raise ValueError(line)\nValueError" in e["traceback"] for e in bad)
    receipt = read_receipt(f"file://{here}/out")
    assert receipt.bad_records == 3
    # An attempt of each of two tasks failed at the first one, and the next gave up all of them.
    assert receipt.attempts == 4


def test_more_bad_records_than_allowed_fail_the_job(here: Path) -> None:
    with pytest.raises(mrcore.RunFailedError, match="ValueError: bad 3"):
        mrcore.run(map=fragile, inputs="in", output="out", max_bad_records=2, engine="inline")
    assert not (here / "out/_SUCCESS").exists()


def test_without_leave_to_skip_nothing_is_retried() -> None:
    def counted(key: Any, line: str) -> Iterator[Any]:
        with Path("calls").open("a") as calls:
            calls.write(line + "\n")
        yield from fragile(key, line)

    with pytest.raises(mrcore.RunFailedError, match="ValueError: bad 1"):
        mrcore.run(map=counted, inputs="in", output="out", engine="inline")
    assert Path("calls").read_text().splitlines().count("bad 1") == 1


def test_an_error_elsewhere_is_not_retried() -> None:
    def setup(context: Any) -> None:
        with Path("calls").open("a") as calls:
            calls.write("setup\n")
        raise ValueError("no model")

    with pytest.raises(mrcore.RunFailedError, match="no model"):
        mrcore.run(
            map=fragile, setup=setup, inputs="in", output="out", max_bad_records=9, engine="inline"
        )
    assert Path("calls").read_text() == "setup\n"


def test_records_that_fail_in_turn_use_up_the_attempts() -> None:
    def user_map(key: Any, line: str) -> Iterator[Any]:
        with Path("calls").open("a") as calls:
            calls.write("x")
        if Path("calls").stat().st_size % 3 == 0:
            raise ValueError(f"call {Path('calls').stat().st_size}")
        yield line, 1

    with pytest.raises(mrcore.RunFailedError, match="ValueError: call"):
        mrcore.run(
            map=user_map,
            map_finish=lambda context: None,  # what it has seen cannot be taken back
            inputs="in/a.txt",
            output="out",
            max_bad_records=1,
            max_attempts=2,
            engine="inline",
        )


def test_what_a_failed_attempt_has_gathered_is_forgotten(here: Path) -> None:
    (here / "gather.py").write_text(
        "found = []\n"
        "def map(key, line):\n"
        "    if line.startswith('bad'):\n"
        "        raise ValueError(line)\n"
        "    found.append(line)\n"
        "    return []\n"
        "def map_finish(context):\n"
        "    yield 'found', len(found)\n"
        "    found.clear()\n"
        "def reduce(key, values):\n"
        "    yield key, sum(values)\n"
    )
    result = mrcore.run("gather.py", inputs="in", output="out", max_bad_records=3, engine="inline")
    assert list(result.lines()) == ["found\t3"]


def raising(key: str, values: Any) -> int:
    """Count the values of a key, unless it is bad."""
    if key.startswith("bad"):
        raise ValueError(key)
    return sum(values)


def yielding(key: str, values: Any) -> Iterator[Any]:
    """Yield something before a bad key is found out."""
    yield key, 0
    yield key, raising(key, values)


def returning(key: str, values: Any) -> Any:
    """Return an iterator."""
    return iter([(key, raising(key, values))])


def emit(key: Any, line: str) -> Iterator[Any]:
    """Emit the line."""
    yield line, 1


@pytest.mark.parametrize("reduce", [raising, yielding, returning])
def test_bad_keys_of_a_reduce_are_skipped_and_saved(here: Path, reduce: Any) -> None:
    result = mrcore.run(
        map=emit,
        reduce=reduce,
        inputs="in",
        output="out",
        reduces=1,
        max_bad_records=3,
        engine="inline",
    )
    lines = sorted(result.lines())
    assert [line for line in lines if line.endswith("\t1")] == ["a\t1", "b\t1", "c\t1"]
    assert not any("bad" in line for line in lines)
    found = (here / "out/_bad/reduce-00000.jsonl").read_text().splitlines()
    bad = [json.loads(line) for line in found]
    assert [each["record"] for each in bad] == ["'bad 1'", "'bad 2'", "'bad 3'"]
    assert all(each["shown"] == "reduce" for each in bad)
    assert all("ValueError: bad" in each["cause"] for each in bad)
    assert all("in raising\n    raise ValueError(key)\nValueError" in e["traceback"] for e in bad)
    assert read_receipt(f"file://{here}/out").bad_records == 3


def test_more_bad_keys_than_allowed_fail_the_job(here: Path) -> None:
    with pytest.raises(mrcore.RunFailedError, match="ValueError: bad 3, for the key 'bad 3'"):
        mrcore.run(
            map=emit,
            reduce=raising,
            inputs="in",
            output="out",
            reduces=1,
            max_bad_records=2,
            engine="inline",
        )
    assert not (here / "out/_SUCCESS").exists()


def test_a_key_with_many_values_is_skipped(here: Path) -> None:
    """Its values come in chunks, and those that nobody takes are passed over."""
    (here / "in/c.txt").write_text("bad\n" * 300_000 + "z\n")
    result = mrcore.run(
        map=emit,
        reduce=raising,
        inputs="in/c.txt",
        output="out",
        reduces=1,
        max_bad_records=1,
        engine="inline",
    )
    assert list(result.lines()) == ["z\t1"]


def adding(key: str, values: Any) -> Iterator[Any]:
    """Add up, but not the values of a bad key."""
    yield key, raising(key, values)


@pytest.mark.parametrize("combine", [raising, adding])
def test_a_bad_key_of_combine_keeps_its_values(here: Path, combine: Any) -> None:
    (here / "in/a.txt").write_text("a\nbad\na\nbad\nbad\n")
    result = mrcore.run(
        map=emit,
        combine=combine,
        reduce=mrcore.sum,
        inputs="in/a.txt",
        output="out",
        reduces=1,
        max_bad_records=1,
        engine="inline",
    )
    assert sorted(result.lines()) == ["a\t2", "bad\t3"]
    (bad,) = map(json.loads, (here / "out/_bad/map-00000.jsonl").read_text().splitlines())
    assert (bad["shown"], bad["record"]) == ("combine", "'bad'")
    assert "combine raised ValueError: bad, for the key 'bad'" in bad["cause"]


def test_a_key_that_neither_combine_nor_reduce_can_take_is_left_out(here: Path) -> None:
    (here / "in/a.txt").write_text("a\nbad\na\nbad\nbad\n")
    options: dict[str, Any] = {"inputs": "in/a.txt", "reduces": 1, "engine": "inline"}
    functions: dict[str, Any] = {"map": emit, "combine": raising, "reduce": raising}
    result = mrcore.run(output="out", max_bad_records=2, **functions, **options)
    assert sorted(result.lines()) == ["a\t2"]
    assert sorted(path.name for path in (here / "out/_bad").iterdir()) == [
        "map-00000.jsonl",
        "reduce-00000.jsonl",
    ]
    with pytest.raises(mrcore.RunFailedError, match="reduce raised ValueError: bad"):
        mrcore.run(output="out2", max_bad_records=1, **functions, **options)


SHARES = {"0.1%": 0, "1%": 3, "1.5 %": 4, "100%": 300}


@pytest.mark.parametrize(("allowed", "bad"), SHARES.items())
def test_a_share_is_that_of_all_records_that_are_read(here: Path, allowed: str, bad: int) -> None:
    """It counts over all files: the bad ones may all lie in one of them."""
    lines = [f"bad {n}\n" if n < bad else "a\n" for n in range(300)]
    (here / "in/a.txt").write_text("".join(lines[:10]))
    (here / "in/b.txt").write_text("".join(lines[10:]))
    options: dict[str, Any] = {"map": fragile, "inputs": "in", "engine": "inline"}
    result = mrcore.run(output="out", max_bad_records=allowed, reduce=mrcore.sum, **options)
    assert read_receipt(f"file://{here}/out").bad_records == bad
    assert sum(int(line.split("\t")[1]) for line in result.lines()) == 300 - bad


def test_a_larger_share_than_allowed_fails_the_job_when_the_input_is_read(here: Path) -> None:
    (here / "in/b.txt").write_text("b\n" * 94 + "bad 3\nbad 4\n")
    with pytest.raises(mrcore.RunFailedError) as failed:
        mrcore.run(map=fragile, inputs="in", output="out", max_bad_records="3%", engine="inline")
    assert str(failed.value).startswith(
        "4 bad records of 100 had to be skipped, and 3% is allowed by max_bad_records. Correct the "
        "input or the code, or allow more. The last one: map raised ValueError: bad 4, on "
    )


def test_what_a_bad_record_has_emitted_and_counted_is_taken_back(here: Path) -> None:
    contexts: list[Any] = []

    def user_map(key: Any, line: str) -> Iterator[Any]:
        contexts[-1].count("seen")
        yield line, [line]
        if line.startswith("bad"):
            raise ValueError(line)

    result = mrcore.run(
        map=user_map,
        setup=contexts.append,
        map_only=True,
        inputs="in",
        output="out",
        max_bad_records="50%",
        engine="inline",
    )
    assert sorted(result.lines()) == ["a\t['a']", "b\t['b']", "c\t['c']"]
    assert result.counters == {"seen": 3}


def test_pairs_that_no_run_can_hold_are_given_up_with_their_record(here: Path) -> None:
    (here / "in/a.txt").write_text("a\n" + "bad\n" * 40 + "b\n")

    def user_map(key: Any, line: str) -> Any:
        return [(float("nan") if line == "bad" else line, 1)]

    result = mrcore.run(
        map=user_map,
        reduce=mrcore.sum,
        inputs="in/a.txt",
        output="out",
        max_bad_records=40,
        engine="inline",
    )
    assert sorted(result.lines()) == ["a\t1", "b\t1"]
    assert read_receipt(f"file://{here}/out").attempts < 5


def test_a_record_with_very_many_pairs_is_given_up_between_attempts(here: Path) -> None:
    def user_map(key: Any, line: str) -> Iterator[Any]:
        for number in range(3_000):
            yield number % 7, 1
        yield from fragile(key, line)

    mrcore.run(
        map=lambda key, line: (pair for pair in user_map(key, line) if isinstance(pair[0], str)),
        reduce=mrcore.sum,
        inputs="in/b.txt",
        output="small",
        max_bad_records=1,
        engine="inline",
    )
    result = mrcore.run(
        map=lambda key, line: ((str(key), one) for key, one in user_map(key, line)),
        reduce=mrcore.sum,
        inputs="in/b.txt",
        output="out",
        max_bad_records=1,
        engine="inline",
    )
    assert dict(line.split("\t") for line in result.lines())["0"] == "429"
    assert read_receipt(f"file://{here}/out").bad_records == 1


@pytest.mark.parametrize(
    ("allowed", "begin"),
    [
        (3, "4 bad records had to be skipped, and 3 are allowed by max_bad_records. Correct the "),
        (100, "The task has more than 5 bad records, which is all that one can skip. "),
        ("90%", "The task has more than 5 bad records, which is all that one can skip. "),
    ],
)
def test_a_task_that_can_skip_no_more_is_not_tried_again_for_each_record(
    here: Path, monkeypatch: pytest.MonkeyPatch, allowed: int | str, begin: str
) -> None:
    monkeypatch.setattr(skipping, "MAX_SKIPPED_IN_TASK", 5)
    (here / "in/a.txt").write_text("".join(f"bad {n}\n" for n in range(40)))
    log = here / "mapped.txt"

    def logging(key: Any, line: str) -> Iterator[Any]:
        with log.open("a") as file:
            file.write(f"{line}\n")
        return fragile(key, line)

    with pytest.raises(mrcore.RunFailedError) as failed:
        mrcore.run(
            map=logging, inputs="in/a.txt", output="out", max_bad_records=allowed, engine="inline"
        )
    assert str(failed.value).startswith(begin)
    last = min(allowed, 5) if isinstance(allowed, int) else 5
    assert f"The last one: map raised ValueError: bad {last}, on the record at" in str(failed.value)
    assert len(log.read_text().splitlines()) == 1 + 2 * (last + 1), "two attempts"
