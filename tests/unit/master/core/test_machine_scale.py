"""The machine at size: steps cost what happens in them, and what is kept has a bound."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import islice
from random import Random
from types import FrameType
from typing import TypeAlias
from unittest.mock import patch

import msgspec

from mrcore.master.core import views
from mrcore.master.core.durable import Durable
from mrcore.master.core.events import (
    CancelAsked,
    CommitFinished,
    CommitPrepared,
)
from mrcore.master.core.facts import Fact
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine
from mrcore.master.core.room import has_room
from mrcore.master.core.scheduler import Scheduler
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.job import JobState, TaskState
from tests.support.machine_cluster import Cluster
from tests.support.stage_plans import two_stages

LINES_A_TASK = 500
"""Lines of Python from a job's submit to its end; one takes some twentieth of a microsecond."""
TraceFunction: TypeAlias = Callable[[FrameType, str, object], "TraceFunction"]


def run_maps(cluster: Cluster, maps: int) -> int:
    """Run a job of `maps` map tasks to the end; return how many requests it took."""
    cluster.submit("j", maps=maps, reduces=16)
    job = cluster.machine.cluster.job("j")
    assert job is not None
    syncs = 0
    while not job.complete:
        for worker in cluster.held:
            cluster.sync(worker)
            syncs += 1
    return syncs


def lines_run(function: Callable[[], object]) -> int:
    """Return how many lines of Python are run, each round of a loop counted."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal lines
        lines += event == "line"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(former)
    return lines


def test_the_work_for_a_task_does_not_grow_with_their_number() -> None:
    few, many = (
        lines_run(partial(run_maps, Cluster(Limits()), maps)) / maps for maps in (400, 2_000)
    )
    assert many < 1.1 * few, f"{few:.0f} lines for one of 400 tasks, {many:.0f} for one of 2,000"
    assert many < LINES_A_TASK


def test_ten_thousand_tasks_take_few_requests() -> None:
    cluster = Cluster(Limits())
    assert run_maps(cluster, 10_000) < 10_016 / 30, "small tasks are sent ahead, many in one answer"
    job = cluster.machine.cluster.job("j")
    assert job is not None
    view = views.job_view(cluster.machine.cluster, "j", counters=True)
    assert view is not None
    assert view.counters == {"tasks": 10_016}
    assert view.stages[0].records == 100_000
    cluster.step(CommitPrepared("j", CommitPlan()))
    cluster.step(CommitFinished("j"))
    assert job.state is JobState.SUCCEEDED
    cluster.machine.check()


def test_a_free_slot_is_filled_without_a_look_at_the_idle_workers() -> None:
    cluster = Cluster(Limits(), workers=3)
    for worker in cluster.held:
        cluster.sync(worker)
    with patch.object(Scheduler, "_free_slots", return_value=0) as looked:
        cluster.submit("j", maps=1, reduces=0)
        assert [len(held) for held in cluster.held.values()] == [1, 0, 0]
        assert looked.call_count == 0
        cluster.submit("k", maps=9, reduces=0)
        assert [len(held) for held in cluster.held.values()] == [1, 1, 1]
        assert looked.call_count == 0, "nothing is sent ahead before a task has ended"
        for worker in cluster.held:
            cluster.sync(worker)
    assert looked.call_count > 0, "short tasks are sent ahead, as far as no slot is free for them"


def test_the_last_tasks_spread_over_all_workers() -> None:
    cluster = Cluster(Limits(), workers=4)
    cluster.submit("j", maps=1_000, reduces=0)
    job = cluster.machine.cluster.job("j")
    assert job is not None
    shares = dict.fromkeys(cluster.held, 0)
    while not job.complete:
        for worker in cluster.held:
            shares[worker] += len(cluster.held[worker])
            cluster.sync(worker)
    assert min(shares.values()) > 1_000 / 4 / 2, shares


def test_ended_jobs_are_forgotten_in_the_order_of_their_end() -> None:
    cluster = Cluster(Limits(ended_jobs_max=3))
    for n in range(5):
        cluster.submit(f"j{n}", maps=1, reduces=1)
    for n in (4, 3, 2, 1, 0):
        cluster.step(CancelAsked(f"j{n}", ""))
    assert list(cluster.machine.cluster.durable.jobs) == ["j0", "j1", "j2"]
    assert cluster.machine.cluster.job_of_request("request of j4") is None
    assert cluster.machine.cluster.job_of_request("request of j0") == "j0"


def test_large_ended_jobs_are_forgotten_by_their_tasks() -> None:
    cluster = Cluster(Limits(ended_tasks_max=100))
    for n in range(3):
        cluster.submit(f"j{n}", maps=60, reduces=0)
        cluster.step(CancelAsked(f"j{n}", ""))
    assert list(cluster.machine.cluster.durable.jobs) == ["j2"]
    assert cluster.machine.cluster.durable.ended_tasks == 60


def test_room_is_told_before_a_claim_is_taken() -> None:
    cluster = Cluster(Limits(live_jobs_max=2, live_tasks_max=10, live_sections_max=12))
    assert has_room(cluster.machine.cluster, two_stages(9, 1))
    assert not has_room(cluster.machine.cluster, two_stages(10, 1))
    assert has_room(cluster.machine.cluster, two_stages(6, 2))
    assert not has_room(cluster.machine.cluster, two_stages(5, 3))
    cluster.submit("a", maps=4, reduces=1)
    assert has_room(cluster.machine.cluster, two_stages(4, 1))
    assert not has_room(cluster.machine.cluster, two_stages(5, 1))
    assert has_room(cluster.machine.cluster, two_stages(2, 3))
    assert not has_room(cluster.machine.cluster, two_stages(3, 3))
    cluster.submit("b", maps=1, reduces=0)
    assert not has_room(cluster.machine.cluster, two_stages(1, 0))


def test_workers_beyond_the_limit_get_nothing() -> None:
    cluster = Cluster(Limits(workers_max=2), workers=3)
    cluster.submit("j", maps=9, reduces=0)
    for worker in cluster.held:
        cluster.sync(worker)
    assert [bool(held) for held in cluster.held.values()] == [True, True, False]
    assert len(views.worker_views(cluster.machine.cluster, cluster.now)) == 2


def test_stories_outlive_their_job() -> None:
    cluster = Cluster(Limits(story_lines=3, ended_stories_max=1))
    for job_id in ("old", "new"):
        cluster.submit(job_id, maps=1, reduces=0)
        cluster.sync("w0")
        cluster.step(CancelAsked(job_id, ""))
        cluster.sync("w0")
    (_, old), (_, new) = (
        next(views.task_views(cluster.machine.cluster, job_id)) for job_id in ("old", "new")
    )
    assert old.story == ()
    story = new.story
    assert len(story) == 1
    assert story[0].endswith(" assigned: w0")
    assert float(story[0].partition(" s: ")[0]) < 60, "seconds since the submit"


def test_a_page_of_tasks_costs_no_more_than_a_page() -> None:
    cluster = Cluster(Limits())
    cluster.submit("j", maps=5_000, reduces=3)
    cluster.sync("w0")
    with patch.object(views, "_task_view", wraps=views._task_view) as made:
        page = list(islice(views.task_views(cluster.machine.cluster, "j", 4_998), 4))
        assert [position for position, _ in page] == [4_998, 4_999, 5_000, 5_001]
        assert [(view.stage, view.index) for _, view in page][1:3] == [
            ("map", 4_999),
            ("reduce", 0),
        ]
        ((position, running),) = views.task_views(
            cluster.machine.cluster, "j", state=TaskState.IN_PROGRESS
        )
        assert (position, running.index) == (0, 0)
        reduces = views.task_views(cluster.machine.cluster, "j", stage="reduce")
        assert [view.index for _, view in reduces] == [0, 1, 2]
        assert made.call_count == 4 + 1 + 3


def test_durable_state_encodes_and_replays_from_its_facts() -> None:
    cluster = Cluster(Limits())
    cluster.submit("j", maps=3, reduces=2)
    for _ in range(4):
        cluster.sync("w0")
    replayed = Machine(Limits(), Random(9))
    for fact in cluster.facts:
        replayed.apply(msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=Fact))
    assert replayed.cluster.durable == cluster.machine.cluster.durable
    encoded = msgspec.msgpack.encode(cluster.machine.cluster.durable)
    assert msgspec.msgpack.decode(encoded, type=Durable) == cluster.machine.cluster.durable
