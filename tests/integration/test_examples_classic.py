"""The classic checks: parallel tasks, each map once, nobody leaves early, crashes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrcore.engine.api import Result, run
from mrcore.engine.embedded import EmbeddedCluster
from tests.support.example_jobs import EXAMPLES, file_facts, library_sources

pytestmark = pytest.mark.xdist_group("classic")  # one cluster for all


@pytest.fixture(scope="module")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for what clusters keep, so that nothing is left in that of the user."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def two_workers(state_home: Path) -> Iterator[str]:
    """The state of a cluster of two workers."""
    with EmbeddedCluster(workers=2, cwd=state_home) as cluster:
        cluster.credentials()
        yield cluster.folder.state_uri


def run_classic(
    name: str,
    tmp_path: Path,
    *,
    state: str | None,
    reduces: int,
    max_attempts: int = 4,
    **params: str,
) -> Result:
    """Run one of the teaching set on a cluster, or on an embedded one with one worker."""
    return run(
        EXAMPLES / "classic" / name,
        inputs=library_sources(tmp_path),
        output=tmp_path / "out",
        input_format="whole",
        state=state,
        workers=None if state else 1,
        reduces=reduces,
        max_attempts=max_attempts,
        params=params,
    )


@pytest.mark.slow
def test_map_tasks_run_in_parallel(two_workers: str, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    result = run_classic(
        "map_timing.py", tmp_path, state=two_workers, reduces=1, folder=str(meeting), wanted="2"
    )
    assert list(result.lines()) == ["map tasks at once\t2"]


@pytest.mark.slow
def test_reduce_tasks_run_in_parallel(two_workers: str, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    result = run_classic(
        "reduce_timing.py", tmp_path, state=two_workers, reduces=2, folder=str(meeting), wanted="2"
    )
    assert sorted(result.lines()) == ["0\t2", "1\t2"]


@pytest.mark.slow
@pytest.mark.usefixtures("state_home")
def test_one_worker_maps_one_task_at_a_time(tmp_path: Path) -> None:
    """So that the two tests above could fail."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    result = run_classic(
        "map_timing.py",
        tmp_path,
        state=None,
        reduces=1,
        folder=str(meeting),
        wanted="2",
        patience="0.1",
    )
    assert list(result.lines()) == ["map tasks at once\t1"]


@pytest.mark.slow
def test_each_map_is_called_exactly_once(two_workers: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    result = run_classic("job_count.py", tmp_path, state=two_workers, reduces=2, folder=str(calls))
    assert list(result.lines()) == [f"calls\t{len(library_sources(tmp_path))}"]


@pytest.mark.slow
def test_right_output_although_tasks_crash_at_random(two_workers: str, tmp_path: Path) -> None:
    result = run_classic("crash.py", tmp_path, state=two_workers, reduces=3, max_attempts=50)
    texts = {str(path): path.read_bytes().decode() for path in library_sources(tmp_path)}
    assert sorted(result.lines()) == sorted(file_facts(texts))
