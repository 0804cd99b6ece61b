"""Submissions: what is refused, and that a refused job leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from mrcore.errors import OutputError, UnavailableError, UsageError
from mrcore.master.core.events import CancelAsked
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.shell.journal import Journal
from mrcore.model.job import JobSpec
from mrcore.output import commit
from mrcore.storage.faulty import FaultyStorage, script
from mrcore.util.clock import SYSTEM
from tests.support.master_shell import STATE, Gate, submitted
from tests.support.submission_desk import Desk, run, spec_of


def job_ids(machine: Machine) -> list[str]:
    return list(machine.cluster.durable.jobs)


def holder(spec: JobSpec) -> str:
    """Return the job that holds the output."""
    held = commit.read_claim(spec.output_uri)
    assert held is not None
    return held.job_id


async def until(is_so: Callable[[], object]) -> None:
    """Let the event loop turn until something is so."""
    while not is_so():  # noqa: ASYNC110 - nobody reports it
        await asyncio.sleep(0)


def test_a_job_is_planned_claimed_and_told_to_the_machine(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        job_id = await desk.submit(spec_of(tmp_path))
        assert job_ids(desk.shell.machine) == [job_id]
        assert (tmp_path / "out" / "_claim").exists()
        assert await desk.submit(spec_of(tmp_path)) == job_id, "one job for one request"

    run(tmp_path, act)


def test_a_job_without_room_leaves_no_claim(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        await desk.submit(spec_of(tmp_path, "first"), "first")
        with pytest.raises(UnavailableError, match="has no room for 2 more tasks"):
            await desk.submit(spec_of(tmp_path))
        assert not (tmp_path / "out" / "_claim").exists()
        assert len(job_ids(desk.shell.machine)) == 1

    run(tmp_path, act, limits=Limits(live_tasks_max=3))


def test_jobs_that_come_at_once_get_no_more_room_than_there_is(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        given = [spec_of(tmp_path, f"out-{n}") for n in range(3)]
        pending = {asyncio.ensure_future(desk.submit(spec, spec.output_uri)) for spec in given}
        while len(pending) > 1:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for refused in done:
                assert isinstance(refused.exception(), UnavailableError)
        desk.begun.set()
        (accepted,) = pending
        job_id = await accepted
        assert job_ids(desk.shell.machine) == [job_id]

    run(tmp_path, act, limits=Limits(live_tasks_max=3), late=True)


@pytest.mark.parametrize("limits", [Limits(live_tasks_max=1), Limits(live_sections_max=0)])
def test_a_job_that_is_too_large_by_itself_is_a_usage_error(tmp_path: Path, limits: Limits) -> None:
    async def act(desk: Desk) -> None:
        with pytest.raises(UsageError, match=r"2 tasks, whose runs have 1 sections, .* \(-r\)"):
            await desk.submit(spec_of(tmp_path))
        assert not (tmp_path / "out" / "_claim").exists()
        assert job_ids(desk.shell.machine) == []

    run(tmp_path, act, limits=limits)


def test_an_output_has_one_job_even_while_that_is_being_planned(tmp_path: Path) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    def hook(operation: str, uri: str) -> None:
        if operation == "commit" and uri.endswith("/plan") and not reached.is_set():
            loops[0].call_soon_threadsafe(reached.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loops[0]).result(20)

    async def act(desk: Desk) -> None:
        loops.append(asyncio.get_running_loop())
        first = asyncio.ensure_future(desk.submit(spec_of(tmp_path), "first"))
        await reached.wait()  # it holds the claim, and the machine knows nothing of it
        with pytest.raises(OutputError, match="is taken by job"):
            await desk.submit(spec_of(tmp_path), "second")
        go_on.set()
        job_id = await first
        assert job_ids(desk.shell.machine) == [job_id]

    run(tmp_path, act, hook=hook)


def test_a_bundle_that_is_not_what_its_job_names_is_refused_and_not_kept(tmp_path: Path) -> None:
    async def act(desk: Desk) -> None:
        with pytest.raises(UsageError, match="does not have the SHA-256 that the job names"):
            await desk.submit(spec_of(tmp_path), bundle=b"another bundle")
        with pytest.raises(UsageError, match=r"does not have the plugin plugin. Send its bundle"):
            await desk.submit(spec_of(tmp_path), bundle=b"")
        assert job_ids(desk.shell.machine) == []

    run(tmp_path, act)


@pytest.mark.parametrize("field", ["output_uri", "temp_uri"])
@pytest.mark.parametrize("place", ["state/out", "state", "link/out", "around/state/out"])
def test_nobody_writes_into_the_state(tmp_path: Path, field: str, place: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "state")
    (tmp_path / "around").symlink_to(tmp_path)
    changed = {field: f"file://{tmp_path}/{place}"}

    async def act(desk: Desk) -> None:
        with pytest.raises(OutputError, match="lies inside the state of the cluster"):
            await desk.submit(msgspec.structs.replace(spec_of(tmp_path), **changed))
        assert job_ids(desk.shell.machine) == []

    run(tmp_path, act)


def test_a_state_that_is_reached_through_a_link_is_known(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")

    async def act(desk: Desk) -> None:
        with pytest.raises(OutputError, match="lies inside the state of the cluster"):
            await desk.submit(spec_of(tmp_path, "real/out"))
        await desk.submit(spec_of(tmp_path, "really"))

    run(tmp_path, act)


def test_a_master_that_was_replaced_does_not_take_its_successors_output(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)

    async def act(desk: Desk) -> None:
        # The successor's job, of which the journal that this master has read says nothing.
        commit.claim(spec, "theirs", "r2", desk.state_uri, "127.0.0.1:2")
        storage = desk.shell._journal._storage
        list(Journal(storage, STATE, "successor", SYSTEM).take_over())
        with pytest.raises(UnavailableError, match="Another master has taken over"):
            await desk.submit(spec)
        assert holder(spec) == "theirs"

    run(tmp_path, act)


def test_a_claim_that_no_journal_knows_is_taken_over(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)

    async def act(desk: Desk) -> None:
        commit.claim(spec, "never-accepted", "r2", desk.state_uri, "127.0.0.1:2")
        job_id = await desk.submit(spec)
        assert holder(spec) == job_id

    run(tmp_path, act)


def test_a_claim_is_taken_over_once_the_end_of_its_job_is_durable(tmp_path: Path) -> None:
    spec, gates = spec_of(tmp_path), (Gate(), Gate())
    coming_appends = iter(gates)

    def hook(operation: str, uri: str) -> None:
        if operation == "commit" and (gate := next(coming_appends, None)):
            gate(operation, uri)

    async def act(desk: Desk) -> None:
        shell = desk.shell
        first = await desk.submit(spec, "first")
        shell._journal._storage = FaultyStorage(shell._journal._storage, script({}), hook=hook)
        await shell.send(submitted("another"))
        await asyncio.to_thread(gates[0].reached.wait, 20)
        await shell.send(CancelAsked(first, "enough"))  # its facts go into the next entry
        second = asyncio.ensure_future(desk.submit(spec, "second"))
        await until(lambda: shell._readers or shell._thread._work_queue.qsize())
        gates[0].opened.set()
        await asyncio.to_thread(gates[1].reached.wait, 20)
        await until(lambda: shell._readers)
        # A master that dies here leaves the first job live, and with its output.
        assert holder(spec) == first
        gates[1].opened.set()
        job_id = await second
        assert holder(spec) == job_id

    run(tmp_path, act)


def test_a_job_without_an_output_claims_nothing_and_has_its_runs_in_the_state(
    tmp_path: Path,
) -> None:
    spec = msgspec.structs.replace(spec_of(tmp_path), output_uri="")

    async def act(desk: Desk) -> None:
        job_id = await desk.submit(spec)
        record = desk.shell.machine.cluster.durable.jobs[job_id]
        assert record.claim_generation == ""
        assert record.spec.temp_uri == f"{desk.state_uri}/temp"
        assert record.part_stage is None

    run(tmp_path, act)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "state"]
