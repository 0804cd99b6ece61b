"""Help texts on narrow terminals: nothing is cut, and no word is broken."""

from __future__ import annotations

import argparse
import re

import click
import pytest
from click.testing import CliRunner

from mrcore.cli import gce, token
from mrcore.cli.help import HelpFormatter
from mrcore.cli.main import COMMANDS, cli
from mrcore.master import main as master
from mrcore.worker import main as worker

DAEMONS = ("master", "worker")
HELP = ["", *(name for name in COMMANDS if name not in DAEMONS)]
HELP += [f"gce {name}" for name in gce.command.commands]
HELP += [f"token {name}" for name in token.command.commands]
WIDE = "2000"


def help_of(name: str, columns: str) -> str:
    result = CliRunner(env={"COLUMNS": columns}).invoke(
        cli, [*name.split(), "--help"], prog_name="mrcore"
    )
    assert result.exit_code == 0
    return result.output


def words(text: str) -> list[str]:
    """Return the words of a text; a list of choices may be broken at its bars."""
    return re.sub(r"\|\s*", "| ", text).split()


@pytest.mark.parametrize("columns", ["40", "61", "80"])
@pytest.mark.parametrize("name", HELP)
def test_help_fits_the_terminal(name: str, columns: str) -> None:
    found = help_of(name, columns)
    assert set(words(found)) <= set(words(help_of(name, WIDE))), "a word is broken"
    if columns == "40":
        assert [line for line in found.splitlines() if len(line) > 40] == []


@pytest.mark.parametrize("parser", [master._parser, worker._parser])
def test_help_of_daemons_fits_the_terminal(
    parser: type[argparse.ArgumentParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", WIDE)
    whole = set(parser().format_help().split())
    monkeypatch.setenv("COLUMNS", "40")
    narrow = parser().format_help()
    assert set(narrow.split()) - {"[OPTION...]"} <= whole, "a word is broken"
    assert [line for line in narrow.splitlines() if len(line) > 40] == []


def test_a_block_laid_out_by_hand_is_wrapped_only_where_it_must_be() -> None:
    formatter = HelpFormatter(width=30)
    formatter.write_text("\b\n  mrcore cat out\n  mrcore run wc.py books/*.txt -o out   run a job")
    assert formatter.getvalue() == (
        "  mrcore cat out\n  mrcore run wc.py books/*.txt\n      -o out\n    run a job\n"
    )


def test_a_list_of_choices_is_broken_at_its_bars_only() -> None:
    formatter = HelpFormatter(width=24)
    formatter.write_dl([("--format [text|parquet|jsonl|arrow]", "A format.")])
    assert formatter.getvalue() == ("--format [text| parquet|\n    jsonl| arrow]\n  A format.\n")


def test_every_command_uses_the_formatter() -> None:
    with click.Context(cli) as context:
        commands = [cli, *(cli.get_command(context, name) for name in COMMANDS)]
    commands += gce.command.commands.values()
    for command in commands:
        assert command is not None
        assert command.context_class.formatter_class is HelpFormatter, command.name
