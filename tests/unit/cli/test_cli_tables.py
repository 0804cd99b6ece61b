"""Display of tables, of the end of a job and of a past run."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from mrcore.cli import main, outcome, show, tables
from mrcore.cli.run import hints
from mrcore.model.job import JobState
from mrcore.model.skipping import bad_records_problem
from mrcore.model.snapshots import AttemptCounts, FailureView, JobView, StageView, job_json
from mrcore.model.task import FailureKind

ROWS = [("wordcount-20261121-084337-sh4bwp", "done", "/a/long/path/" + "x" * 60), ("b", "鯨", "c")]


def printed(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> list[str]:
    """Return the lines of a table as this terminal, or a pipe, gets them."""
    monkeypatch.setattr(tables, "on_terminal", lambda: terminal)

    @click.command()
    def command() -> None:
        tables.print_table(("JOB", "STATE", "OUTPUT"), ROWS)

    found = CliRunner().invoke(command, env={"COLUMNS": "40"}, color=terminal)
    return found.stdout.splitlines()


def test_a_terminal_gets_columns_and_whole_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, terminal=True) == [
        "\x1b[1mJOB                               STATE  OUTPUT\x1b[0m",
        f"wordcount-20261121-084337-sh4bwp  done   /a/long/path/{'x' * 60}",
        "b                                 鯨     c",
    ]


def test_a_pipe_gets_tabs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, terminal=False)[1:] == ["\t".join(row) for row in ROWS]


def ended(state: JobState, records: int, emitted: int, *failures: FailureView) -> JobView:
    """Return a job with one task in each stage."""
    return JobView(
        job_id="wc-1",
        name="wc",
        state=state,
        output_uri="file:///out",
        stages=(
            StageView(name="map", tasks=1, records=records),
            StageView(name="reduce", tasks=1, records=emitted),
        ),
        attempts=AttemptCounts(started=3 + len(failures), won=2, failed=len(failures)),
        failure=failures[-1] if failures else None,
        recent_failures=failures,
    )


@pytest.mark.parametrize(
    ("records", "emitted", "told"), [(3, 0, True), (3, 1, False), (0, 0, False)]
)
def test_a_map_that_emits_nothing_is_told(
    records: int, emitted: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert outcome.tell(ended(JobState.SUCCEEDED, records, emitted), as_json=False) == 0
    assert ("map emitted no pairs, so the output is empty" in capsys.readouterr().err) is told


def test_skipped_records_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a run, for programs, by `show` and by `verify`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("in.jsonl").write_text('{"a": 1}\nbroken\n{"a": 2}\n')
    Path("job.py").write_text("def map(key, value):\n    yield value['a'], 1\n")
    run = ["run", "job.py", "in.jsonl", "--input-format", "jsonl", "--max-bad-records", "3"]
    found = CliRunner().invoke(main.cli, [*run, "-o", "out", "--engine", "inline"])
    assert found.exit_code == 0, found.output
    assert "1 bad record skipped; see " in found.stderr
    assert "out/_bad" in found.stderr
    found = CliRunner().invoke(main.cli, ["verify", "out"])
    assert "1 bad record skipped, written by" in found.stdout
    job = msgspec.structs.replace(ended(JobState.SUCCEEDED, 3, 2), bad_records=1_234)
    assert job_json(job)["bad_records"] == 1_234
    show._print_job(job, "succeeded", None)
    assert "skipped    1,234 bad records, in /out/_bad\n" in capsys.readouterr().out
    failed = msgspec.structs.replace(job, state=JobState.FAILED)
    show._print_job(failed, "failed", None)
    assert "skipped    1,234 bad records\n" in capsys.readouterr().out, "nothing is published"


PLACE = {"master": None, "state": None, "credentials": None}


def test_too_many_bad_records_come_with_the_command_that_allows_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = bad_records_problem(3, 2)
    assert message is not None
    job = msgspec.structs.replace(ended(JobState.FAILED, 1, 1), message=message)
    assert outcome.tell(job, as_json=False, hints=hints(job, PLACE)) == 1
    told = capsys.readouterr().err
    assert (
        f"go on with more of them allowed: mrcore resume {job.job_id} --max-bad-records N" in told
    )
    other = msgspec.structs.replace(job, message="The output was moved. Run the job again.")
    assert outcome.tell(other, as_json=False, hints=hints(other, PLACE)) == 1
    assert "mrcore resume" not in capsys.readouterr().err


def test_hints_are_for_failures_of_the_users_code(capsys: pytest.CaptureFixture[str]) -> None:
    raised = FailureView(kind=FailureKind.USER, message="map raised", traceback="Traceback: x\n")
    died = FailureView(kind=FailureKind.USER, message="the process aborted")
    missing = FailureView(kind=FailureKind.DATA, message="a.gz is truncated")
    assert outcome.tell(ended(JobState.FAILED, 1, 1, died), as_json=False, hints=["look"]) == 1
    assert capsys.readouterr().err == "mrcore: the process aborted\nmrcore: look\n"
    assert outcome.tell(ended(JobState.FAILED, 1, 1, raised), as_json=False, hints=["look"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Traceback: x",
        "mrcore: map raised",
        "mrcore: look",
    ]
    assert outcome.tell(ended(JobState.FAILED, 1, 1, missing), as_json=False, hints=["look"]) == 1
    assert capsys.readouterr().err == "mrcore: a.gz is truncated\n"


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.CANCELLED])
def test_show_of_a_job_without_a_plan_has_neither_input_nor_stages(
    state: JobState, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = ended(state, 0, 0)
    show._print_job(planned, state, None)
    shown = capsys.readouterr().out
    assert "input      0 B\n" in shown
    assert "STAGE" in shown
    show._print_job(msgspec.structs.replace(planned, stages=()), state, None)
    shown = capsys.readouterr().out
    assert "input" not in shown
    assert "STAGE" not in shown
    assert shown.splitlines()[-1].startswith("attempts "), "no empty line at the end"


def test_show_has_the_figures_of_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    stage = StageView(
        name="step1-reduce",
        tasks=3,
        completed=3,
        attempts=4,
        records=5_000,
        bytes=2000,
        records_out=70,
        bytes_out=1500,
    )
    job = msgspec.structs.replace(ended(JobState.SUCCEEDED, 1, 1), stages=(stage,))
    show._print_job(job, "succeeded", None)
    head, row = capsys.readouterr().out.splitlines()[-2:]
    assert head.split()[:6] == ["STAGE", "TASKS", "IDLE", "RUNNING", "COMPLETED", "ATTEMPTS"]
    assert " ".join(row.split()) == "step1-reduce 3 0 0 3 4 5 k 2 kB 70 1.5 kB"
    stage = msgspec.structs.replace(stage, skew="step1-reduce-00002 is hot.")
    show._print_job(msgspec.structs.replace(job, stages=(stage,)), "succeeded", None)
    assert capsys.readouterr().out.endswith("\n\nstep1-reduce-00002 is hot.\n")


def test_show_tells_what_happened_and_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = FailureView(
        kind=FailureKind.USER, message="boom", traceback="Trace\n", attempt="map-00000@1.1"
    )
    second = msgspec.structs.replace(first, attempt="map-00000@1.2")
    job = ended(JobState.SUCCEEDED, 1, 1, first, second)
    monkeypatch.setattr(show, "_find", lambda *place: (job, [], "succeeded", None))
    assert CliRunner().invoke(show.command, ["wc-1"]).stdout.splitlines()[-5:] == [
        "",
        "map-00000@1.1 failed: boom",
        "Trace",
        "",
        "map-00000@1.2 failed: the same again.",
    ]
    shown = CliRunner().invoke(show.command, ["wc-1", "--tasks"])
    assert "attempts   5 started, 2 won, 2 failed, 1 withdrawn\n" in shown.stdout
    assert "the history of the tasks ended with the embedded cluster" in shown.stderr
