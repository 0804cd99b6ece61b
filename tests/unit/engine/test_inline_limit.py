"""Jobs on the first records of their input, and with a number of records for each task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mrcore
from mrcore.cli.main import run_command_line
from mrcore.output.receipt import read_receipt


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own, with ten numbers in two files and a module that squares them."""
    (tmp_path / "in").mkdir()
    for name, numbers in (("a", range(4)), ("b", range(4, 10))):
        (tmp_path / f"in/{name}.txt").write_text("".join(f"{n}\n" for n in numbers))
    (tmp_path / "squares.py").write_text(
        "options = {'limit': 5}\ndef map(key, line):\n    yield int(line), int(line) ** 2\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_a_limited_job_maps_the_first_records_and_says_so(here: Path) -> None:
    result = mrcore.run(
        map=lambda key, line: [(line, 1)],
        inputs="in",
        output="out",
        limit=5,
        records_per_task=2,
        engine="inline",
    )
    assert sorted(result.lines()) == [f"{n}\t1" for n in range(5)]
    receipt = read_receipt(f"file://{here}/out")
    assert (receipt.limit, receipt.records_in) == (5, 5)
    assert receipt.stages[0].tasks == 3


def test_a_module_states_a_limit_that_the_command_line_undoes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["run", "squares.py", "in", "--engine", "inline", "--json", "-o"]
    assert run_command_line([*words, "out"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["limit"] == 5
    assert found["stages"][0]["records_in"] == 5
    assert run_command_line(["show", found["job_id"]]) == 0
    assert ", its first 5 records only\n" in capsys.readouterr().out
    assert run_command_line([*words, "all", "--limit", "none"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "limit" not in found
    assert found["stages"][0]["records_in"] == 10


def test_two_ways_to_cut_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "squares.py", "in", "-o", "out", "--map-tasks", "3", "--records-per-task", "2"]
    assert run_command_line(words) == 2
    told = capsys.readouterr().err
    assert "--map-tasks and --records-per-task each say how the input is cut" in told
