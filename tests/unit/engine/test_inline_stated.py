"""Whole jobs whose module states its formats, columns and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mrcore
from mrcore.cli import run as run_command
from mrcore.errors import MrcoreError, PluginError, UsageError

MODULE = """
input_format = "csv"
output_format = "jsonl"
columns = {"name": str, "age": "int"}
input_columns = {"age": int}
map_only = True
options = {"params": {"least": 18, "most": 99}, "max_bad_records": 1}
least = 0


def setup(context):
    global least
    least = int(context.params["least"])


def map(key, row):
    if row["age"] >= least:
        yield row
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in.csv").write_text("name,age\nAnn,41\nBob,7\nCy,old\n")
    (tmp_path / "job.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def run(**options: Any) -> mrcore.Result:
    return mrcore.run("job.py", inputs="in.csv", output="out", engine="inline", **options)


def test_a_module_states_formats_columns_and_defaults(here: Path) -> None:
    result = run()
    assert (here / "out/part-00000.jsonl").read_text() == '{"name":"Ann","age":41}\n'
    assert result.job.bad_records == 1


def test_what_the_caller_gives_wins(here: Path) -> None:
    """Parameters are joined by name."""
    run(output_format="text", columns={"age": "float", "name": "str"}, params={"least": 5})
    assert (here / "out/part-00000").read_text() == "41.0\tAnn\n7.0\tBob\n"
    with pytest.raises(mrcore.RunFailedError, match="Correct the cell"):
        run(max_bad_records=0, overwrite=True)


def test_a_default_on_the_command_line_wins_too(here: Path) -> None:
    arguments = ["job.py", "in.csv", "-o", "out", "--engine", "inline"]
    result = CliRunner().invoke(run_command.command, [*arguments, "--output-format", "text"])
    assert result.exit_code == 0, result.output
    assert (here / "out/part-00000").read_text() == "Ann\t41\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "output_format = 'cvs'",
            "^An option that job.py states cannot be. output_format is",
        ),
        ("options = {'reduce': 3}", "^job.py states the option 'reduce', which a job does not"),
        ("options = {'reduces': 'many'}", "reduces is 'many', but has to be a whole number"),
        ("options = {'reduces': -1}", "Reduces is -1, but must be at least 0"),
        (
            "options = {'overwrite': True}",
            "states overwrite, which a plugin cannot. Give overwrite=True where",
        ),
        ("columns = {'a': 'text'}", "The columns have the type 'text' for 'a'"),
        (
            "total_order = True",
            "map_only=True writes pairs unsorted, so total_order=True cannot hold",
        ),
    ],
)
def test_what_a_module_cannot_state_is_refused(here: Path, line: str, sentence: str) -> None:
    (here / "job.py").write_text(MODULE + line + "\n")
    with pytest.raises(PluginError if "total" not in line else UsageError, match=sentence):
        run()
    assert not (here / "out").exists()


def test_other_variables_of_these_names_mean_nothing(here: Path) -> None:
    (here / "job.py").write_text(
        "columns = ['a']\noptions = None\ninputs = 'x'\n\n\n"
        "def map(key, line):\n    yield line, 1\n"
    )
    assert len(list(run().lines())) == 4


def test_a_client_checks_a_module_in_another_process(here: Path) -> None:
    from mrcore.plugin.bundle import build_bundle
    from mrcore.plugin.precheck import check_in_child

    plugin = check_in_child(build_bundle("job.py", [], here))
    assert plugin.stated == {
        "params": {"least": 18, "most": 99},
        "max_bad_records": 1,
        "input_format": "csv",
        "output_format": "jsonl",
        "columns": {"name": "str", "age": "int"},
        "input_columns": {"age": "int"},
        "map_only": True,
    }
    (here / "job.py").write_text(MODULE + "inputs = {'*': 1}\n")
    with pytest.raises(MrcoreError, match=r"inputs in job.py has an int for \*"):
        check_in_child(build_bundle("job.py", [], here))
