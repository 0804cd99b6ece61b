"""A worker's metrics, scraped over HTTP as Prometheus does, and its status for systemd."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mrcore import __version__
from mrcore.daemon.systemd import Notifier
from mrcore.errors import UsageError
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput
from mrcore.worker.core.events import Answered, DrainBegun
from mrcore.worker.shell.health import WELL_SECONDS, Health, HealthSnapshot
from mrcore.worker.shell.metrics import measured
from tests.support.fake_clock import FakeClock
from tests.support.idle_worker import idle_worker
from tests.support.scrape import check_names, documented, families, scrape
from tests.support.worker_driver import SPEC

ATTEMPT = AttemptId(TaskId("wc", 0, 3), AttemptNumber(1, 2))


def with_health(test: Callable[[Health, FakeClock], Awaitable[None]]) -> Callable[[Path], None]:
    """Run a test with a worker that has no children and no master."""

    async def run(folder: Path) -> None:
        clock = FakeClock()
        link, agent = idle_worker(folder, clock)
        await test(Health(agent, link, Notifier({}), clock), clock)

    def call(tmp_path: Path) -> None:
        asyncio.run(run(tmp_path))

    call.__name__, call.__doc__ = test.__name__, test.__doc__
    return call


@with_health
async def test_what_ended_is_counted(health: Health, clock: FakeClock) -> None:
    with measured("127.0.0.1:0", health) as port:
        health.agent.feed(Answered(cluster_id="c", epoch=1, sequence=0, jobs={"wc": SPEC}))
        done = TaskOutput(records_in=10, bytes_in=1000, elapsed_seconds=3.0)
        health.agent.attempt_ended(ATTEMPT, done)
        health.agent.attempt_ended(ATTEMPT, done)
        health.agent.attempt_ended(ATTEMPT, TaskFailure(kind=FailureKind.USER, message="x"))
        found = await asyncio.to_thread(scrape, port)
    ended = "mrcore_worker_attempts_total"
    assert found[ended, ("map", "succeeded")] == 2
    assert found[ended, ("map", "user")] == 1
    assert found["mrcore_worker_records_total", ("map",)] == 20
    assert found["mrcore_worker_read_bytes_total", ("map",)] == 2000
    assert found["mrcore_worker_attempt_seconds_sum", ("map",)] == 6.0
    assert found["mrcore_worker_attempt_seconds_bucket", ("map", "2.5")] == 0
    assert found["mrcore_worker_attempt_seconds_bucket", ("map", "5.0")] == 2


@with_health
async def test_the_moment_is_looked_at_in_the_loop(health: Health, clock: FakeClock) -> None:
    threads: set[int] = set()
    look = health.look

    def spied_look() -> HealthSnapshot:
        threads.add(threading.get_ident())
        return look()

    health.look = spied_look  # type: ignore[method-assign]
    with measured("127.0.0.1:0", health) as port:
        health.agent.feed(DrainBegun("x"))
        clock.advance(7.0)
        found = await asyncio.to_thread(scrape, port)
        assert documented("mrcore_worker_") == families(found, "mrcore_worker_")
        check_names(found, "mrcore_worker_")
    assert threads == {threading.get_ident()}
    assert found["mrcore_worker_responsive", ()] == 1
    assert found["mrcore_worker_slots", ()] == 4
    assert found["mrcore_worker_slots_busy", ()] == 0
    assert found["mrcore_worker_draining", ()] == 1
    assert found["mrcore_worker_master_unheard_seconds", ()] == 7
    assert found["process_resident_memory_bytes", ()] > 0
    assert any(name == "mrcore_build_info" and __version__ in at for name, at in found)


@with_health
async def test_a_stuck_loop_shows_as_such(health: Health, clock: FakeClock) -> None:
    from mrcore.daemon import metrics

    with pytest.MonkeyPatch.context() as patch, measured("127.0.0.1:0", health) as port:
        patch.setattr(metrics, "LOOK_SECONDS", 0.05)
        # Called in the loop's own thread, so that the loop is as stuck as can be.
        found = scrape(port)
    assert found["mrcore_worker_responsive", ()] == 0
    assert ("mrcore_worker_slots", ()) not in found
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1", "has no port for the metrics. Write HOST:PORT"),
        ("192.0.2.1:9100", r"cannot be served at 192\.0\.2\.1:9100"),
    ],
)
def test_an_address_that_cannot_be_served_is_told(
    address: str, sentence: str, tmp_path: Path
) -> None:
    @with_health
    async def run(health: Health, clock: FakeClock) -> None:
        with pytest.raises(UsageError, match=sentence), measured(address, health):
            pass

    run(tmp_path)


@with_health
async def test_children_out_of_control_are_no_good_health(health: Health, clock: FakeClock) -> None:
    clock.advance(WELL_SECONDS - 1)
    assert health.healthy()
    clock.advance(1)
    assert not health.healthy()
    health.agent.supervisor._tick()
    assert health.healthy()
    health.agent.supervisor.close()


@with_health
async def test_the_status_says_what_matters(health: Health, clock: FakeClock) -> None:
    assert health.status() == "0 of 4 slots busy, no master has answered yet"
    health._synchronizer.connected.set()
    assert health.status() == "0 of 4 slots busy"
    health.agent.machine.state()
    health.agent.machine.step(Answered(cluster_id="c", epoch=1, sequence=1, drain=True))
    clock.advance(90)
    words = "0 of 4 slots busy, draining, no answer of the master for 90 s"
    assert health.status() == words
