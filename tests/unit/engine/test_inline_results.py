"""Jobs without an output: what their tasks leave is for the caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrcore.client.request import Functions, JobRequest
from mrcore.engine import history
from mrcore.engine.inline import run_inline
from mrcore.model.formats import PICKLE
from mrcore.model.job import JobState
from mrcore.records.frames import item_frames, pairs_of_results
from mrcore.tasks.results import INLINE_BYTES


def _run(
    tmp_path: Path, items: list[Any], slots: int = 1, **functions: Any
) -> list[tuple[Any, Any]]:
    options = {"input_format": PICKLE, **functions.pop("options", {})}
    (tmp_path / "items").write_bytes(item_frames(items))
    request = JobRequest(
        plugin=Functions(given=functions),
        inputs=("items",),
        output=None,
        cwd=tmp_path,
        options=options,
    )
    results: list[bytes] = []
    job = run_inline(request, slots=slots, on_result=results.append)
    assert job.state is JobState.SUCCEEDED, job.message
    assert job.output_uri == ""
    return list(pairs_of_results(results))


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "runs"))


def test_pairs_of_reduces_come_with_their_types(tmp_path: Path) -> None:
    found = _run(
        tmp_path,
        [("a", 1), ("b", 2.5), ("a", 3)],
        map=lambda key, pair: [pair],
        reduce=lambda key, values: list(values),
    )
    assert found == [("a", [1, 3]), ("b", [2.5])]
    assert type(found[1][1][0]) is float


def test_map_only_results_come_in_the_order_of_the_items(tmp_path: Path) -> None:
    found = _run(
        tmp_path,
        list(range(1_000)),
        slots=4,
        map=lambda key, n: [(n, {"square": n * n})],
        options={"map_only": True},
    )
    assert found == [(n, {"square": n * n}) for n in range(1_000)]


def test_a_large_result_is_an_object_and_nothing_else_is_left(tmp_path: Path) -> None:
    text = "x" * INLINE_BYTES
    found = _run(
        tmp_path,
        [text, text],
        map=lambda key, value: [(1, value)],
        reduce=lambda key, values: list(values),
    )
    assert found == [(1, [text, text])]
    folder = history.folder_of(next(history.past_runs()))
    left = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in left if name.endswith(".run")]
    assert not [name for name in left if "results" in name]


def test_a_result_that_cannot_be_pickled_is_a_failure_of_the_users_code(tmp_path: Path) -> None:
    (tmp_path / "items").write_bytes(item_frames([1]))
    request = JobRequest(
        plugin=Functions(given={"map": lambda key, n: [(n, lambda: n)]}),
        inputs=("items",),
        output=None,
        cwd=tmp_path,
        options={"input_format": PICKLE, "map_only": True},
    )
    job = run_inline(request)
    assert job.state is JobState.FAILED
    assert "cannot be pickled" in job.message


def test_an_object_that_changes_after_it_was_emitted_is_kept_as_it_was(tmp_path: Path) -> None:
    def emit(key: Any, n: int) -> Any:
        row = [n]
        yield n, row
        row.append(-1)
        yield n, row

    found = _run(tmp_path, [1, 2], map=emit, options={"map_only": True})
    assert found == [(1, [1]), (1, [1, -1]), (2, [2]), (2, [2, -1])]
