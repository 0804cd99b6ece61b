"""Edges of the machine, many with limits of their own; events are in the words of the scenarios."""

from __future__ import annotations

import pytest

from mrcore.master.core.commands import PrepareCommit
from mrcore.master.core.facts import WorkerJoined
from mrcore.master.core.limits import Limits
from mrcore.master.core.orders import Preparation, order
from mrcore.model.ids import TaskId
from tests.scenario.script import Script
from tests.support.played_machine import played


def ends(said: list[str]) -> list[str]:
    """Return the ends of jobs among the answers."""
    return [line for line in said if "fact JobEnded" in line]


# -- budgets -----------------------------------------------------------------------------------


def test_two_losses_in_one_report_end_the_job_and_not_the_master() -> None:
    script = Script(Limits(losses_max=1))
    said = played(
        script,
        "submit j maps=2 reduces=1",
        "sync w1 slots=2",
        "sync w1 done:j/map-0@1.1:a done:j/map-1@1.2:b",
        "sync w1 unread:j/reduce-0@1.3:0,1",
        "sync w1 unread:j/reduce-0@1.4:0,1",
    )
    assert "fact WinnerLost j/map-0@1.1: 2 reads failed" in said
    assert "fact WinnerLost j/map-1@1.2: 2 reads failed" not in said
    assert len(ends(said)) == 1


def test_losses_have_a_budget() -> None:
    script = Script(Limits(losses_max=2))
    lose = ["sync w1 done:j/map-0@1.1:a", "missing j/map-0@1.1"]
    said = played(script, "submit j maps=1 reduces=1", "sync w1", *lose)
    assert not ends(said)
    said = played(script, "sync w1", "sync w1 done:j/map-0@1.3:a", "missing j/map-0@1.3")
    assert "lost its output 2 times" in ends(said)[0]


def test_a_task_that_takes_worker_after_worker_with_it_ends_its_job() -> None:
    script = Script(Limits(expiries_max=2))
    assert not ends(played(script, "submit j maps=1", "sync w1", "wait 30"))
    said = played(script, "sync w2", "wait 30")
    assert "took 2 workers with it" in ends(said)[0]


def test_data_that_fails_with_other_words_is_tried_again() -> None:
    script = Script()
    said = played(script, "submit j maps=1", "sync w1", "sync w1 data:j/map-0@1.1:cut")
    for number, words in ((2, "locked"), (3, "cut")):
        said += played(script, "wait 1", "sync w1", f"sync w1 data:j/map-0@1.{number}:{words}")
        assert not ends(said), f"{words} is not what it said before"
    said += played(script, "wait 9", "sync w1", "sync w1 data:j/map-0@1.4:cut")
    assert len(ends(said)) == 1


def test_records_that_other_tasks_may_skip_count_against_the_limit() -> None:
    script = Script()
    said = played(
        script,
        "submit j maps=2 bad=1",
        "sync w1 slots=2",
        "sync w1 died:j/map-0@1.1:5 died:j/map-1@1.2:6",
        "sync w1 slots=2 died:j/map-0@1.3:5 died:j/map-1@1.4:6",
        "wait 9",
        "sync w1",
    )
    wanted = [word for word in said[-1].split() if word.startswith("j/")]
    assert len(wanted) == 2
    assert len([word for word in wanted if "+skip" in word]) == 1


def test_a_record_is_skipped_for_what_was_raised_there() -> None:
    script = Script()
    played(script, "submit j maps=1 bad=1", "sync w1", "sync w1 died:j/map-0@1.1:5", "wait 9")
    played(script, "sync w1", "sync w1 raised:j/map-0@1.2:5")
    (job,) = script.machine.cluster.live_jobs()
    (skip,) = job.stages[0].tasks[0].skip
    assert (skip.mark.offset, skip.cause) == (5, "raised")


# -- adoption ----------------------------------------------------------------------------------


def test_an_attempt_whose_failure_is_counted_is_not_adopted() -> None:
    script = Script()
    played(script, "submit j maps=1", "sync w1", "sync w1 user:j/map-0@1.1:no", "restart")
    (reply,) = script.obey("sync w1 unparked running:j/map-0@1.1:1")
    assert "j/map-0@1.1" not in reply


def test_an_unstarted_reduce_whose_input_is_lost_is_not_adopted() -> None:
    script = Script()
    begin = ["submit j maps=1 reduces=2", "sync w1 slots=3", "sync w1 done:j/map-0@1.1:a"]
    played(script, *begin, "missing j/map-0@1.1", "restart")
    script.obey("sync w1 running:j/reduce-0@1.2:5 unstarted:j/reduce-1@1.3")
    worker = script.machine.cluster.workers.get("w1")
    assert worker is not None
    reduces = [attempt for attempt in worker.held if attempt.task.stage == 1]
    assert [attempt.task.index for attempt in reduces] == [0]


def test_attempts_are_adopted_up_to_the_room_of_their_worker() -> None:
    script = Script(Limits(prefetch_per_worker_max=1))
    played(script, "submit j maps=9", "sync w1 slots=9", "restart")
    held = " ".join(f"unstarted:j/map-{n}@1.{n + 1}" for n in range(9))
    script.obey(f"sync w1 slots=2 {held}")
    worker = script.machine.cluster.workers.get("w1")
    assert worker is not None
    assert len(worker.held) == 3


@pytest.mark.parametrize(("first", "last"), [("w1", "w2"), ("w2", "w1")])
def test_workers_of_an_old_journal_are_awaited(first: str, last: str) -> None:
    script = Script()
    played(script, "submit j maps=3", "sync w1", "sync w1 done:j/map-0@1.1:a")
    played(script, "sync w2", "sync w2 user:j/map-2@1.3:no")
    script.facts = [fact for fact in script.facts if not isinstance(fact, WorkerJoined)]
    script.obey("restart")
    assert script.obey("sync w3 unparked") == ["reply w3 1: nothing"]
    assert script.obey(f"sync {first} unparked") == [f"reply {first} 3: nothing"]
    assert "j/map" in script.obey(f"sync {last} unparked")[-1]


def test_the_longest_lease_is_awaited_and_a_stall_does_not_count() -> None:
    script = Script()
    played(script, "submit j maps=1 lease=60", "sync w1", "submit k maps=1 lease=5", "restart")
    played(script, "wait 20", "stalled 10", "wait 49")
    assert script.obey("sync w2 unparked") == ["reply w2 1: nothing"]
    played(script, "wait 1")
    assert "j/map-0@2.1" in script.obey("sync w2 unparked")[-1]


def test_no_backup_while_workers_are_awaited() -> None:
    script = Script()
    played(
        script,
        "submit j maps=2 lease=60",
        "sync w1 slots=2",
        "submit k maps=1",
        "sync w3",
        "sync w1 done:j/map-0@1.1:a running:j/map-1@1.2:50",
        "restart",
        "sync w1 running:j/map-1@1.2:50",
        "sync w2",
    )
    assert not [line for line in script.obey("wait 3") if "j/map-1@2" in line]
    script.obey("sync w3 running:k/map-0@1.3:1")
    assert [line for line in script.obey("wait 3") if "reply w2 1: j/map-1@2" in line]


def test_the_attempt_that_has_done_least_gives_way() -> None:
    script = Script()
    played(
        script,
        "submit j maps=2 lease=60",
        "sync w1 slots=2",
        "sync w1 done:j/map-0@1.1:a running:j/map-1@1.2:100",
        "restart",
        "sync w1 running:j/map-1@1.2:100",
        "sync w2",
        "wait 3",
        "sync w2 running:j/map-1@2.1:30",
        "sync w3 running:j/map-1@1.9:60",
    )
    job = script.machine.cluster.jobs.get("j")
    assert job is not None
    assert [str(attempt.id) for attempt in job.stages[0].tasks[1].attempts] == [
        "j/stage0-00001@1.2",
        "j/stage0-00001@1.9",
    ]


# -- reads of winners --------------------------------------------------------------------------


def test_one_worker_that_cannot_read_has_no_map_made_again() -> None:
    script = Script()
    unread = " ".join(f"unread:j/reduce-{n}@1.{n + 2}:0" for n in range(6))
    said = played(
        script,
        "submit j maps=1 reduces=7",
        "sync w1 slots=6",
        "sync w1 done:j/map-0@1.1:a",
        "sync w2",
        "sync w2 running:j/reduce-6@1.8:1",
        f"sync w1 {unread}",
    )
    assert "check winner j/map-0@1.1" in said
    assert not [line for line in said if "WinnerLost" in line]
    said = script.obey("sync w2 unread:j/reduce-6@1.8:0")
    assert said[0] == "fact WinnerLost j/map-0@1.1: 5 reads failed"


def test_a_failed_read_counts_against_the_winner_that_was_read() -> None:
    script = Script()
    said = played(
        script,
        "submit j maps=1 reduces=1",
        "sync w1",
        "sync w1 done:j/map-0@1.1:a",
        "sync w1 running:j/reduce-0@1.2:1",
        "missing j/map-0@1.1",
        "sync w2",
        "sync w2 done:j/map-0@1.3:a",
        "sync w1 unread:j/reduce-0@1.2:0",
    )
    assert not [line for line in said if "check winner" in line]


def test_maps_that_do_not_exist_cannot_be_lost() -> None:
    script = Script()
    played(script, "submit j maps=1 reduces=1", "sync w1", "sync w1 done:j/map-0@1.1:a")
    said = script.obey("sync w1 unread:j/reduce-0@1.2:1,-1")
    assert said[0] == "fact AttemptFailed j/reduce-0@1.2 on w1: infrastructure"


def test_a_refusal_that_nobody_waits_for_changes_nothing() -> None:
    script = Script()
    assert not ends(played(script, "submit j maps=1", "sync w1", "refused j"))


# -- whom a task goes to -----------------------------------------------------------------------


def test_a_task_that_keeps_away_is_given_out_when_its_time_has_come() -> None:
    script = Script(Limits(avoid_seconds=10.3))  # between two looks for stragglers
    played(
        script,
        "submit j maps=3 lease=60",
        "sync w1 slots=2",
        "sync w2",
        "sync w1 infrastructure:j/map-0@1.1 running:j/map-1@1.2:1",
        "wait 5",
        "sync w1 running:j/map-1@1.2:6",
    )
    assert "10.3 s: reply w1 3: j/map-1@1.2 j/map-0@1.4" in script.obey("wait 8")


def test_where_a_task_failed_is_forgotten_when_it_succeeds() -> None:
    script = Script()
    said = played(
        script,
        "submit j maps=1 reduces=1",
        "sync w1",
        "sync w2",
        "sync w1 data:j/map-0@1.1:gone",
        "sync w2 done:j/map-0@1.2:a",
        "sync w3 unparked",
        "missing j/map-0@1.2",
        "sync w1",
    )
    assert said[-1] == "reply w1 3: j/map-0@1.4"


def test_a_success_clears_its_worker_of_blame() -> None:
    script = Script(Limits(blames_max=2))
    for job, first in (("j", 1), ("k", 5)):
        played(
            script,
            f"submit {job} maps=2 lease=300",
            "sync w1",
            "sync w2",
            f"sync w1 infrastructure:{job}/map-0@1.{first}",
            f"sync w2 done:{job}/map-1@1.{first + 1}:a",
            f"sync w2 done:{job}/map-0@1.{first + 2}:a",
        )
        if job == "j":
            played(script, "submit s maps=1", "sync w1", "sync w1 done:s/map-0@1.4:a")
    worker = script.machine.cluster.workers.get("w1")
    assert worker is not None
    assert (worker.blames, worker.blamed_until) == (1, 0.0)


STRAGGLES = (
    "submit j maps=2 lease=90 python=3.11",
    "sync w1 slots=2",
    "sync w1 running:j/map-0@1.1:1 done:j/map-1@1.2:a",
)


def test_a_backup_runs_elsewhere() -> None:
    script = Script()
    played(script, *STRAGGLES, "sync w1 running:j/map-0@1.1:1")
    assert not [line for line in script.obey("wait 9") if "j/map-0@1.3" in line]
    for _ in range(3):
        script.obey("sync w1 running:j/map-0@1.1:20")
        assert not [line for line in script.obey("wait 9") if "j/map-0@1.3" in line]
    script.obey("sync w2")
    assert [line for line in script.obey("wait 9") if "reply w2 1: j/map-0@1.3" in line]


def test_no_backup_on_a_worker_of_another_version() -> None:
    script = Script()
    played(script, *STRAGGLES, "sync w1 running:j/map-0@1.1:30")
    said = played(script, "sync w2 python=3.12", "wait 5")
    assert not [line for line in said if "reply w2 1: j/" in line]


def test_no_backup_where_the_task_keeps_away_from() -> None:
    script = Script()
    said = played(
        script,
        "submit j maps=2 lease=90",
        "sync w2",
        "sync w1 slots=2",
        "sync w2 data:j/map-0@1.1:gone",
        "sync w1 done:j/map-1@1.2:a",
        "sync w1 running:j/map-0@1.3:30",
        "sync w2",
        "wait 3",
        "sync w3",
        "wait 3",
    )
    backups = [line for line in said if "j/map-0@1.4" in line]
    assert len(backups) == 1
    assert "reply w3" in backups[0]


def test_a_worker_at_fault_gets_no_work_for_a_while_and_then_does() -> None:
    patient = Limits(lease_seconds=300.0, sync_max_seconds=99.0, blames_max=1, blame_seconds=60.3)
    script = Script(patient)
    begin = ["submit j maps=1 lease=300", "sync w1", "sync w2"]
    played(script, *begin, "sync w1 infrastructure:j/map-0@1.1", "sync w2 done:j/map-0@1.2:a")
    said = played(script, "sync w1", "submit k maps=1 lease=300")
    assert not [line for line in said if line.startswith("reply w1")]
    (given,) = [line for line in script.obey("wait 80") if "k/map-0" in line]
    assert given.startswith("60.3 s: reply w1")


# -- what is kept ------------------------------------------------------------------------------


def test_a_worker_that_lost_its_attempts_has_the_lease_of_one_without() -> None:
    script = Script()
    said = played(script, "submit j maps=1 lease=4", "sync w1", "wait 30")
    assert [line for line in said if "WorkersLeft" in line] == ["10 s: fact WorkersLeft w1"]


def test_an_ended_job_keeps_no_outputs() -> None:
    script = Script()
    begin = ["submit j maps=1", "sync w1", "sync w1 done:j/map-0@1.1:a"]
    played(script, *begin, "prepared j", "published j")
    record = script.machine.cluster.job("j")
    assert record is not None
    output = record.task(TaskId("j", 0, 0)).output
    assert output is not None
    assert (output.digest, output.counters, output.object) == (b"", {}, None)


def test_a_receipt_counts_attempts_over_restarts() -> None:
    script = Script()
    played(
        script,
        "submit j maps=4",
        "sync w3",
        "wait 11",  # the attempt of w3 expires
        "sync w1 slots=2",
        "sync w2 slots=2",
        "sync w1 done:j/map-0@1.2:a running:j/map-1@1.3:1",
        "restart",
        "sync w2 running:j/map-2@1.4:2 running:j/map-3@1.5:2",
        "restart",
        "sync w1 done:j/map-1@1.3:a",
        "sync w2 done:j/map-2@1.4:a done:j/map-3@1.5:a",
    )
    what = order(script.machine.cluster, PrepareCommit("j"))
    assert isinstance(what, Preparation)
    assert what.started == 5
    (stage,) = what.stages
    assert (stage.name, stage.tasks, stage.attempts) == ("map", 4, 5)
    assert "5 started, 4 won, 0 failed, 0 infrastructure, 1 expired" in script.obey("show j")[-1]
