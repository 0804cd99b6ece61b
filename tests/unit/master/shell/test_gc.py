"""`mrcore gc --state`: what no job needs is shown, and removed if asked to; all else stays."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mrcore.master.core.facts import CallsAdded, JobSubmitted
from mrcore.master.shell import gc
from mrcore.master.shell.leader import new_leader, open_cluster
from mrcore.master.shell.leftovers import AGE_SECONDS, Kind
from mrcore.model import object_names
from mrcore.model.calls import CallPlan
from mrcore.model.job import JobSpec, JobState, Session
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.storage.base import Storage
from mrcore.storage.faulty import FaultyStorage, script
from mrcore.storage.memory import MemoryStorage
from tests.support.fake_clock import FakeClock
from tests.support.journals import STATE, Master, job
from tests.support.specs import call_spec, job_spec, one_input

DAY = AGE_SECONDS
OLDER = 7 * DAY
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


class House:
    """A state with jobs of every kind, and what they have left."""

    def __init__(self) -> None:
        self.clock = FakeClock(now=100 * DAY)
        self.storage = MemoryStorage(self.clock)
        open_cluster(self.storage, STATE)
        self.master = Master(self.storage)
        self.clock.now = 200 * DAY

    def put(self, uri: str, *, days_ago: float = 50) -> str:
        now = self.clock.now
        self.clock.now = now - days_ago * DAY
        with self.storage.open_write(uri) as writer:
            writer.write(b"12345")
            writer.commit()
        self.clock.now = now
        return uri

    def ended(self, name: str, days_ago: float, plugin: str = A) -> None:
        ended = self.clock.now - days_ago * DAY
        self.master.append(*job(name, JobState.FAILED, ended_seconds=ended, plugin=plugin))

    def left_by(self, name: str, *, days_ago: float = 50) -> list[str]:
        names = (
            object_names.plan_uri(STATE, name),
            f"{object_names.log_prefix(STATE, name)}map-00000@1.1.log",
            f"{object_names.session_results_prefix(STATE, name)}map-00000@1.1",
            f"{object_names.state_temp_uri(STATE)}/{name}/runs/000-map-00000@1.1.run",
        )
        return [self.put(uri, days_ago=days_ago) for uri in names]

    def collect(self, *, removes: bool, storage: Storage | None = None) -> gc.Collector:
        return gc.collect(storage or self.storage, STATE, OLDER, removes=removes, clock=self.clock)

    def uris(self) -> list[str]:
        return [info.uri for info in self.storage.list(STATE)]


def submitted(name: str, spec: JobSpec, *stages: StagePlan) -> JobSubmitted:
    return JobSubmitted(job_id=name, request_id=name, spec=spec, stages=stages, claim_generation="")


@pytest.fixture
def house() -> House:
    return House()


def counts(done: gc.Collector) -> dict[Kind, int]:
    return {kind: each.objects for kind, each in done.sums.items() if each.objects}


def test_what_jobs_left_goes_once_they_have_expired_or_are_unknown(house: House) -> None:
    house.master.append(*job("live", plugin=B))
    house.ended("lately", days_ago=6, plugin=C)
    house.ended("old", days_ago=8, plugin=D)
    stays = [
        *house.left_by("live"),
        *house.left_by("lately"),
        *house.left_by("unknown-and-new", days_ago=0.9),
        house.put(object_names.plugin_uri(STATE, B)),
        house.put(object_names.plugin_uri(STATE, C)),
        house.put(object_names.plugin_uri(STATE, "e" * 64), days_ago=0.9),
    ]
    goes = [
        *house.left_by("old", days_ago=0.1),
        *house.left_by("unknown", days_ago=1.1),
        house.put(object_names.plugin_uri(STATE, D)),
        house.put(object_names.object_uri(STATE, A)),
    ]
    before = house.uris()
    shown = house.collect(removes=False)
    assert house.uris() == before, "it only looks"
    removed = house.collect(removes=True)
    folders = (Kind.PLANS, Kind.LOGS, Kind.RESULTS, Kind.TEMPORARIES)
    expected = {**dict.fromkeys(folders, 2), Kind.PLUGINS: 1, Kind.OBJECTS: 1}
    assert counts(shown) == counts(removed) == expected
    assert sum(each.bytes for each in removed.sums.values()) == 5 * len(goes)
    assert set(before) - set(house.uris()) == set(goes)
    assert set(stays) <= set(house.uris())
    assert removed.kept_jobs == 2
    assert counts(house.collect(removes=True)) == {}


def test_what_a_waiting_job_a_live_session_and_their_items_need_stays(house: House) -> None:
    items = house.put(object_names.object_uri(STATE, C))
    waiting = job_spec(after=("other",), inputs=one_input(items))
    session = call_spec("calls", Session(keep=True))
    house.master.append(
        submitted("waiting", waiting),
        submitted("kept", session, StagePlan(0, Calls(), Result())),
        CallsAdded("kept", 0, (CallPlan(function=A),)),
    )
    stays = [
        items,
        *house.left_by("waiting"),
        *house.left_by("kept"),
        house.put(object_names.object_uri(STATE, A)),
        house.put(object_names.object_uri(STATE, B)),
    ]
    assert counts(house.collect(removes=True)) == {}
    assert set(stays) <= set(house.uris())


def test_stored_objects_that_no_live_job_names_go_where_no_session_may_name_them(
    house: House,
) -> None:
    items = house.put(object_names.object_uri(STATE, C))
    house.master.append(submitted("live", job_spec(after=("other",), inputs=one_input(items))))
    others = house.put(object_names.object_uri(STATE, B))
    assert counts(house.collect(removes=True)) == {Kind.OBJECTS: 1}
    assert items in house.uris()
    assert others not in house.uris()


def test_entries_and_snapshots_go_that_newer_snapshots_stand_for(house: House) -> None:
    for name in "abcd":
        house.master.append(*job(name))
        house.master.snapshot()
    second = Master(house.storage, "second")
    second.append(*job("e"))
    assert counts(house.collect(removes=True)) == {Kind.ENTRIES: 3, Kind.SNAPSHOTS: 2}
    third = Master(house.storage, "third")
    assert list(third.durable.jobs) == list("abcde")
    assert third.durable.epochs == [1, 6, 8]


def lead(house: House, monkeypatch: pytest.MonkeyPatch, *, lives: bool) -> None:
    leader = new_leader(open_cluster(house.storage, STATE), 1, "localhost:1", None)
    with house.storage.open_write(object_names.leader_uri(STATE)) as writer:
        writer.write(msgspec.json.encode(leader))
        writer.commit()

    async def answers(credentials: object, timeout_seconds: float) -> bool:
        return lives

    monkeypatch.setattr(gc, "answers", answers)


@pytest.mark.parametrize("lives", [True, False])
def test_what_jobs_share_is_left_to_a_master_that_leads(
    lives: bool, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(house, monkeypatch, lives=lives)
    house.left_by("unknown")
    shared = [
        house.put(object_names.plugin_uri(STATE, A)),
        house.put(object_names.object_uri(STATE, A)),
    ]
    done = house.collect(removes=True)
    assert counts(done)[Kind.PLANS] == 1
    assert [uri in house.uris() for uri in shared] == [lives, lives]
    assert bool(done.notes) == lives


def test_what_jobs_share_stays_once_a_master_begins_to_lead(house: House) -> None:
    shared = house.put(object_names.plugin_uri(STATE, A))

    def meanwhile(operation: str, uri: str) -> None:
        if operation == "list" and uri == object_names.plugins_prefix(STATE):
            Master(house.storage, "new").append(*job("new", plugin=A))

    storage = FaultyStorage(house.storage, script({}), hook=meanwhile)
    done = house.collect(removes=True, storage=storage)
    assert shared in house.uris()
    assert done.notes == [
        "A master has begun to lead this state. It removes plugins and stored objects itself."
    ]


def test_an_object_that_was_written_anew_after_the_listing_stays(house: House) -> None:
    plugin = house.put(object_names.plugin_uri(STATE, A))

    def meanwhile(operation: str, uri: str) -> None:
        if operation == "delete" and uri == plugin:
            house.put(plugin, days_ago=0)

    storage = FaultyStorage(house.storage, script({}), hook=meanwhile)
    assert counts(house.collect(removes=True, storage=storage)) == {}
    assert plugin in house.uris()


def test_a_journal_of_another_version_removes_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with house.storage.open_write(object_names.journal_uri(STATE, 2)) as writer:
        writer.write(b'{"number":2,"epoch":1,"writer":"w","facts":[{"type":"new"}],"format":99}')
        writer.commit()
    house.left_by("unknown")
    before = house.uris()
    monkeypatch.setattr(gc, "storage_for", lambda uri: house.storage)
    assert gc.main(["--state", STATE, "--older-than", "0", "--yes"]) == 1
    assert "was written by another version of mrcore" in capsys.readouterr().err
    assert house.uris() == before


def test_a_folder_that_is_not_a_state_is_refused_and_stays_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gc.main(["--state", f"file://{tmp_path}/x", "--older-than", "0", "--yes"]) == 2
    assert capsys.readouterr().err == (
        f"mrcore: {tmp_path}/x is not the state of a cluster. Name the --state of a master.\n"
    )
    assert not list(tmp_path.iterdir())


def test_long_work_is_shown_on_stderr_and_the_answer_is_one_object(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gc, "storage_for", lambda uri: house.storage)
    monkeypatch.setattr(gc, "_PAUSE_SECONDS", 0.0)
    house.put(object_names.plan_uri(STATE, "unknown"))
    assert gc.main(["--state", STATE, "--older-than", "60"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["kinds"]["plans"]["objects"] == answer["objects"] == 1
    assert (answer["removed"], answer["older_than_seconds"]) == (False, 60)
    assert "has read the journal up to entry 1" in captured.err
    assert "1 leftovers so far" in captured.err
