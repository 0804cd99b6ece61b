"""Keys and pairs that raise: one more attempt of a task finds them all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore import Step
from mrcore.model import skipping
from mrcore.output.receipt import read_receipt


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with 40 words of which ten are bad, each of them twice."""
    words = [f"bad{n}" if n % 4 == 3 else f"good{n}" for n in range(40)]
    (tmp_path / "in.txt").write_text("".join(f"{word}\n" for word in words * 2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def run(output: str = "out", **given: Any) -> mrcore.Result:
    """Run a job that may skip ten."""
    options = {"reduces": 1, "max_bad_records": 10, "max_attempts": 2, **given}
    return mrcore.run(inputs="in.txt", output=output, engine="inline", **options)


def bad_of(output: str, task: str) -> list[dict[str, Any]]:
    """Return what a task has skipped."""
    return [
        json.loads(line) for line in Path(output, f"_bad/{task}.jsonl").read_text().splitlines()
    ]


def emit(key: Any, line: str) -> Iterator[Any]:
    """Emit the line."""
    yield line, 1


def check(word: str) -> None:
    """Raise for a bad word."""
    if word.startswith("bad"):
        raise ValueError(word)


def returning(key: str, values: Any) -> int:
    """Count values."""
    check(key)
    return sum(values)


def yielding(key: str, values: Any) -> Iterator[Any]:
    """Yield something before the key is found to be bad, and something after its values."""
    yield f"early {key}", 0
    total = sum(values)
    check(key)
    yield key, total


@pytest.mark.parametrize("reduce", [returning, yielding])
def test_all_bad_keys_of_a_reduce_cost_one_attempt(reduce: Any) -> None:
    result = run(map=emit, reduce=reduce)
    lines = list(result.lines())
    assert not [line for line in lines if "bad" in line]
    assert sum(line.endswith("\t2") for line in lines) == 30
    bad = bad_of("out", "reduce-00000")
    assert len(bad) == 10
    assert bad[0]["record"] == "'bad11'"
    assert bad[0]["cause"] == "reduce raised ValueError: bad11, for the key 'bad11'"
    assert "in check\n    raise ValueError(word)\nValueError: bad11" in bad[0]["traceback"]
    assert read_receipt(result.job.output_uri).attempts == 3


def test_all_bad_keys_of_a_combine_cost_one_attempt() -> None:
    result = run(map=emit, combine=returning, reduce=mrcore.sum)
    assert len(list(result.lines())) == 40
    assert all(line.endswith("\t2") for line in result.lines())
    assert len(bad_of("out", "map-00000")) == 10
    assert read_receipt(result.job.output_uri).attempts == 3


def test_one_bad_key_more_than_allowed_fails_the_job_with_both_sentences() -> None:
    with pytest.raises(mrcore.RunFailedError) as failed:
        run(map=emit, reduce=returning, max_bad_records=9)
    assert str(failed.value).startswith(
        "10 bad records had to be skipped, and 9 are allowed by max_bad_records. Correct the "
        "input or the code, or allow more. The last one: reduce raised ValueError: bad7, for the "
        "key 'bad7'.\n"
    )


def test_a_key_with_more_values_than_can_be_held_costs_two_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mrcore.tasks.trials._HELD", 1)
    (Path("in.txt")).write_text("good\nbad1\nbad2\nbad1\nbad2\n")
    result = run(map=emit, reduce=returning)
    assert list(result.lines()) == ["good\t1"]
    # The first attempt at the reduce, one more at the first key, two at the other, and the last.
    assert read_receipt(result.job.output_uri).attempts == 1 + 5


def test_a_key_with_more_values_than_can_be_held_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mrcore.tasks.trials._HELD", 2)
    Path("in.txt").write_text("bad\n" + "many\n" * 7 + "two\n" * 2)
    result = run(map=emit, reduce=returning)
    assert list(result.lines()) == ["many\t7", "two\t2"]
    assert read_receipt(result.job.output_uri).attempts == 3


def test_a_key_that_has_no_order_for_a_later_step_costs_one_attempt() -> None:
    def reduce(key: str, values: Any) -> Iterator[Any]:
        yield (float("nan") if key.startswith("bad") else key), sum(values)

    def group(key: Any, values: Any) -> int:
        return sum(values)

    steps = [Step(map=emit, reduce=reduce), Step(reduce=group)]
    result = run(steps=steps)
    assert sum(line.endswith("\t2") for line in result.lines()) == 30
    assert len(bad_of("out", "step1-reduce-00000")) == 10
    assert read_receipt(result.job.output_uri).attempts == 4


def test_a_later_map_gets_a_pair_as_it_was_at_the_second_try() -> None:
    def second(key: str, value: list[int]) -> Iterator[Any]:
        value.append(2)
        assert len(value) == 2, "the first try has changed it"
        check(key)
        yield key, len(value)

    first = Step(map=emit, reduce=lambda key, values: [sum(values)])
    result = run(steps=[first, Step(map=second, reduce=mrcore.sum)])
    assert sum(line.endswith("\t2") for line in result.lines()) == 30
    causes = {bad["cause"].partition(",")[0] for bad in bad_of("out", "step1-reduce-00000")}
    assert causes == {f"map of step 2 raised ValueError: bad{n}" for n in range(3, 40, 4)}


def test_what_a_key_has_counted_and_changed_is_taken_back() -> None:
    contexts: list[Any] = []

    def reduce(key: str, values: Any) -> Iterator[Any]:
        contexts[-1].count("keys")
        for value in values:
            value.append("seen")
            assert len(value) == 2, "the second try gets values as they were"
        check(key)
        yield key, 1

    result = run(map=lambda key, line: [(line, [1])], reduce=reduce, setup=contexts.append)
    assert result.counters == {"keys": 30}
    assert {bad["cause"].partition(",")[0] for bad in bad_of("out", "reduce-00000")} == {
        f"reduce raised ValueError: bad{n}" for n in range(40) if n % 4 == 3
    }


FIRST = Step(map=emit, reduce=lambda key, values: sum(values))


def later(key: str, count: int) -> Iterator[Any]:
    """Emit something before a pair is found to be bad."""
    yield f"early {key}", 0
    check(key)
    yield key, count


def unordered(key: str, count: int) -> Iterator[Any]:
    """Emit a key that has no order for bad pairs."""
    yield float("nan") if key.startswith("bad") else key, count


def by_value(value: Any) -> Any:
    """Order values, but not those of bad words."""
    check(value)
    return value


@pytest.mark.parametrize(
    ("second", "cause"),
    [
        (
            Step(map=later, reduce=mrcore.sum),
            "map of step 2 raised ValueError: bad11, for the key 'bad11'",
        ),
        (Step(map=unordered, reduce=mrcore.sum), "the key nan"),
        (
            Step(
                map=lambda key, count: [("all", key)],
                sort_key=by_value,
                reduce=lambda key, values: len(list(values)),
            ),
            "sort_key of step 2 raised ValueError: bad11",
        ),
    ],
)
def test_pairs_that_a_later_step_cannot_take_are_skipped(second: Step, cause: str) -> None:
    result = run(steps=[FIRST, second])
    lines = list(result.lines())
    assert not [line for line in lines if "bad" in line or "nan" in line]
    assert lines == ["all\t30"] or sum(line.endswith("\t2") for line in lines) == 30
    bad = bad_of("out", "step1-reduce-00000")
    assert [each["record"] for each in bad[:2]] == ["('bad11', 2)", "('bad15', 2)"]
    assert len(bad) == 10
    assert bad[0]["shown"] == "map of step 2"
    assert bad[0]["cause"].startswith(cause)
    assert read_receipt(result.job.output_uri).attempts == 4


def test_a_pair_is_found_where_what_map_keeps_forbids_a_careful_attempt() -> None:
    def finish(context: Any) -> None:
        """Emit nothing, but what it might emit cannot be taken back."""

    Path("in.txt").write_text("good\nbad\n")
    second = Step(map=later, map_finish=finish, reduce=mrcore.sum)
    result = run(steps=[FIRST, second], max_attempts=3)
    assert dict(line.split("\t") for line in result.lines()) == {"early good": "0", "good": "1"}
    (bad,) = bad_of("out", "step1-reduce-00000")
    assert bad["shown"] == "map of step 2"


def test_a_record_is_skipped_as_a_whole_where_a_later_map_of_its_task_fails() -> None:
    contexts: list[Any] = []

    def second(key: str, one: int) -> Iterator[Any]:
        contexts[-1].count("pairs")
        yield from later(key, one)

    steps = [Step(map=emit), Step(map=second, reduce=mrcore.sum)]
    result = run(steps=steps, setup=contexts.append, max_bad_records=20)
    assert sum(line.endswith("\t2") for line in result.lines()) == 30
    assert result.counters == {"pairs": 60}, "each pair counts once, though each was judged before"
    bad = bad_of("out", "map-00000")
    assert [each["record"] for each in bad[:2]] == ["bad3", "bad7"]
    assert read_receipt(result.job.output_uri).attempts == 3


def test_a_task_may_skip_no_more_keys_than_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skipping, "MAX_SKIPPED_IN_TASK", 5)
    with pytest.raises(mrcore.RunFailedError, match="The task has more than 5 bad records"):
        run(map=emit, reduce=returning, max_bad_records="50%")


def test_bad_elements_of_a_dataset_cost_one_attempt() -> None:
    def checked(word: str) -> str:
        check(word)
        return word

    result = (
        mrcore.read_text("in.txt")
        .map(checked)
        .write_text("out", engine="inline", max_bad_records=20, max_attempts=2)
    )
    assert len(list(result.lines())) == 60
    assert len(bad_of("out", "map-00000")) == 20
    assert read_receipt(result.job.output_uri).attempts == 2


def test_bad_pairs_behind_a_shuffle_of_a_dataset_cost_one_attempt() -> None:
    def checked(pair: tuple[str, int]) -> tuple[str, int]:
        check(pair[0])
        return pair

    result = (
        mrcore.read_text("in.txt")
        .map(lambda word: (word, 1))
        .reduce_by_key(lambda one, other: one + other)
        .map(checked)
        .write_text("out", engine="inline", max_bad_records=10, max_attempts=2, reduces=1)
    )
    assert len(list(result.lines())) == 30
    assert read_receipt(result.job.output_uri).attempts == 3
