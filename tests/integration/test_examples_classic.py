"""The classic checks: parallel tasks, each map once, nobody leaves early, crashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcore.engine.api import Result, run
from tests.support.example_jobs import EXAMPLES, file_facts, library_sources


@pytest.fixture(autouse=True)
def own_state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run_classic(
    name: str, tmp_path: Path, *, workers: int, reduces: int, max_attempts: int = 4, **params: str
) -> Result:
    """Run one of the teaching set on an embedded cluster."""
    return run(
        EXAMPLES / "classic" / name,
        inputs=library_sources(tmp_path),
        output=tmp_path / "out",
        input_format="whole",
        workers=workers,
        reduces=reduces,
        max_attempts=max_attempts,
        params=params,
    )


@pytest.mark.slow
def test_map_tasks_run_in_parallel(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    result = run_classic(
        "map_timing.py", tmp_path, workers=2, reduces=1, folder=str(meeting), wanted="2"
    )
    assert list(result.lines()) == ["map tasks at once\t2"]


@pytest.mark.slow
def test_reduce_tasks_run_in_parallel(tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    result = run_classic(
        "reduce_timing.py", tmp_path, workers=2, reduces=2, folder=str(meeting), wanted="2"
    )
    assert sorted(result.lines()) == ["0\t2", "1\t2"]


@pytest.mark.slow
def test_one_worker_maps_one_task_at_a_time(tmp_path: Path) -> None:
    """So that the two tests above could fail."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    result = run_classic(
        "map_timing.py",
        tmp_path,
        workers=1,
        reduces=1,
        folder=str(meeting),
        wanted="2",
        patience="0.1",
    )
    assert list(result.lines()) == ["map tasks at once\t1"]


@pytest.mark.slow
def test_each_map_is_called_exactly_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    result = run_classic("job_count.py", tmp_path, workers=2, reduces=2, folder=str(calls))
    assert list(result.lines()) == [f"calls\t{len(library_sources(tmp_path))}"]


@pytest.mark.slow
def test_right_output_although_tasks_crash_at_random(tmp_path: Path) -> None:
    result = run_classic("crash.py", tmp_path, workers=2, reduces=3, max_attempts=50)
    texts = {str(path): path.read_bytes().decode() for path in library_sources(tmp_path)}
    assert sorted(result.lines()) == sorted(file_facts(texts))
