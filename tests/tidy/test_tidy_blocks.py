"""Every block of code in the documents is run, or checked, or stands in a short list here."""

from __future__ import annotations

import configparser
import json

import click
import pytest

from tests.support import documents
from tests.support.documents import Block, Command
from tests.support.repository import ROOT

PAGES = [
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
]
BLOCKS = [block for page in sorted(PAGES) for block in documents.blocks(ROOT / page, page)]
COMMANDS = [command for block in BLOCKS for command in block.commands]

NOT_COMMANDS = {
    "README.md": ["mrcore: wc-"],  # what a command printed
    "ARCHITECTURE.md": ["proto/mrcore/rpc/v1/"],  # folders
    "docs/storage.md": ["OUT/part-00000", "STATE/leader.json"],  # names of objects
}
"""First words of blocks that show something else, by page."""

ELSEWHERE = {
    "gcloud": "it needs an account",
    "sudo": "it changes the machine",
    "docker": "it changes the machine",
    "pip": "the quick start installs the same",
    "grpcurl": "it is a program of others",
}
"""Programs of commands that are neither run nor parsed."""


def listed(block: Block) -> bool:
    """Return whether the block is one that shows something else."""
    return block.text.startswith(tuple(NOT_COMMANDS.get(block.document, ())))


def command_of(words: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """Return the command that words name, a context for it, and its arguments."""
    from mrcore.cli.main import cli

    found: click.Command = cli
    context = click.Context(cli)
    while isinstance(found, click.Group):
        named, *words = words
        inner = found.get_command(context, named)
        assert inner is not None, named
        context = click.Context(inner, info_name=named, parent=context)
        found = inner
    assert context.parent is not None
    return found, context.parent, words


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if "mrcore" in c.parsed[0] and "[" not in c.text],
    ids=lambda command: command.text,
)
def test_options_that_a_page_shows_exist(command: Command) -> None:
    found, parent, arguments = command_of(command.parsed[1:])
    found.make_context(found.name, arguments, parent=parent)


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if "[" in c.text], ids=lambda command: command.text[:30]
)
def test_options_of_a_synopsis_exist(command: Command) -> None:
    [text] = [b.text for b in BLOCKS if command.text in b.text]
    found, _, arguments = command_of(text.split()[1:])
    shown = {
        word.strip("[].").split("|")[0] for word in arguments if word.lstrip("[").startswith("-")
    }
    known = {flag for option in found.params for flag in (*option.opts, *option.secondary_opts)}
    assert len(shown) > 10
    assert shown <= known


def test_every_line_of_a_block_is_a_command_or_in_the_list() -> None:
    others = [
        f"{block.document}: {line}"
        for block in BLOCKS
        if block.document != "CHANGELOG.md"
        and not listed(block)
        and not any("[" in c.text for c in block.commands)
        for line in block.lines
        if not documents.COMMAND.match(line) and not documents.ASSIGNMENT.match(line)
    ]
    assert others == []


def test_every_command_is_run_or_parsed_or_in_the_list() -> None:
    left = {c.program for c in COMMANDS if c.elsewhere and "mrcore" not in c.parsed[0]}
    assert left == set(ELSEWHERE)


def test_the_list_has_nothing_that_is_gone() -> None:
    shown = [(block.document, block.text) for block in BLOCKS]
    for page, starts in NOT_COMMANDS.items():
        for start in starts:
            assert any(name == page and text.startswith(start) for name, text in shown), start


def test_modules_of_a_page_are_used_on_it() -> None:
    for block in BLOCKS:
        if block.module:
            rest = [b.text for b in BLOCKS if b.document == block.document and b is not block]
            stem = block.module.removesuffix(".py")
            assert any(block.module in text or f"import {stem}" in text for text in rest), (
                block.module
            )


def test_blocks_of_data_are_well_formed() -> None:
    others = [b for b in BLOCKS if b.language not in (*documents.SHELLS, "python")]
    assert {b.language for b in others} == {"json", "ini"}
    for block in others:
        if block.language == "json":
            assert json.loads(block.text)
        else:
            settings = configparser.ConfigParser(strict=False)  # systemd takes a name twice
            settings.read_string(block.text)
            assert settings.sections()
