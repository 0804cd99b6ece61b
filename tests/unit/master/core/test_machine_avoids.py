"""Workers that a task avoids or waits for, and those that get it all the same."""

from __future__ import annotations

from tests.scenario.script import Script
from tests.support.played_machine import played


def test_a_task_waits_for_no_worker_that_cannot_take_it() -> None:
    script = Script()
    played(script, "submit j maps=1", "sync w2 blind", "sync w1")
    for number in (1, 2):
        script.obey(f"sync w1 infrastructure:j/map-0@1.{number}:503")
        said = played(script, "sync w2 blind", "wait 3", "sync w1")
        assert [
            line for line in said if f"reply w1 {number * 2 + 1}: j/map-0@1.{number + 1}" in line
        ]


def test_a_worker_whose_outputs_are_lost_is_left_alone_though_it_has_won() -> None:
    script = Script()
    played(script, "submit k maps=1 lease=900", "sync w2", "submit j maps=1 reduces=1 lease=900")
    said = played(script, "sync w1")
    for number in (2, 4):
        assert f"j/map-0@1.{number}" in said[-1]
        played(script, f"sync w1 done:j/map-0@1.{number}:a", f"missing j/map-0@1.{number}")
        played(script, "sync w1", "sync w2 running:k/map-0@1.1:9", "wait 4")
        played(script, "sync w1", "sync w2 running:k/map-0@1.1:9", "wait 7")
        script.obey("sync w2 running:k/map-0@1.1:9")
        said = played(script, "sync w1 unparked")
    assert said == ["reply w1 9: nothing"]


def test_no_backup_where_other_tasks_have_reserved_the_room() -> None:
    script = Script()
    played(
        script,
        "submit j maps=2 needs=cpu=2 lease=90",
        "sync w1 slots=2 offers=cpu=4",
        "submit k maps=1 needs=cpu=1 lease=90",
        "sync w2 slots=2 offers=cpu=2",
        "sync w1 done:j/map-0@1.1:a running:j/map-1@1.2:30",
    )
    said = played(
        script,
        "sync w2 running:k/map-0@1.3:1",
        "wait 3",
        "sync w3 slots=2 offers=cpu=2",
        "wait 3",
    )
    backups = [line for line in said if "j/map-1@1.4" in line]
    assert len(backups) == 1
    assert "reply w3" in backups[0]


def test_a_job_that_has_begun_waits_for_a_worker_with_its_versions() -> None:
    script = Script()
    played(script, "submit j maps=2 python=3.12", "sync w1 python=3.11", "sync w2 python=3.12")
    played(script, "sync w2 draining done:j/map-0@1.1:a")
    said = played(script, *["sync w1", "wait 3"] * 12)
    assert not [line for line in said if "JobEnded" in line]
    said = played(script, "sync w3 python=3.12")
    assert [line for line in said if line.startswith("reply w3 1: j/map-1")]
