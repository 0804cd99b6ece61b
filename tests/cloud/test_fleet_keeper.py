"""The whole fleet against the test cloud: jobs come, machines come, and all of them go."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import msgspec
import pytest

from mrcore.cost.prices import Prices
from mrcore.master.errors import FencedError
from mrcore.master.fleet import controller
from mrcore.master.fleet.controller import Books, Fleet
from mrcore.master.fleet.core.model import Bounds, Provisioning
from mrcore.master.shell.loop import Shell
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.storage.memory import MemoryStorage
from tests.cloud.compute.api import Api
from tests.cloud.compute.threaded import ThreadedCloud, running
from tests.cloud.fleet_master import SLOTS, STATE, HastyClock, Master, dear, leading, until
from tests.cloud.fleet_site import Site

SPOT, STANDARD = Provisioning.SPOT, Provisioning.STANDARD
BOUNDS = Bounds(max_workers=4, idle_timeout_seconds=None, logs_uri="mem://space/home/logs")


@pytest.fixture
def clock() -> HastyClock:
    return HastyClock()


@pytest.fixture
def cloud(clock: HastyClock) -> Iterator[ThreadedCloud]:
    with running(retry_seconds=0.02, clock=clock) as cloud:
        yield cloud


@pytest.fixture
def site(cloud: ThreadedCloud) -> Site:
    return Site(Api(cloud))


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


def lead(
    site: Site,
    storage: MemoryStorage,
    clock: HastyClock,
    act: Callable[[Master, Fleet], Awaitable[None]],
    bounds: Bounds = BOUNDS,
    prices: Prices | None = None,
) -> None:
    """Let a master with a fleet lead while `act` does."""

    async def main() -> None:
        def fleet_of(master: Master) -> Fleet:
            return master.fleet(bounds, prices)

        async with asyncio.timeout(60), leading(site, storage, clock, fleet_of) as (master, fleet):
            await act(master, fleet)

    asyncio.run(main())


def books(storage: MemoryStorage) -> Books:
    return msgspec.json.decode(storage.read(object_names.fleet_uri(STATE)), type=Books)


def test_machines_come_with_a_job_and_everything_goes_after_it(
    site: Site, storage: MemoryStorage, clock: HastyClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.make()
    site.make_firewalls()
    name = site.make_master()
    monkeypatch.setattr(socket, "gethostname", lambda: f"{name}.c.p.internal")
    most = 0

    def largest() -> int:
        nonlocal most
        most = max(most, len(site.running(SPOT)))
        return most

    async def act(master: Master, fleet: Fleet) -> None:
        # Tasks last until the fleet has booked some of their work, however busy this machine is.
        task_seconds, master.task_seconds = master.task_seconds, math.inf
        await master.submit(3 * SLOTS)
        await until(lambda: largest() == 3)
        await until(lambda: (cost := fleet.status.cost("job-a")) is not None and cost.useful > 0)
        master.task_seconds = task_seconds
        await until(lambda: master.state() is JobState.SUCCEEDED)
        view = fleet.status.view
        assert view is not None
        assert view.groups[0].machine_type == "e2-standard-2"
        await until(lambda: fleet.status.ending)
        await master.ended.wait()
        assert site.machines() == [name]
        await fleet.shut_down()
        await until(lambda: site.machines() == [])

    # Longer than idle workers linger, so that they are released by name first.
    bounds = Bounds(max_workers=4, idle_timeout_seconds=300.0)
    lead(site, storage, clock, act, bounds)
    assert most == 3
    assert site.api.cloud.made() == []
    resized = [
        call["params"]["size"] for call in site.api.cloud.calls() if "size" in call["params"]
    ]
    assert resized == ["3"]
    cost = books(storage).spend.total
    assert cost.useful > 0
    assert cost.boot > 0
    assert cost.master > 0
    assert cost.preemptions == 0
    assert (cost.class_a, cost.class_b) == (3 * SLOTS, 2 * 3 * SLOTS)


def test_what_may_not_be_deleted_does_not_keep_the_masters_machine(
    site: Site,
    storage: MemoryStorage,
    clock: HastyClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site.make()
    site.make_firewalls()
    name = site.make_master()
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    site.api.cloud.control("permission", deny=["compute.firewalls.delete"])
    answers: list[bool] = []
    monkeypatch.setattr(Shell, "durable", property(lambda shell: bool(answers)))

    async def act(master: Master, fleet: Fleet) -> None:
        await until(lambda: "the journal does not answer yet" in fleet.status.note)
        assert not master.ended.is_set(), "the end of the last job may be lost"
        answers.append(True)
        await master.ended.wait()
        await fleet.shut_down()
        await until(lambda: site.machines() == [])

    lead(site, storage, clock, act, replace(BOUNDS, idle_timeout_seconds=30.0))
    left = {path.rpartition("/")[2] for path in site.api.cloud.made()}
    assert left == {"mrcore-c-internal", "mrcore-c-iap"}
    assert "templates or firewall rules of the cluster are left" in caplog.text


def test_what_a_job_has_cost_is_written_when_it_ends(
    site: Site, storage: MemoryStorage, clock: HastyClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "SAVE_SECONDS", float("inf"))
    site.make()

    async def act(master: Master, fleet: Fleet) -> None:
        await master.submit(SLOTS)
        await until(lambda: master.state() is JobState.SUCCEEDED)
        # There is nothing to do: one worker is to stay.
        await until(lambda: books(storage).spend.total.class_a == SLOTS)
        assert len(site.running(SPOT)) == 1

    lead(site, storage, clock, act, replace(BOUNDS, min_workers=1, max_workers=1))


def test_idle_workers_go_while_a_straggler_works(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()

    async def act(master: Master, fleet: Fleet) -> None:
        master.task_seconds = 0.5
        await master.submit(2 * SLOTS)
        await until(lambda: len(master.machine.cluster.sorted_workers()) == 2)
        await until(
            lambda: (job := master.machine.cluster.job("job-a")) and job.stages[0].completed
        )
        master.task_seconds = 1e9
        await master.submit(1, "straggler")
        await until(lambda: len(site.running(SPOT)) == 1)
        (left,) = site.running(SPOT)
        assert master.hands[left].since, "the one that works stays"
        assert master.machine.cluster.jobs.get("straggler") is not None

    lead(site, storage, clock, act)


def test_a_preempted_machine_is_replaced_and_counted(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()

    async def act(master: Master, fleet: Fleet) -> None:
        master.task_seconds = 1e9
        await master.submit(SLOTS)
        await until(lambda: any(hands.since for hands in master.hands.values()))
        await until(lambda: fleet.status.view and fleet.status.view.joined_workers)
        (lost,) = site.running(SPOT)
        site.api.cloud.control("preempt", instance=lost)
        await until(lambda: set(site.running(SPOT)) - {lost})
        master.task_seconds = 0.1
        await until(lambda: master.state() is JobState.SUCCEEDED)
        await until(lambda: books(storage).spend.total.preemptions == 1)
        view = fleet.status.view
        assert view is not None
        assert view.preemptions_per_hour is None or view.preemptions_per_hour > 0

    lead(site, storage, clock, act)


def test_a_stockout_is_shown_at_once_and_met_with_machines_on_demand(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()
    site.api.cloud.control("stockout", model="SPOT")

    async def act(master: Master, fleet: Fleet) -> None:
        await master.submit(SLOTS)
        await until(lambda: "stockout" in fleet.status.note)
        assert "spot e2-standard-2" in fleet.status.note
        assert "us-central1-a" in fleet.status.note
        await until(lambda: master.state() is JobState.SUCCEEDED)
        assert site.running(STANDARD)
        assert site.members(SPOT) == []

    lead(site, storage, clock, act)


def test_the_next_master_finds_fleet_and_books(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()
    before: list[float] = []
    names: list[str] = []

    async def first(master: Master, fleet: Fleet) -> None:
        master.task_seconds = 1e9
        await master.submit(2 * SLOTS)
        await until(lambda: len(master.machine.cluster.sorted_workers()) == 2)
        names.extend(sorted(site.running(SPOT)))
        before.append(books(storage).spend.total.dollars)

    async def second(master: Master, fleet: Fleet) -> None:
        await until(lambda: master.state() is JobState.SUCCEEDED)
        assert sorted(site.running(SPOT)) == names
        await until(lambda: fleet.status.view is not None)
        assert fleet.status.view is not None
        assert fleet.status.view.cost.dollars > before[0]

    lead(site, storage, clock, first)
    lead(site, storage, clock, second)


def test_a_cluster_that_has_idled_away_can_be_brought_back(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    async def idle_away(master: Master, fleet: Fleet) -> None:
        await master.ended.wait()

    async def look(master: Master, fleet: Fleet) -> None:
        await until(lambda: fleet.status.view is not None)
        assert not fleet.status.ending

    bounds = replace(BOUNDS, idle_timeout_seconds=120.0)
    lead(site, storage, clock, idle_away, bounds)
    lead(site, storage, clock, look, bounds)


def test_a_master_that_was_replaced_does_nothing_any_more(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()

    async def act(master: Master, fleet: Fleet) -> None:
        await until(lambda: fleet.status.view is not None)
        later = Books(epoch=master.machine.cluster.epoch + 1)
        with storage.open_write(object_names.fleet_uri(STATE)) as writer:
            writer.write(msgspec.json.encode(later))
            writer.commit()
        await master.submit(SLOTS)
        await until(lambda: False)

    with pytest.raises(ExceptionGroup) as raised:
        lead(site, storage, clock, act)
    assert raised.group_contains(FencedError, match="keeps the fleet")
    assert site.members(SPOT) == []


def test_at_the_spend_limit_jobs_fail_and_machines_go(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()

    async def act(master: Master, fleet: Fleet) -> None:
        master.task_seconds = 1e9
        await master.submit(SLOTS)
        await until(lambda: master.state() is JobState.FAILED)
        job = master.machine.cluster.job("job-a")
        assert job is not None
        assert "Raise --max-cost" in job.message
        await until(lambda: site.machines() == [])

    bounds = Bounds(max_workers=4, max_cost=1.5)
    lead(site, storage, clock, act, bounds, dear(300.0))


def test_what_the_cloud_refuses_is_shown_until_it_does_no_more(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()
    site.api.cloud.control("permission", deny=["compute.instanceGroupManagers.update"])

    async def act(master: Master, fleet: Fleet) -> None:
        await master.submit(SLOTS)
        await until(lambda: "may not manage machines" in fleet.status.note)
        site.api.cloud.control("permission", deny=[])
        await until(lambda: master.state() is JobState.SUCCEEDED)
        await until(lambda: "may not manage" not in fleet.status.note)

    lead(site, storage, clock, act)


def test_another_size_is_heard_of_while_the_fleet_is_kept(
    site: Site, storage: MemoryStorage, clock: HastyClock
) -> None:
    site.make()
    with storage.open_write("mem://space/home/cluster.json") as writer:
        writer.write(b'{"max_workers": 1, "zone": "us-central1-a"}')
        writer.commit()

    async def act(master: Master, fleet: Fleet) -> None:
        await master.submit(4 * SLOTS)
        await until(lambda: master.state() is JobState.SUCCEEDED)
        assert fleet.status.view is not None
        assert fleet.status.view.max_workers == 1

    lead(site, storage, clock, act)
    sizes = [call["params"]["size"] for call in site.api.cloud.calls() if "size" in call["params"]]
    assert sizes == ["1"]
