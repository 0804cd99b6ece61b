"""Resumption of an interrupted run by the same command, and cases in which it begins anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mrcore.cli.main import run_command_line
from mrcore.client.request import Draft
from mrcore.engine import history
from mrcore.engine.resume import find_interrupted
from mrcore.model import object_names
from mrcore.model.job import JobDraft, JobState, Plugin, StepFlags
from mrcore.model.snapshots import AttemptCounts, JobView, StageView
from mrcore.output import commit
from mrcore.plugin.bundle import Bundle
from mrcore.storage.registry import storage_for
from mrcore.tasks import plan
from tests.support import stores
from tests.support.commit_world import make_spec
from tests.support.fake_clock import FakeClock

JOB = "wc-20260101-000000-abcdef"


class KilledRun:
    """An input, an output, and a run of a job that was killed."""

    def __init__(self, folder: Path) -> None:
        self.place = stores.file_place(folder)
        for name in ("a", "b", "empty"):
            self.place.put(f"in/{name}", b"" if name == "empty" else b"line\n")
        self.spec = make_spec(self.place)
        self.folder = history.RunFolder.create(FakeClock(1_000.0))
        # What loading the plugin has shown is not known yet when the command comes again.
        loaded = Plugin(
            self.spec.plugin.sha256, self.spec.plugin.name, (StepFlags(has_combine=True),)
        )
        self.folder.spec = msgspec.structs.replace(self.spec, plugin=loaded)
        self.folder.record(self.job(JobState.RUNNING))
        self.generation = commit.claim(self.spec, JOB, "r", self.folder.state_uri, "host:1")
        uri = object_names.plan_uri(self.folder.state_uri, JOB)
        with storage_for(uri).open_write(uri) as writer:
            writer.write(plan.encode(plan.make_plan(self.spec, 1)))
            writer.commit()
        (self.folder.path / "state" / "journal").mkdir()

    def job(self, state: JobState) -> JobView:
        stage = StageView(name="map", tasks=3, completed=1, in_progress=1, idle=1)
        return JobView(
            job_id=JOB,
            name="wc",
            state=state,
            output_uri=self.spec.output_uri,
            stages=(stage,),
            attempts=AttemptCounts(started=2, won=1),
            note="waiting for workers: none has joined yet",
        )

    def goes_on(self, **changes: Any) -> bool:
        """Return whether a command for this output goes on with the job of the run."""
        found = find_interrupted(self.asked(**changes))
        assert found is None or (found.job.job_id == JOB and found.path == self.folder.path)
        return found is not None and found.is_same

    def asked(self, **changes: Any) -> Draft:
        """Return the command's job, whose plugin has not been loaded."""
        spec = msgspec.structs.replace(self.spec, **changes)
        fields = {name: getattr(spec, name) for name in JobDraft.__struct_fields__}
        return Draft(JobDraft(**fields), Bundle(b"", spec.plugin.sha256, spec.plugin.name))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KilledRun:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    return KilledRun(tmp_path)


def test_the_same_command_goes_on(house: KilledRun) -> None:
    assert house.goes_on()
    assert house.goes_on(overwrite=True)


def test_what_the_plugin_states_is_known_of_the_killed_run(house: KilledRun) -> None:
    assert house.folder.spec is not None
    plugin = msgspec.structs.replace(house.folder.spec.plugin, stated={"reduces": 5})
    house.folder.spec = msgspec.structs.replace(house.folder.spec, plugin=plugin, reduces=5)
    house.folder.record(house.job(JobState.RUNNING))
    assert house.goes_on()
    assert house.goes_on(reduces=house.spec.reduces)
    given = msgspec.structs.replace(house.asked().job, reduces=3)
    draft = Draft(given, house.asked().bundle, frozenset(["reduces"]))
    found = find_interrupted(draft)
    assert found is not None
    assert not found.is_same


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"n": "2"}},
        {"reduces": 3},
        {"memory_bytes": 1 << 30},
        {"plugin": Plugin("1" * 64, "job")},
    ],
)
def test_another_command_does_not(house: KilledRun, changes: dict[str, Any]) -> None:
    assert not house.goes_on(**changes)


def _change(house: KilledRun) -> None:
    house.place.put("in/a", b"changed\n")


def _add(house: KilledRun) -> None:
    house.place.put("in/c", b"line\n")


def _remove(house: KilledRun) -> None:
    house.place.storage.delete(house.place.uri("in/a"))


def _lose_plan(house: KilledRun) -> None:
    shutil.rmtree(house.folder.path / "state" / "jobs")


def _lose_journal(house: KilledRun) -> None:  # or never have one, as the inline engine
    (house.folder.path / "state" / "journal").rmdir()


def _end(house: KilledRun) -> None:
    house.folder.record(house.job(JobState.CANCELLED))


def _release(house: KilledRun) -> None:
    commit.force_release(house.spec.output_uri)


def _claimed_by_another(house: KilledRun) -> None:
    commit.force_release(house.spec.output_uri)
    commit.claim(house.spec, "other", "r2", "file:///other/state", "host:2")


@pytest.mark.parametrize(
    "change",
    [_change, _add, _remove, _lose_plan, _lose_journal, _end, _release, _claimed_by_another],
)
def test_what_has_changed_is_run_anew(
    house: KilledRun, change: Callable[[KilledRun], None]
) -> None:
    change(house)
    assert not house.goes_on()


def test_what_was_allowed_to_overwrite_needs_that_said_again(house: KilledRun) -> None:
    house.folder.spec = msgspec.structs.replace(house.spec, overwrite=True)
    house.folder.record(house.job(JobState.RUNNING))
    assert house.goes_on(overwrite=True)
    assert not house.goes_on(overwrite=False)


def test_a_run_that_lives_is_not_opened(house: KilledRun) -> None:
    assert history.RunFolder.reopen(house.folder.path) is None
    house.folder.close()
    folder = history.RunFolder.reopen(house.folder.path)
    assert folder is not None
    assert history.RunFolder.reopen(house.folder.path) is None
    folder.close()


def test_a_state_that_can_finish_a_commit_is_not_swept(house: KilledRun) -> None:
    house.folder.close()
    begun = msgspec.json.encode({"job_id": JOB, "names": ["part-00000"]})
    house.place.put("out/_commit", begun)
    assert history.sweep(0.0, clock=FakeClock(4e9)) == 0
    house.place.storage.delete(house.place.uri("out/_commit"))
    assert history.sweep(0.0, clock=FakeClock(4e9)) == 1


def test_an_interrupted_run_is_shown_as_it_was(
    house: KilledRun, capsys: pytest.CaptureFixture[str]
) -> None:
    house.folder.close()
    assert run_command_line(["show", JOB]) == 0
    shown = capsys.readouterr().out
    assert "state      abandoned (its processes were killed; run the same command again" in shown
    assert "none has joined" not in shown
    assert "2 started, 1 won" in shown
    cells = [line.split() for line in shown.splitlines() if line.startswith("map")]
    assert cells[0][1:5] == ["3", "2", "0", "1"]
