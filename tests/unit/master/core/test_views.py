"""Snapshots of jobs as the machine has them."""

from __future__ import annotations

from mrcore.master.core import views
from mrcore.master.core.facts import TaskWon
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobState
from mrcore.model.skew import HeavyKey
from mrcore.model.snapshots import FailureView, JobView, job_json
from mrcore.model.task import FailureKind, TaskOutput
from tests.scenario.script import Script


def seen(script: Script, job_id: str) -> JobView:
    view = views.job_view(script.machine.cluster, job_id)
    assert view is not None
    return view


def test_a_failed_job_names_the_attempts_that_failed() -> None:
    script = Script()
    script.obey("submit j maps=1 reduces=1 attempts=2 priority=7")
    script.obey("sync w1")
    script.obey("sync w1 user:j/map-0@1.1:boom")
    view = seen(script, "j")
    failed = FailureView(
        kind=FailureKind.USER, message="boom", attempt="map-00000@1.1", worker_id="w1"
    )
    assert view.recent_failures == (failed,)
    assert (view.failure, view.priority) == (None, 7)
    assert (view.name, view.output_uri) == ("j", "mem://out/j")
    script.obey("sync w1 user:j/map-0@1.2:boom")
    view = seen(script, "j")
    assert view.state is JobState.FAILED
    assert view.failure == FailureView(kind=FailureKind.USER, message="boom")
    assert [one.attempt for one in view.recent_failures] == ["map-00000@1.1", "map-00000@1.2"]


def test_a_job_that_waits_names_the_jobs_before() -> None:
    script = Script()
    for job_id in "abcde":
        script.obey(f"submit {job_id} maps=1")
    script.obey("submit f after=a,b,c,d,e")
    view = seen(script, "f")
    assert view.note == "waits for a, b, c and 2 more"
    assert job_json(view)["waits_for"] == list("abcde")
    assert "waits_for" not in job_json(seen(script, "a"))


def won(script: Script, task: TaskId, number: int, *sections: int) -> None:
    """Let a map task leave a run with these sections."""
    output = TaskOutput(section_bytes=sections, records_out=2_000_000, heavy_key=HEAVY)
    fact = TaskWon(attempt=AttemptId(task, AttemptNumber(1, number)), worker_id="w1", output=output)
    script.facts.append(fact)
    script.machine.apply(fact)


HEAVY = HeavyKey(1, "'the'", 1_500_000)
HOT = "reduce-00001 gets at least 3,000,000 of 4,000,000 pairs under one key, 'the'."


def test_a_task_far_above_the_others_is_named_once_all_that_it_reads_is_there() -> None:
    script = Script()
    script.obey("submit j maps=2 reduces=3")
    won(script, TaskId("j", 0, 0), 1, 10, 10, 10)
    assert [stage.skew for stage in seen(script, "j").stages] == ["", ""]
    won(script, TaskId("j", 0, 1), 2, 10, 10, 10)
    maps, reduces = seen(script, "j").stages
    assert maps.skew == ""
    assert reduces.skew.startswith(HOT)
    # It is a part of the journal's state, so the next master and an ended job have it, too.
    assert script.replayed().cluster.durable == script.machine.cluster.durable
    assert script.start().cluster.durable.jobs["j"].stages[1].skew == reduces.skew
