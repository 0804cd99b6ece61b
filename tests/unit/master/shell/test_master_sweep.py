"""The sweep: what forgotten jobs leave in the state goes, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mrcore.master.core.events import CancelAsked, CloseAsked, JobBroken, Submitted
from mrcore.master.core.limits import Limits
from mrcore.master.errors import FencedError
from mrcore.master.shell.journal import Journal
from mrcore.master.shell.leftovers import AGE_SECONDS
from mrcore.master.shell.objects import KEPT_SECONDS, Objects
from mrcore.master.shell.sweep import Sweep
from mrcore.model import object_names
from mrcore.model.job import Input
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.storage.base import ObjectInfo
from mrcore.storage.faulty import FaultyStorage, script
from mrcore.storage.local.store import LocalStorage
from mrcore.util.clock import SYSTEM
from tests.support.call_client import session_spec
from tests.support.master_shell import STATE, Gate
from tests.support.submission_desk import BUNDLE, Desk, run, spec_of

KEPT = 7 * AGE_SECONDS
SESSION = Submitted(
    job_id="calls-1",
    request_id="calls-1",
    spec=session_spec(),
    stages=(StagePlan(0, Calls(), Result()),),
    claim_generation="",
    wall_seconds=SYSTEM.wall(),
)


def sweep_of(desk: Desk, storage: LocalStorage | None = None, kept_seconds: float = KEPT) -> Sweep:
    storage = storage or LocalStorage()
    return Sweep(
        desk.shell,
        desk.submissions,
        Objects(storage, desk.state_uri, SYSTEM),
        storage=storage,
        state_uri=desk.state_uri,
        clock=SYSTEM,
        kept_seconds=kept_seconds,
    )


def write(uri: str, *, old: bool) -> Path:
    path = Path(uri.removeprefix("file://"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    if old:
        age(path)
    return path


def age(path: Path) -> None:
    changed = SYSTEM.wall() - AGE_SECONDS - 60
    os.utime(path, (changed, changed))


def test_what_a_forgotten_job_left_goes_and_all_else_stays(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        state = desk.state_uri
        job_id = await desk.submit(spec_of(tmp_path))
        plugin = Path(object_names.plugin_uri(state, hashlib.sha256(BUNDLE).hexdigest())[7:])
        plan = Path(object_names.plan_uri(state, job_id)[7:])
        ours = [
            plan,
            plugin,
            write(f"{object_names.log_prefix(state, job_id)}map-00000@1.1.log", old=True),
        ]
        for path in ours:
            age(path)
        gone = [
            write(object_names.plan_uri(state, "forgotten"), old=True),
            write(f"{object_names.log_prefix(state, 'forgotten')}map-00000@1.1.log", old=True),
            write(f"{object_names.log_prefix(state, 'forgotten')}map-00001@1.2.log", old=True),
            write(object_names.plugin_uri(state, "f" * 64), old=True),
        ]
        fresh = [
            write(object_names.plan_uri(state, "planned"), old=False),
            write(f"{object_names.log_prefix(state, 'late')}map-00000@1.1.log", old=False),
            write(object_names.plugin_uri(state, "e" * 64), old=False),
            write(object_names.journal_uri(state, 1), old=True),
            write(object_names.leader_uri(state), old=True),
        ]
        assert await sweep_of(desk).sweep() == len(gone)
        assert [path for path in gone if path.parent.exists() and path.exists()] == []
        assert not gone[0].parent.exists()
        assert not gone[1].parent.exists()
        assert all(path.exists() for path in (*ours, *fresh))

    run(tmp_path, act)


class _Later:
    """A clock that is beyond the time for which objects are kept."""

    def wall(self) -> float:
        return SYSTEM.wall()

    def monotonic(self) -> float:
        return SYSTEM.monotonic() + KEPT_SECONDS + 1

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


def test_items_of_a_live_job_and_results_of_one_that_has_just_ended_stay(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        state = desk.state_uri
        items = write(object_names.object_uri(state, "a" * 64), old=False)
        spec = spec_of(tmp_path)
        named = Input(uri=f"file://{items}", base_uri=f"file://{items}", base_given="items")
        spec = msgspec.structs.replace(spec, output_uri="", inputs=(named,))
        job_id = await desk.submit(spec)
        result = write(f"{object_names.session_results_prefix(state, job_id)}map-0@1.1", old=False)
        others = [
            write(object_names.object_uri(state, "b" * 64), old=False),
            write(f"{object_names.session_results_prefix(state, 'gone')}map-0@1.1", old=False),
        ]
        sweep = sweep_of(desk)
        sweep._objects._clock = _Later()
        assert await sweep.sweep() == 2
        assert items.exists()
        assert [path for path in others if path.exists()] == []
        await desk.shell.settle(CancelAsked(job_id, "enough"))
        assert await sweep.sweep() == 1, "the items of an ended job"
        assert result.exists()

    run(tmp_path, act)


def test_values_of_a_session_stay_until_it_ends(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        await desk.shell.settle(SESSION)
        prefix = object_names.session_results_prefix(desk.state_uri, "calls-1")
        value = write(f"{prefix}call-0@1.1", old=False)
        sweep = sweep_of(desk)
        sweep._objects._clock = _Later()
        assert await sweep.sweep() == 0
        assert value.exists()
        await desk.shell.settle(CloseAsked("calls-1", "Its client has closed it."))
        assert await sweep.sweep() == 1, "nobody can read it any more"
        assert not value.exists()

    run(tmp_path, act)


def test_values_of_a_session_stay_until_its_end_is_durable(tmp_path: Path) -> None:
    gate, ending = Gate(), CloseAsked("calls-1", "Its client has closed it.")

    async def act(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        await desk.shell.settle(SESSION)
        prefix = object_names.session_results_prefix(desk.state_uri, "calls-1")
        value = write(f"{prefix}call-0@1.1", old=False)

        class Interrupted(LocalStorage):
            def list(
                self,
                prefix: str,
                *,
                recursive: bool = True,
                hidden: bool = True,
                start_after: str = "",
            ) -> Iterator[ObjectInfo]:
                if prefix == object_names.results_prefix(desk.state_uri):
                    journal = desk.shell._journal
                    journal._storage = FaultyStorage(journal._storage, script({}), hook=gate)
                    asyncio.run_coroutine_threadsafe(desk.shell.send(ending), loop).result(15)
                    assert gate.reached.wait(15)  # only the machine knows of the end
                return super().list(
                    prefix, recursive=recursive, hidden=hidden, start_after=start_after
                )

        sweep = sweep_of(desk, Interrupted())
        sweep._objects._clock = _Later()
        sweeping = asyncio.ensure_future(sweep.sweep())
        while not (desk.shell._readers or sweeping.done()):  # noqa: ASYNC110 - as no event comes
            await asyncio.sleep(0)
        assert value.exists(), "the next master may go on with the session"
        gate.opened.set()
        assert await sweeping == 1
        assert not value.exists()

    run(tmp_path, act)


def test_results_of_a_job_that_came_amid_a_sweep_stay(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        spec = msgspec.structs.replace(spec_of(tmp_path), output_uri="")
        written: list[Path] = []

        class Interrupted(LocalStorage):
            def list(
                self,
                prefix: str,
                *,
                recursive: bool = True,
                hidden: bool = True,
                start_after: str = "",
            ) -> Iterator[ObjectInfo]:
                if prefix == object_names.objects_prefix(desk.state_uri):
                    job_id = asyncio.run_coroutine_threadsafe(desk.submit(spec), loop).result(15)
                    results = object_names.session_results_prefix(desk.state_uri, job_id)
                    written.append(write(f"{results}map-0@1.1", old=False))
                return super().list(
                    prefix, recursive=recursive, hidden=hidden, start_after=start_after
                )

        sweep = sweep_of(desk, Interrupted())
        sweep._objects._clock = _Later()
        assert await sweep.sweep() == 0
        assert [path.exists() for path in written] == [True]

    run(tmp_path, act)


def test_plan_logs_and_plugin_go_when_the_job_is_forgotten(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        job_id = await desk.submit(spec_of(tmp_path))
        plugin = Path(
            object_names.plugin_uri(desk.state_uri, hashlib.sha256(BUNDLE).hexdigest())[7:]
        )
        plan = Path(object_names.plan_uri(desk.state_uri, job_id)[7:])
        for path in (plan, plugin):
            age(path)
        await desk.shell.settle(CancelAsked(job_id, "enough"))
        assert desk.shell.machine.cluster.job(job_id) is None
        assert await sweep_of(desk).sweep() == 2
        assert [path for path in (plan, plugin) if path.exists()] == []

    run(tmp_path, act, limits=Limits(ended_jobs_max=0))


def test_a_plugin_that_a_submission_asks_for_stays(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        sha256 = hashlib.sha256(BUNDLE).hexdigest()
        deleted: list[str] = []

        def delete() -> bool:
            deleted.append(sha256)
            return True

        desk.submissions.begin_sweep()
        await desk.submit(spec_of(tmp_path))  # after the sweep has looked at the jobs
        assert not desk.submissions.unless_wanted(sha256, delete)
        desk.submissions.begin_sweep()
        assert desk.submissions.unless_wanted(sha256, delete)
        assert deleted == [sha256]

    run(tmp_path, act)


def test_a_plugin_that_is_asked_for_amid_a_sweep_stays(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        uri = object_names.plugin_uri(desk.state_uri, hashlib.sha256(BUNDLE).hexdigest())
        plugin = write(uri, old=True)
        loop = asyncio.get_running_loop()

        class Interrupted(LocalStorage):
            def list(
                self,
                prefix: str,
                *,
                recursive: bool = True,
                hidden: bool = True,
                start_after: str = "",
            ) -> Iterator[ObjectInfo]:
                if prefix == object_names.plugins_prefix(desk.state_uri):
                    submission = desk.submit(spec_of(tmp_path), bundle=b"")
                    asyncio.run_coroutine_threadsafe(submission, loop).result(15)
                return super().list(
                    prefix, recursive=recursive, hidden=hidden, start_after=start_after
                )

        assert await sweep_of(desk, Interrupted()).sweep() == 0
        assert plugin.exists()

    run(tmp_path, act)


def test_what_has_no_known_age_stays(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        path = write(object_names.plan_uri(desk.state_uri, "forgotten"), old=False)
        os.utime(path, (0, 0))
        assert await sweep_of(desk).sweep() == 0
        assert path.exists()

    run(tmp_path, act)


def test_a_master_that_was_replaced_sweeps_nothing(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        path = write(object_names.plan_uri(desk.state_uri, "job-of-the-successor"), old=True)
        for _ in Journal(desk.shell._journal._storage, STATE, "other", SYSTEM).take_over():
            pass
        with pytest.raises(FencedError):
            await sweep_of(desk).sweep()
        assert path.exists()

    run(tmp_path, act)


def test_plan_logs_and_plugin_go_when_the_job_has_expired(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        state = desk.state_uri
        ended = await desk.submit(spec_of(tmp_path), "one")
        await desk.shell.settle(CancelAsked(ended, "enough"))
        spec = msgspec.structs.replace(spec_of(tmp_path), output_uri=f"file://{tmp_path}/other")
        live = await desk.submit(spec, "two")
        goes = [
            Path(object_names.plan_uri(state, ended)[7:]),
            write(f"{object_names.log_prefix(state, ended)}map-00000@1.1.log", old=False),
            write(f"{object_names.state_temp_uri(state)}/{ended}/runs/x.run", old=False),
        ]
        plugin = Path(object_names.plugin_uri(state, hashlib.sha256(BUNDLE).hexdigest())[7:])
        stays = [Path(object_names.plan_uri(state, live)[7:]), plugin]
        age(plugin)
        assert await sweep_of(desk, kept_seconds=60).sweep() == 0
        assert await sweep_of(desk, kept_seconds=-60).sweep() == len(goes)
        assert not any(path.exists() for path in goes)
        assert all(path.exists() for path in stays), "both jobs have the same plugin"
        await desk.shell.settle(CancelAsked(live, "enough"))
        assert await sweep_of(desk, kept_seconds=-60).sweep() == len(stays)

    run(tmp_path, act)


def test_runs_that_came_after_the_clean_up_of_their_job_go_however_new(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        def run_of(job_id: str) -> Path:
            temporaries = object_names.state_temp_uri(desk.state_uri)
            return write(f"{temporaries}/{job_id}/runs/000-map-00000@1.1.run", old=False)

        spec = msgspec.structs.replace(spec_of(tmp_path), output_uri="")
        cancelled, failed, live = [await desk.submit(spec, name) for name in "abc"]
        await desk.shell.settle(CancelAsked(cancelled, "it has all that it wants"))
        await desk.shell.settle(JobBroken(failed, "its code raises"))
        late, kept, current = (run_of(job_id) for job_id in (cancelled, failed, live))
        assert await sweep_of(desk).sweep() == 1
        assert not late.parent.parent.exists()
        assert kept.exists(), "a failed job can be replayed"
        assert current.exists()

    run(tmp_path, act)
