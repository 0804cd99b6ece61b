"""Plain English in docstrings, comments, messages, help texts and documents."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

import click
import pytest

from tests.support.repository import ROOT
from tests.tidy import english
from tests.tidy.tree import python_files, shown

pytestmark = pytest.mark.xdist_group("parsed")  # each process parses the files anew

LEFT: Final[dict[str, int]] = json.loads((ROOT / "tests/tidy/english_left.json").read_text())
"""Faults of rooms that are not yet in plain English. A count may only fall."""
RULES: Final = ("tests/tidy/english.py", "tests/tidy/test_tidy_english.py")
"""The rules and their samples, which have to name what they forbid."""


def room_of(path: Path) -> str:
    """Return the folder that a file is counted in, such as `mrcore/cli`."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def test_docstrings_and_comments_are_in_plain_english() -> None:
    counts: Counter[str] = Counter()
    found: dict[str, list[str]] = {}
    for path in python_files():
        if shown(path) in RULES:
            continue
        room = room_of(path)
        for line, rule in english.faults(path):
            counts[room] += 1
            found.setdefault(room, []).append(f"{shown(path)}:{line} {rule}")
    worse = {room: found[room] for room, count in counts.items() if count > LEFT.get(room, 0)}
    assert not worse, "write these in plain English; CONTRIBUTING has the rules"


def help_texts() -> dict[str, str]:
    """Return the help of every command and option, by its name."""
    from mrcore.cli import gce
    from mrcore.cli.main import COMMANDS, cli
    from mrcore.master import main as master
    from mrcore.worker import main as worker

    texts = dict(COMMANDS)
    with click.Context(cli) as context:
        commands: dict[str, Any] = {name: cli.get_command(context, name) for name in COMMANDS}
    commands |= {f"gce {name}": command for name, command in gce.command.commands.items()}
    for name, command in commands.items():
        # A block that begins with a backspace is laid out by hand.
        texts[f"{name} help"] = re.sub("\b.*?(\n\n|$)", "", command.help or "", flags=re.DOTALL)
        for parameter in command.params:
            texts[f"{name} {parameter.name}"] = getattr(parameter, "help", None) or ""
    for name, parser in (("master", master._parser()), ("worker", worker._parser())):
        texts |= {f"{name} {action.dest}": action.help or "" for action in parser._actions}
    return texts


HELP: Final = help_texts()


def test_sentences_of_help_texts_are_short() -> None:
    assert {"run output", "gce up workers", "master listen", "worker slots"} <= HELP.keys()
    assert {
        name: long for name, text in HELP.items() if (long := english.long_sentences(text))
    } == {}


def test_sentences_of_documents_are_short() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    assert len(documents) > 10
    long = {shown(path): english.long_sentences_of_document(path.read_text()) for path in documents}
    long.pop("CHANGELOG.md")
    found = {name: sentences for name, sentences in long.items() if sentences}
    assert not found, "write shorter sentences; CONTRIBUTING has the rules"


def test_a_long_sentence_of_a_document_is_found() -> None:
    long = "- Of " + "many " * 24 + "words `in code that does not count` ([a page](x.md))."
    text = f"# {long}\n\n    {long}\n\n```\n{long}\n```\n\nA short one.\n{long}\nAnother one.\n"
    assert len(english.long_sentences_of_document(text)) == 1


@pytest.mark.parametrize("rule", [english.SO_MANY, english.IS_NO, english.BANNED])
def test_help_texts_and_documents_keep_to_plain_words(rule: re.Pattern[str]) -> None:
    documents = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
    documents += sorted((ROOT / "docs").glob("*.md"))
    texts = {**HELP, **{shown(path): path.read_text() for path in documents}}
    found = [f"{name}: {hit[0]}" for name, text in texts.items() for hit in rule.finditer(text)]
    assert not found


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('"""What a thing is."""\n', ["a module is a noun phrase"]),
        ('"""A thing."""\nX = 1\n"""Of a thing."""\n', ["a field is a noun phrase"]),
        ('"""A thing."""\nX = 1\n"""How long it takes."""\n', ["a field is a noun phrase"]),
        ('"""A thing."""\n\n\nclass C:\n    """What it is."""\n', ["a class is a noun phrase"]),
        ('"""A thing."""\n\n\ndef f():\n    """Returns it."""\n', ["a function is an imperative"]),
        ('"""A thing."""\nX = 1  # at most so many of them\n', ["a number without a unit"]),
        ('"""A thing."""\nX = "this is no thing"\n', ["is no"]),
        ('"""A thing."""\n# Workers are told of it.\n', ["a verb that hides a plainer one"]),
        ('"""A thing, so long as it lasts; told = told."""\ntold = 1\n', ["a verb that hides"]),
        ('"""A thing."""\n\n\ndef f():\n    """Return it, at most 3."""\n', []),
    ],
)
def test_a_fault_is_found(tmp_path: Path, text: str, faults: list[str]) -> None:
    module = tmp_path / "module.py"
    module.write_text(text)
    found = [rule for _, rule in english.faults(module)]
    assert len(found) == len(faults)
    assert all(rule.startswith(fault) for rule, fault in zip(found, faults, strict=True))
