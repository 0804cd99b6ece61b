"""Truth of what people read: links resolve, commands exist, and nothing unfinished is left."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.tidy.tree import GENERATED, project_files, shown

DOCUMENTS = [p for p in project_files() if p.suffix == ".md"]

# Put together here, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(FIX" + r"ME|TO" + r"DO|X" + r"XX|HA" + r"CK)\b")
MACHINE = re.compile(
    r"/wor" + r"k/(main|shared)|/roo" + r"t/|pypi\.or" + r"g|pythonhost" + r"ed|--index-ur" + r"l"
)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def code_blocks(path: Path) -> str:
    """Return what stands between fences, and indented by four."""
    text = path.read_text()
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"^ {4}(.*)$", text, re.MULTILINE)])


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE], ids=["unfinished", "machine"])
def test_no_file_holds(pattern: re.Pattern[str]) -> None:
    found = []
    for path in project_files():
        if GENERATED in path.parents:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # data for a test
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{shown(path)}:{number} {line.strip()}")
    assert not found


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_links_of_documents_resolve(document: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_chores_that_documents_name_exist(document: Path) -> None:
    named = set(re.findall(r"(?<![\w/])(?:\./)?scripts/([a-z_]+)", document.read_text()))
    missing = {name for name in named if not os.access(ROOT / "scripts" / name, os.X_OK)}
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_commands_that_documents_show_exist(document: Path) -> None:
    from mrcore.cli.main import COMMANDS

    shown_commands = set(
        re.findall(r"^(?:\$ )?(?:\.venv/bin/)?mrcore ([a-z]+)", code_blocks(document), re.MULTILINE)
    )
    assert shown_commands <= set(COMMANDS)


def test_every_command_is_in_the_documents() -> None:
    from mrcore.cli.main import COMMANDS

    text = (ROOT / "docs/cli.md").read_text()
    assert [name for name in COMMANDS if f"mrcore {name}" not in text] == []


def test_every_example_is_in_the_documents() -> None:
    text = (ROOT / "docs/examples.md").read_text()
    names = [shown(p) for p in sorted((ROOT / "examples").rglob("*.py"))]
    assert len(names) > 10
    assert [name for name in names if name not in text] == []


def test_files_that_documents_name_exist() -> None:
    missing = []
    for document in DOCUMENTS:
        for name in re.findall(
            r"`((?:mrcore|master|worker|tests|examples|proto|bench|docs)/[\w/.-]+)`",
            document.read_text(),
        ):
            if not (ROOT / name).exists():
                missing.append(f"{shown(document)}: {name}")
    assert not missing


def test_every_chore_explains_itself() -> None:
    chores = [p for p in (ROOT / "scripts").iterdir() if p.is_file()]
    assert len(chores) > 6
    for chore in chores:
        run = subprocess.run([chore, "--help"], capture_output=True, text=True, check=False)
        assert run.returncode == 0, chore.name
        assert f"scripts/{chore.name}" in run.stdout, chore.name
