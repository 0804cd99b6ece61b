"""The folders of embedded runs: recorded, found, swept, never while alive."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from mrcore.cli.main import run_command_line
from mrcore.engine import history
from mrcore.errors import StorageError, UsageError
from mrcore.model.job import JobState
from mrcore.model.snapshots import JobView, StageView
from tests.support.fake_clock import FakeClock


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep runs below the test's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def job(job_id: str, state: JobState = JobState.SUCCEEDED) -> JobView:
    return JobView(
        job_id=job_id,
        name="wc",
        state=state,
        output_uri=f"file:///out/{job_id}",
        stages=(StageView(name="map", tasks=1), StageView(name="reduce", tasks=3)),
        submitted_seconds=100.0,
        ended_seconds=102.5 if state.final else 0.0,
    )


def recorded(job_id: str, now: float, state: JobState = JobState.SUCCEEDED) -> Path:
    """Make the folder of a run that has ended."""
    folder = history.RunFolder.create(FakeClock(now))
    folder.record(job(job_id, state))
    folder.close()
    return folder.path


def test_runs_are_found_newest_first(state_home: Path) -> None:
    recorded("a-1", 1000.0)
    path = recorded("b-1", 2000.0)
    (state_home / "mrcore" / "runs" / "99999999-broken").mkdir()
    assert [record.job.job_id for record in history.past_runs()] == ["b-1", "a-1"]
    found = history.find_run("b-1")
    assert found == history.RunRecord(job=job("b-1"), state_uri=f"file://{path}/state")
    assert history.find_run("c-1") is None


def test_a_run_is_private(state_home: Path) -> None:
    assert recorded("a-1", 1000.0).stat().st_mode & 0o777 == 0o700


def test_state_that_cannot_be_written_is_a_sentence(
    state_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state_home / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(state_home / "file"))
    with pytest.raises(UsageError, match="Set XDG_STATE_HOME to one that can"):
        history.RunFolder.create()


def test_a_full_disk_is_a_sentence(state_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = history.RunFolder.create()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match=r"cannot be written \(no space left on device\)"):
            folder.record(job("a-1"))
    folder.close()
    nothing_free = SimpleNamespace(f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: nothing_free)
    before = sorted(history.runs_folder().iterdir())
    files_open = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(UsageError, match=r"cannot be written \(no space left on device\)"):
        history.RunFolder.create()
    assert sorted(history.runs_folder().iterdir()) == before
    assert sorted(Path("/proc/self/fd").iterdir()) == files_open


def test_sweep_spares_the_young_and_the_living() -> None:
    old, young = recorded("old-1", 1000.0), recorded("young-1", 1000.0)
    living = history.RunFolder.create(FakeClock())
    now = young.stat().st_mtime
    for path in (old, living.path):
        os.utime(path, (now - 100, now - 100))
    assert history.sweep(50.0, clock=FakeClock(now)) == 1
    assert not old.exists()
    assert young.exists()
    assert living.path.exists()
    living.close()
    assert history.sweep(50.0, clock=FakeClock(now)) == 1
    assert not living.path.exists()


def test_sweep_is_bounded() -> None:
    for number in range(3):
        recorded(f"a-{number}", 1000.0 + number)
    assert history.sweep(0.0, limit=2, clock=FakeClock(4e9)) == 2
    assert len(list(history.past_runs())) == 1


def test_jobs_lists_past_runs(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("a-1", 1000.0)
    recorded("b-1", 2000.0, JobState.RUNNING)
    assert run_command_line(["jobs"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "JOB\tSTATE\tSUBMITTED\tTOOK\tOUTPUT"
    assert [row.split("\t")[:2] for row in rows] == [["b-1", "abandoned"], ["a-1", "succeeded"]]
    assert rows[1].endswith("\t2.5 s\t/out/a-1")


def test_show_of_a_past_run(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("a-1", 1000.0)
    assert run_command_line(["show", "a-1"]) == 0
    assert "state      succeeded\noutput     /out/a-1\n" in capsys.readouterr().out


def test_watch_and_cancel_of_a_run_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    recorded("b-1", 2000.0, JobState.RUNNING)
    assert run_command_line(["watch", "b-1"]) == 1
    assert "were killed before it ended. Run the same command" in capsys.readouterr().err
    assert run_command_line(["cancel", "b-1"]) == 2
    assert "has ended and cannot be cancelled" in capsys.readouterr().err


def test_logs_of_a_past_run(capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded("a-1", 1000.0)
    logs = path / "state" / "logs" / "a-1"
    logs.mkdir(parents=True)
    (logs / "map-00000@1.1.log").write_bytes(b"first\n")
    os.utime(logs / "map-00000@1.1.log", (1.0, 1.0))
    (logs / "reduce-00000@1.3.log").write_bytes(b"0123456789")
    assert run_command_line(["logs", "a-1", "--tail", "4"]) == 0
    assert capsys.readouterr().out == (
        "==> map-00000@1.1 <==\n… 2 earlier bytes; show more with --tail\nrst\n"
        "==> reduce-00000@1.3 <==\n… 6 earlier bytes; show more with --tail\n6789\n"
    )
    assert run_command_line(["logs", "a-1", "--task", "map-00000"]) == 0
    assert capsys.readouterr().out == "first\n"
    assert run_command_line(["logs", "a-1", "--task", "map-00000", "--attempt", "1.2"]) == 2
    assert "No log for map-00000@1.2 of a-1: it printed nothing" in capsys.readouterr().err


@pytest.mark.parametrize("task", ["foo", "map-00001", "step1-map-00000"])
def test_logs_of_a_task_that_the_job_lacks(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    recorded("a-1", 1000.0)
    assert run_command_line(["logs", "a-1", "--task", task]) == 2
    assert capsys.readouterr().err == (
        f"mrcore: '{task}' is not a task of a-1. "
        "Its tasks are map-00000, reduce-00000 to reduce-00002.\n"
    )


def test_logs_of_a_job_of_many_stages_or_none_name_no_wrong_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = history.RunFolder.create(FakeClock(1000.0))
    stages = tuple(StageView(name=f"step{n}-reduce", tasks=1) for n in range(1, 8))
    folder.record(msgspec.structs.replace(job("a-1"), stages=stages))
    folder.close()
    assert run_command_line(["logs", "a-1", "--task", "step7-reduce-00000"]) == 0
    assert run_command_line(["logs", "a-1", "--task", "step8-reduce-00000"]) == 2
    assert capsys.readouterr().err.endswith("step5-reduce-00000 and those of 2 later stages.\n")
    folder = history.RunFolder.create(FakeClock(2000.0))
    folder.record(msgspec.structs.replace(job("b-1"), stages=()))
    folder.close()
    assert run_command_line(["logs", "b-1", "--task", "map-00000"]) == 2
    assert "It has no tasks: see `mrcore show`." in capsys.readouterr().err


def test_gc_removes_old_runs(capsys: pytest.CaptureFixture[str]) -> None:
    path = recorded("a-1", 1000.0)
    assert run_command_line(["gc"]) == 0
    assert path.exists()
    assert run_command_line(["gc", "--older-than", "0s"]) == 0
    assert not path.exists()
    assert capsys.readouterr().out == "removed 0 embedded runs\nremoved 1 embedded run\n"


def test_gc_of_a_folder_without_temporaries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000").touch()
    assert run_command_line(["gc", f"{tmp_path}/out"]) == 0
    assert capsys.readouterr().out == f"no temporaries to remove in {tmp_path}/out\n"


@pytest.mark.parametrize("options", [["none"], ["out", "--temp", "none"]])
def test_gc_of_a_folder_that_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    given = [option if option.startswith("-") else f"{tmp_path}/{option}" for option in options]
    assert run_command_line(["gc", *given]) == 2
    assert f"The folder {tmp_path}/none does not exist. Name one" in capsys.readouterr().err


def test_gc_removes_temporaries_of_an_output_that_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temp" / "a-1").mkdir(parents=True)
    (tmp_path / "temp" / "a-1" / "x.run").write_bytes(b"1234")
    options = ["--temp", f"{tmp_path}/temp", "--older-than", "0s"]
    assert run_command_line(["gc", f"{tmp_path}/out", *options]) == 0
    assert capsys.readouterr().out == "removed 1 temporary object of a-1, 4 B\n"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["out", "--state", "s"], "--state goes without OUT, --release and --temp"),
        (["--state", "s", "--release"], "--state goes without OUT, --release and --temp"),
        (["--yes"], "--yes and --json need --state"),
        (["out", "--json"], "--yes and --json need --state"),
        (["--state", "s", "--older-than", "soon"], "'soon' is not a duration"),
        (["--state", "no://s"], "no://s"),
    ],
)
def test_gc_of_a_state_refuses_what_does_not_go_with_it(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["gc", *options]) == 2
    assert problem in capsys.readouterr().err


def test_gc_of_a_state_prints_a_table_and_asks_for_yes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    plan = state / "jobs" / "gone-1" / "plan"
    plan.parent.mkdir(parents=True)
    plan.write_bytes(b"12345678")
    os.utime(plan, (1.0, 1.0))
    assert run_command_line(["gc", "--state", str(state)]) == 2
    assert "is not the state of a cluster. Name the --state of" in capfd.readouterr().err
    (state / "cluster.json").write_text("{}")
    assert run_command_line(["gc", "--state", str(state)]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[0].split("\t") == ["KIND", "OBJECTS", "SIZE", "OLDEST"]
    assert shown[1].startswith("plans\t1\t8 B\t")
    assert shown[2] == "total\t1\t8 B\t"
    assert shown[3] == "nothing was removed; remove these with --yes"
    assert plan.exists()
    assert run_command_line(["gc", "--state", str(state), "--yes"]) == 0
    assert "removed 1 object\n" in capfd.readouterr().out
    assert not plan.parent.exists()


def test_gc_removes_temporaries_of_failed_jobs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for job_id in ("a-1", "b-1"):
        (out / "_tmp" / job_id / "runs").mkdir(parents=True)
        (out / "_tmp" / job_id / "runs" / "x.run").write_bytes(b"1234")
    os.utime(out / "_tmp" / "a-1" / "runs" / "x.run", (1.0, 1.0))
    assert run_command_line(["gc", str(out)]) == 0
    assert capsys.readouterr().out == (
        "removed 1 temporary object of a-1, 4 B\n"
        "kept temporaries of 1 job active within the last 7 d; "
        "remove them too with --older-than 0s\n"
    )
    assert run_command_line(["gc", str(out), "--older-than", "0s"]) == 0
    assert capsys.readouterr().out == "removed 1 temporary object of b-1, 4 B\n"
    assert not out.exists()
