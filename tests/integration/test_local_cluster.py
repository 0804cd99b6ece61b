"""A cluster object of a program: jobs as futures, scale, status, monitor and shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import cast

import pytest

import mrcore
from mrcore.engine import daemons
from mrcore.errors import UsageError
from tests.support.run_support import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.xdist_group("local cluster")  # one cluster for all


@pytest.fixture(scope="module")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def cluster(state_home: Path) -> Iterator[mrcore.LocalCluster]:
    with mrcore.LocalCluster(workers=2) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("b a\n")
    (tmp_path / "in/b.txt").write_text("b\n")
    return tmp_path


def words(key: object, line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def start(cluster: mrcore.Client, here: Path, name: str = "out") -> mrcore.JobFuture:
    return cluster.submit(
        map=words, reduce=mrcore.sum, inputs=here / "in", output=here / name, reduces=1
    )


def test_a_job_is_a_future(cluster: mrcore.LocalCluster, here: Path) -> None:
    job = start(cluster, here)
    seen: list[futures.Future[mrcore.Result]] = []
    job.add_done_callback(seen.append)
    assert futures.wait([job], timeout=60).done == {job}
    result = job.result()
    assert list(result.lines()) == ["a\t1", "b\t2"]
    assert seen == [job]
    assert job.done()
    assert not job.running()
    assert job.exception() is None
    assert job.progress().state == mrcore.JobState.SUCCEEDED
    assert job.fraction() == 1.0
    assert repr(job) == f"<JobFuture of {job.job_id}: succeeded>"
    assert job.job_id in job._repr_html_()
    assert not job.cancel()
    again = cluster.job(job.job_id)
    assert again.result(60).output == result.output
    assert job.job_id in [view.job_id for view in cluster.jobs()]
    tasks = cluster.monitor.tasks(job)
    assert [row["state"] for row in tasks.dicts()] == ["completed"] * len(tasks)
    files = [row["file"] for row in cluster.monitor.files(job).dicts()]
    assert any(name.startswith(str(here / "out")) for name in files)


def test_jobs_can_be_awaited(cluster: mrcore.LocalCluster, here: Path) -> None:
    async def both() -> tuple[mrcore.Result, mrcore.Result]:
        return await asyncio.gather(start(cluster, here, "one"), start(cluster, here, "two"))

    one, two = asyncio.run(both())
    assert list(one.lines()) == list(two.lines())


def test_a_job_that_fails_and_one_that_is_cancelled(
    cluster: mrcore.LocalCluster, here: Path
) -> None:
    def refuse(key: object, line: str) -> None:
        raise ValueError("never")

    def wait(key: object, line: str) -> None:
        (here / "at").touch()
        signal.pause()

    failing = cluster.submit(map=refuse, inputs=here / "in", output=here / "f", max_attempts=1)
    waiting = cluster.submit(map=wait, inputs=here / "in/a.txt", output=here / "w")
    with pytest.raises(mrcore.RunFailedError, match="ValueError: never"):
        failing.result(60)
    wait_until((here / "at").exists)
    assert waiting.running()
    assert waiting.cancel()
    assert waiting.cancelled()
    with pytest.raises(futures.CancelledError):
        waiting.result()
    wait_until(lambda: cluster.job(waiting.job_id).cancelled())


def test_what_cannot_work_is_refused(cluster: mrcore.LocalCluster, here: Path) -> None:
    with pytest.raises(UsageError, match="none does not exist"):
        cluster.submit(map=words, inputs=here / "none", output=here / "out")
    with pytest.raises(UsageError, match=r"no option 'reducs'. Did you mean 'reduces'\?"):
        cluster.submit(map=words, inputs=here, output=here, reducs=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="workers is -1"):
        cluster.scale(workers=-1)


def test_another_client_connects(cluster: mrcore.LocalCluster) -> None:
    with mrcore.connect(state=cluster.state) as client:
        assert client.address == cluster.address
        assert len(client.workers()) >= 2
    with pytest.raises(UsageError, match="was shut down, or its client closed"):
        client.jobs()
    assert ", closed" in repr(client)
    with pytest.raises(UsageError, match="A token needs an address"):
        mrcore.connect(token="x")


def test_scale_and_status(cluster: mrcore.LocalCluster) -> None:
    with pytest.raises(UsageError, match=r"masters is 10\. Give a number from 1 to 9"):
        cluster.scale(masters=10)
    cluster.scale(workers=3)
    wait_until(lambda: cluster.status().online == 3)
    status = cluster.status()
    assert status.slots == 3
    assert "3 workers, 3 online; 0 of 3 slots busy (0%)" in str(status)
    assert "3 slots" in status._repr_html_()
    assert [row["role"] for row in cluster.monitor.masters().dicts()] == ["leader"]
    assert len(cluster.monitor.workers()) == 3
    cluster.scale(workers=2)
    wait_until(lambda: cluster.status().online == 2)


def test_daemons_that_die_are_started_again(cluster: mrcore.LocalCluster, here: Path) -> None:
    before = {one.worker_id: one.process_id for one in cluster.workers()}
    victim = next(iter(before))
    os.kill(before[victim], signal.SIGKILL)
    wait_until(
        lambda: any(
            one.worker_id == victim and one.process_id != before[victim]
            for one in cluster.workers()
        )
    )
    master, *_ = cluster.process_ids()
    os.kill(master, signal.SIGKILL)
    assert list(start(cluster, here).result(60).lines()) == ["a\t1", "b\t2"]


def test_shutdown_leaves_no_process_and_no_file(state_home: Path, tmp_path: Path) -> None:
    kept = mrcore.LocalCluster(workers=1, slots=2, state=tmp_path / "state")
    ids = kept.process_ids()
    assert kept.slots() == 2  # the worker need not have joined
    kept.shutdown(cleanup=False)
    assert (kept.logs_folder / "worker-1.log").exists()
    assert (tmp_path / "state/leader.json").exists()
    again = mrcore.LocalCluster(workers=0, state=tmp_path / "state")
    assert again.slots() == 1
    again.shutdown(cleanup=True)
    assert not again.logs_folder.exists()
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []
    for process_id in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


def test_a_cluster_whose_processes_cannot_live_ends_its_futures(
    state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mrcore.LocalCluster(workers=1) as broken:
        call = broken.call(signal.pause)
        ids = broken.process_ids()
        monkeypatch.setattr(
            daemons, "daemon_command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"]
        )
        os.kill(ids[1], signal.SIGKILL)
        with pytest.raises(mrcore.MrcoreError, match="The embedded worker ended with exit code 3"):
            call.result(60)
        with pytest.raises(mrcore.MrcoreError, match="The embedded worker ended with exit code 3"):
            broken.call(signal.pause)


@pytest.mark.usefixtures("state_home")
def test_a_cluster_lives_as_long_as_something_refers_to_it() -> None:
    cluster: mrcore.LocalCluster | None = mrcore.LocalCluster(workers=1)
    assert cluster is not None
    ids = cluster.process_ids()
    call = cluster.call(pow, 2, 3)
    cluster = None
    gc.collect()
    assert call.result(60) == 8
    del call
    gc.collect()

    def are_gone() -> bool:
        for process_id in ids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, 0)
                return False
        return True

    wait_until(are_gone)


SCRIPT = """
import mrcore

cluster = mrcore.LocalCluster(workers=1)
job = cluster.submit(
    map=lambda key, line: [(word, 1) for word in line.split()],
    reduce=mrcore.sum, inputs="in.txt", output="out",
)
print(*job.result().lines())
print(*cluster.process_ids())
"""


def test_a_script_without_a_main_guard_leaves_nothing(place: Place) -> None:
    place.write("in.txt", "a\n")
    script = place.write("script.py", SCRIPT)
    ended = subprocess.run(
        [sys.executable, str(script)],
        cwd=place.work,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    pairs, ids = ended.stdout.splitlines()
    assert pairs == "a\t1"
    for process_id in ids.split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process_id), 0)
    runs = place.root / "state/mrcore/runs"
    assert list(runs.iterdir()) == []


def seen_by_a_child() -> tuple[int, dict[str, object]]:
    """Return the id of the worker, and what a child of it sees of itself."""
    import logging
    from importlib import metadata

    changing = ("MRCORE_CHILD", "PYTEST_CURRENT_TEST")
    roots = {name.partition(".")[0] for name in sys.modules}
    return os.getppid(), {
        "packages": roots & set(metadata.packages_distributions()),
        "environment": {k: v for k, v in os.environ.items() if k not in changing},
        "mark": Path("/proc/self/environ").read_text().count(os.environ["MRCORE_CHILD"]),
        "command": Path("/proc/self/cmdline").read_text().rstrip("\0").split("\0")[:7],
        "path": sys.path,
        "flags": str(sys.flags),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "logging": [logging.getLogger().level, len(logging.getLogger().handlers)],
        "hash": hash("x"),
        "score": Path("/proc/self/oom_score_adj").read_text(),
    }


def started_by_workers(cluster: mrcore.LocalCluster, module: str) -> set[int]:
    """Return the children of the cluster's workers that run this module."""
    found = set()
    for worker in cluster.process_ids()[1:]:
        for child in Path(f"/proc/{worker}/task/{worker}/children").read_text().split():
            if f"mrcore.tasks.child.{module}" in Path(f"/proc/{child}/cmdline").read_text():
                found.add(int(child))
    return found


def test_children_of_a_forked_worker_are_as_those_of_a_started_one(
    cluster: mrcore.LocalCluster,
) -> None:
    worker, forked = cluster.call(seen_by_a_child).result(60)
    assert worker in cluster.process_ids()
    assert not {"grpc", "google"} & cast(set[str], forked["packages"])
    assert forked["mark"] == 1
    before = started_by_workers(cluster, "fork_server")
    assert len(before) == 2
    for process_id in before | started_by_workers(cluster, "main"):
        os.kill(process_id, signal.SIGKILL)
    _, started = cluster.call(seen_by_a_child).result(60)
    assert started == forked
    assert not before & started_by_workers(cluster, "fork_server")
