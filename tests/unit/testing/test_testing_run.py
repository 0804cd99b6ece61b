"""`mrcore.testing.run`: jobs in memory, with values in another order and without combiners."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore import Step
from mrcore.testing import run

PLUGIN = """
import mrcore

def map(key, line):
    for word in line.split():
        yield word, 1

reduce = combine = mrcore.count
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


def _words(key: Any, line: Any) -> Any:
    return [(word, 1) for word in line.split()]


def _first(key: Any, values: Any) -> Any:
    return next(iter(values))


def test_a_plugin_of_a_file_gets_records_lines_or_files() -> None:
    Path("wc.py").write_text(PLUGIN)
    assert run("wc.py", ["a b", "a"]) == [("a", 2), ("b", 1)]
    assert run("wc.py", "a b\na\n") == [("a", 2), ("b", 1)]
    assert run("wc.py", {"in/x.txt": "a b\n", "in/y.txt": "a"}) == [("a", 2), ("b", 1)]
    assert run("wc.py", {"x.jsonl": '"a b"\n"a"\n'}, input_format="jsonl") == [("a", 2), ("b", 1)]


def test_functions_steps_and_params() -> None:
    swap = Step(map=lambda word, count: [(count, word)], reduce=lambda key, words: sorted(words))
    steps = [Step(map=_words, reduce=mrcore.sum), swap]
    assert run(steps=steps, inputs=["a b c", "a"]) == [(1, ["b", "c"]), (2, ["a"])]
    assert run(map=_words, reduce=mrcore.sum, inputs=[]) == []
    keys = run(map=lambda key, value: [(key[1], value)], inputs=["x", "y"], map_only=True)
    assert keys == [(0, "x"), (1, "y")]


def test_an_assumption_about_the_order_of_values_is_found_by_a_seed() -> None:
    lines = [f"k {n}" for n in range(50)]

    def pairs(key: Any, line: str) -> Any:
        yield tuple(line.split())

    assert run(map=pairs, reduce=_first, inputs=lines) == [("k", "0")]
    seen = {
        run(map=pairs, reduce=_first, inputs=lines, shuffle_values=seed)[0][1] for seed in range(9)
    }
    assert len(seen) > 1
    assert run(map=pairs, reduce=_first, inputs=lines, shuffle_values=3) == run(
        map=pairs, reduce=_first, inputs=lines, shuffle_values=3
    )
    kept = run(map=pairs, reduce=_first, sort_key=int, inputs=lines, shuffle_values=3)
    assert kept == [("k", "0")]


def test_a_combiner_that_changes_the_result_is_found_by_leaving_it_out() -> None:
    def twice(key: Any, values: Any) -> Any:
        return 2 * sum(values)

    steps = [Step(map=lambda key, n: [("k", n)], combine=twice, reduce=mrcore.sum)]
    assert run(steps=steps, inputs=[1, 2], combine=False) == [("k", 3)]
    assert run(steps=steps, inputs=[1, 2]) == [("k", 6)]


def test_a_dataset_runs_on_lists_in_place_of_its_files() -> None:
    users = mrcore.read_csv("users.csv").map(lambda row: (row["id"], row["name"]))
    visits = mrcore.read_text("visits/*.txt").map(lambda line: tuple(line.split()))
    joined = users.join(visits)
    found = run(
        joined,
        {"users.csv": [{"id": "1", "name": "Ann"}], "visits/*.txt": "1 /a\n1 /b\n2 /c"},
        shuffle_values=1,
    )
    assert sorted(found) == [("1", ("Ann", "/a")), ("1", ("Ann", "/b"))]
    assert run(visits.count_by_key(), ["x y", "x z"]) == [("x", 2)]
    assert run(mrcore.from_items([2, 1]).sort_by()) == [1, 2]
    totals = visits.map_values(len).reduce_by_key(operator.add)
    assert run(totals, ["x yy", "x z"], combine=False, shuffle_values=2) == [("x", 3)]


def test_what_cannot_be_run_is_refused_with_a_sentence() -> None:
    dataset = mrcore.read_text("a.txt").union(mrcore.read_text("b.txt"))
    refused: list[tuple[Callable[[], Any], str]] = [
        (lambda: run("wc.py"), "needs inputs"),
        (lambda: run(inputs=["a"]), "needs a plugin"),
        (lambda: run("wc.py", ["a"], map=_words), "not two"),
        (lambda: run(map=_words, inputs=3), "Give a list of records"),  # type: ignore[arg-type]
        (lambda: run(map=_words, inputs={"../x": "a"}), "relative name"),
        (lambda: run(map=_words, inputs=["a"], reducers=2), "Did you mean 'reduces'"),
        (lambda: run(dataset, ["a"]), "has 2 sources"),
        (lambda: run(dataset, {"a.tx": ["a"]}), r"Did you mean 'a\.txt'"),
    ]
    for wrong, words in refused:
        with pytest.raises(mrcore.UsageError, match=words):
            wrong()


def test_an_exception_of_the_code_under_test_comes_out() -> None:
    with pytest.raises(mrcore.RunFailedError, match="ZeroDivisionError"):
        run(map=lambda key, value: [(1 / 0, 1)], inputs=["a"])
