"""`mrcore chaos`: wrong usage, found before any process starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrcore.chaos.report import Report, RunReport, Verdict
from mrcore.cli import chaos
from mrcore.cli.main import run_command_line

PLUGIN = "def map(key, value):\n    yield value, 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "wc.py").write_text(PLUGIN)
    (tmp_path / "in.txt").write_text("one\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kill-workers", "130%"], "'130%' is not a share"),
        (["--kill-workers", "-1"], "'-1' is not a share"),
        (["--kill-workers", "30"], "more than all of them"),
        (["--storage-faults", "lots"], "'lots' is not a share"),
        (["--minutes", "0"], "0 is not in the range"),
        (["-w", "0"], "0 is not in the range"),
        (["--kill-master", "-1"], "-1 is not in the range"),
        (["--masters", "0"], "0 is not in the range"),
        (["--kill-everything"], "No such option"),
        (["--seed", "x"], "not a valid integer"),
        (["--paper", "--pause"], "--paper has disasters of its own"),
        (["--partition", "-o", "gs://b/out"], "or leave partitions out"),
    ],
)
def test_wrong_options(
    folder: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["chaos", "wc.py", "in.txt", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["in.txt", "wc.py"]


@pytest.mark.parametrize(
    ("plugin", "inputs", "sentence"),
    [
        ("missing.py", "in.txt", "missing.py"),
        ("broken.py", "in.txt", "NameError"),
        ("wc.py", "none.txt", "none.txt"),
    ],
)
def test_a_wrong_job(
    folder: Path, plugin: str, inputs: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.py").write_text("nonsense\n")
    assert run_command_line(["chaos", plugin, inputs]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(folder.glob("mrcore-chaos-*"))


def test_an_output_that_exists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "x").write_text("x")
    assert run_command_line(["chaos", "wc.py", "in.txt", "-o", "out"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_job_that_fails_by_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.py").write_text("def map(key, value):\n    raise ValueError(value)\n    yield\n")
    assert run_command_line(["chaos", "bad.py", "in.txt"]) == 1
    said = capsys.readouterr().err
    assert "fails without any disaster" in said
    assert "ValueError: one" in said


@pytest.mark.parametrize(
    ("typed", "repeat"),
    [
        ("chaos wc.py in.txt --pause", "mrcore chaos wc.py in.txt --pause --seed 7"),
        ("chaos a.py b --seed 7 --json -w 3", "mrcore chaos a.py b -w 3 --seed 7"),
        ("chaos a.py b --seed=7", "mrcore chaos a.py b --seed 7"),
    ],
)
def test_the_line_that_repeats(typed: str, repeat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/venv/bin/mrcore", *typed.split()])
    assert chaos.repeated(7) == repeat


def test_the_table_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = {
        "as usual": 100.0,
        "without backup tasks": 144.0,
        "11 % of the workers killed": 105.0,
    }
    runs = tuple(
        RunReport(run=number, job_id="j", verdict=Verdict.EQUAL, seconds=one, name=name)
        for number, (name, one) in enumerate(seconds.items(), 1)
    )
    report = Report(
        seed=7, sequential_seconds=300.0, runs=runs, repeat="mrcore chaos a.py b --paper"
    )
    assert report.exit_code == 0
    chaos._tell_paper(report)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[-1] for line in lines[:4]] == ["OF USUAL", "100%", "144%", "105%"]
    assert lines[2].startswith("without backup tasks\tequal")
