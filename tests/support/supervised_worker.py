"""A supervisor with a state, an output and some jobs, for tests of what children do."""

from __future__ import annotations

import asyncio
import json
import os
import select
import textwrap
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from mrcore.calls.payload import load_value
from mrcore.model import object_names
from mrcore.model.attempts import Assignment
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec
from mrcore.model.task import (
    CallInput,
    Piece,
    Skip,
    Split,
    TaskFailure,
    TaskOutput,
    TaskResult,
    TaskWork,
)
from mrcore.plugin.bundle import build_bundle
from mrcore.tasks.child.attempt_log import store_log
from mrcore.tasks.child.protocol import MAX_REPORT_BYTES
from mrcore.util.clock import SYSTEM
from mrcore.util.proc import descendants
from mrcore.worker.core.limits import DEFAULT, Limits
from mrcore.worker.shell.orphans import Orphans, adopt_orphans
from mrcore.worker.shell.supervisor import Supervisor
from tests.support.call_making import ObjectFolder, session_spec
from tests.support.specs import NO_VERSIONS, job_spec, one_input


class OwnOrphans(Orphans):
    """Orphans of a worker in a process that has children of other tests."""

    def __init__(self, others: Collection[int]) -> None:
        super().__init__()
        self._others = frozenset(others)

    def look(self, own: Collection[int]) -> None:
        """Leave the children of others alone."""
        super().look(self._others.union(own))


class SupervisedWorker:
    """A supervisor, a state and an output in a folder, and a job or two."""

    def __init__(
        self,
        folder: Path,
        slots: int = 1,
        limits: Limits = DEFAULT,
    ) -> None:
        self.folder = folder
        self._others = frozenset(descendants(os.getpid()))
        self.state_uri = f"file://{folder}/state"
        (folder / "scratch").mkdir()
        (folder / "state/plugins").mkdir(parents=True)
        self.has_room = True
        self.supervisor = Supervisor(
            slots=slots,
            slot_memory_bytes=1 << 30,
            scratch=folder / "scratch",
            environment=os.environ,
            clock=SYSTEM,
            store_log=store_log,
            limits=limits,
            orphans=OwnOrphans(self._others),
        )
        self.results: dict[AttemptId, TaskResult] = {}
        self.specs: dict[str, JobSpec] = {}
        self._news = asyncio.Event()

    def may_begin(self) -> bool:
        """Return whether there is room for results, as the test wants it."""
        return self.has_room

    def attempt_ended(self, attempt: AttemptId, result: TaskResult) -> None:
        """Keep a result that the supervisor reports, for the test."""
        assert attempt not in self.results
        check_bounds(self.supervisor)
        self.results[attempt] = result
        self._news.set()

    def job(
        self,
        source: str,
        job_id: str = "job",
        *,
        memory_bytes: int = 0,
        timeout_seconds: float | None = None,
        record_timeout_seconds: float | None = None,
        claimed: bool = True,
        map_only: bool = True,
    ) -> None:
        """Make a job whose plugin has this source (dedented)."""
        (self.folder / f"{job_id}.py").write_text(textwrap.dedent(source))
        bundle = build_bundle(f"{job_id}.py", [], self.folder)
        (self.folder / "state/plugins" / bundle.sha256).write_bytes(bundle.data)
        out = self.folder / f"out-{job_id}"
        out.mkdir()
        if claimed:
            (out / "_claim").write_text(json.dumps({"job_id": job_id}))
        spec = job_spec(
            job_id,
            sha256=bundle.sha256,
            plugin_name=f"{job_id}.py",
            inputs=one_input("file:///x", "x"),
            output_uri=f"file://{out}",
            map_only=map_only,
            memory_bytes=memory_bytes,
            task_timeout_seconds=timeout_seconds,
            record_timeout_seconds=record_timeout_seconds,
            versions=NO_VERSIONS,
        )
        self.specs[job_id] = spec
        self.supervisor.keep_job(job_id, spec, self.state_uri)

    def give(
        self, text: str = "a\n", job_id: str = "job", *, mark: bool = False, partitions: int = 0
    ) -> AttemptId:
        """Assign one map attempt over a file with this text."""
        self.given = getattr(self, "given", 0) + 1
        path = self.folder / f"input-{self.given}"
        path.write_text(text)
        info = path.stat()
        generation = f"{info.st_ino}-{info.st_mtime_ns}-{info.st_size}"
        piece = Piece(f"file://{path}", path.name, 0, info.st_size, info.st_size, generation)
        attempt = AttemptId(TaskId(job_id, 0, self.given), AttemptNumber(1, self.given))
        work = TaskWork(Split((piece,)), partitions)
        self.supervisor.enqueue(Assignment(attempt, 0, work, mark_records=mark))
        self.supervisor.dispatch()
        return attempt

    def session(self, session_id: str, **options: Any) -> ObjectFolder:
        """Open a session of calls; return the folder of their objects."""
        spec = self.specs[session_id] = session_spec(session_id, **options)
        self.supervisor.keep_job(session_id, spec, self.state_uri)
        return ObjectFolder(self.folder / "state")

    def make(
        self, call: CallInput, session_id: str = "calls", skip: tuple[Skip, ...] = ()
    ) -> AttemptId:
        """Assign one call of a session, which skips these items."""
        self.given = getattr(self, "given", 0) + 1
        attempt = AttemptId(TaskId(session_id, 0, self.given), AttemptNumber(1, self.given))
        self.supervisor.enqueue(Assignment(attempt, 0, TaskWork(call), skip=skip))
        self.supervisor.dispatch()
        return attempt

    async def value(self, attempt: AttemptId) -> Any:
        """Wait for a call; return its value."""
        result = await self.result(attempt)
        assert isinstance(result, TaskOutput), result
        return load_value(result.result)

    async def result(self, attempt: AttemptId) -> TaskResult:
        """Wait for the result of an attempt."""
        while attempt not in self.results:
            self._news.clear()
            await self._news.wait()
        return self.results[attempt]

    async def failure(self, attempt: AttemptId) -> TaskFailure:
        """Wait for an attempt that has to fail."""
        result = await self.result(attempt)
        assert isinstance(result, TaskFailure), result
        return result

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that only the file system or /proc shows."""
        while not condition():
            check_bounds(self.supervisor)
            await asyncio.sleep(0.01)

    def await_server(self) -> None:
        """Wait for the fork server where no loop runs; children are then started."""
        starter = self.supervisor._starter
        starter.may_start()
        assert select.select([starter._server.descriptor], [], [], 60.0)[0]
        starter._on_readable()

    def processes(self) -> list[int]:
        """Return the children, and what they have started; not what another test keeps."""
        others = self._others | self.supervisor._starter.process_ids()
        return [pid for pid in descendants(os.getpid()) if pid not in others]

    def log_uri(self, attempt: AttemptId) -> str:
        """Return the name of the log of an attempt."""
        return object_names.log_uri(self.state_uri, self.specs[attempt.task.job_id], attempt)

    def log_path(self, attempt: AttemptId) -> Path:
        """Return where the output of an attempt is stored, if it printed something."""
        return Path(self.log_uri(attempt).removeprefix("file://"))

    def log(self, attempt: AttemptId) -> str:
        """Return what was stored of an attempt's output."""
        return self.log_path(attempt).read_text()


def alive(process_id: int) -> bool:
    """Return whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def check_bounds(supervisor: Supervisor) -> None:
    """Assert that every queue, map and list of a supervisor is within its limit."""
    limits, children = supervisor._limits, supervisor._children
    assert len(children) <= limits.children_max(supervisor.slots)
    assert supervisor.unfinished() <= limits.held_max
    assert len(supervisor.jobs) <= max(limits.known_jobs_max, limits.held_max)
    assert len(supervisor._unwanted) <= len(children)
    assert supervisor._log_tails.held_bytes <= (
        limits.log_tails_bytes_max + limits.held_max * limits.log_tail_bytes_min
    )
    assert supervisor._folders.sweeps <= limits.sweeps_max
    for child in children:
        assert len(child.sent) <= limits.ahead_max + 1
        assert len(child._reader._buffer) <= MAX_REPORT_BYTES + (1 << 18)
    assert len(supervisor._orphans._marks) <= limits.orphans_max


def in_house(
    slots: int = 1, limits: Limits = DEFAULT
) -> Callable[[Callable[[SupervisedWorker], Awaitable[None]]], Callable[[Path], None]]:
    """Run a test with a supervisor that lives as long as it, and leaves nothing."""

    def decorate(test: Callable[[SupervisedWorker], Awaitable[None]]) -> Callable[[Path], None]:
        async def run(house: SupervisedWorker) -> None:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(house.supervisor.run(house))
                # The supervisor runs before anything is assigned, and starts children at once.
                await house.until(house.supervisor._starter.may_start)
                try:
                    await test(house)
                finally:
                    task.cancel()

        def call(tmp_path: Path) -> None:
            house = SupervisedWorker(tmp_path, slots, limits)
            try:
                asyncio.run(run(house))
            finally:
                house.supervisor.close()
                adopt_orphans(False)
            while house.processes():  # what was killed dies after a moment, and is collected
                house.supervisor._orphans.look(())
            assert list((tmp_path / "scratch").glob("*.log")) == []

        call.__name__ = test.__name__
        call.__doc__ = test.__doc__
        return call

    return decorate
