"""The commands that documents show, and the files that they show beside them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

COMMAND = re.compile(
    r"(?:\./)?(?:\.venv/bin/)?(?:mrcore|scripts/[a-z_]+|gcloud|sudo|docker|printf)(?: |$)"
)

PLACEHOLDER = re.compile(
    r"\b(PLUGIN|INPUT|OUT|JOB|WORKER|COMMAND|SHELL|HOST:PORT|BUCKET|PROJECT)\b|…"
)
"""Words that stand for something that only the reader knows."""


@dataclass(frozen=True)
class Command:
    """One command line of a document."""

    document: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words as a shell splits them, without a comment at the end."""
        return shlex.split(self.text, comments=True)

    @property
    def program(self) -> str:
        """The program's name, such as `mrcore` or `quickstart`."""
        return Path(self.words[0]).name

    @property
    def elsewhere(self) -> str | None:
        """Why a machine without an account and without rights cannot run it, or None."""
        if PLACEHOLDER.search(self.text):
            return "it has a placeholder"
        if "gs://" in self.text or "gcloud" in self.words or "gce" in self.words[1:2]:
            return "it needs a bucket"
        if self.program in ("sudo", "docker"):
            return "it changes the machine"
        return None


def commands(path: Path, name: str) -> list[Command]:
    """Return the commands of a document, in their order.

    Lines of fenced blocks without a language and of indented blocks count. Where a block has a
    prompt (`$ `), only lines with it are commands.
    """
    found = []
    for block in _blocks(path.read_text()):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        found += [Command(name, line) for line in lines if COMMAND.match(line)]
    return found


def files(path: Path) -> dict[str, str]:
    """Return the modules that a document shows, by the name in their first line."""
    modules = (text for language, text in FENCE.findall(path.read_text()) if language == "python")
    return {found[1]: text for text in modules if (found := re.match(r"# ([\w.]+\.py)\n", text))}


RUNS: Final = re.compile(r"mrcore\.run\(|mrcore\.LocalCluster\(")
"""What a Python block has that is run by a test."""


def programs(path: Path) -> list[str]:
    """Return the Python blocks of a document that run a job themselves."""
    return [
        text
        for language, text in FENCE.findall(path.read_text())
        if language == "python" and RUNS.search(text)
    ]


def _blocks(text: str) -> list[str]:
    blocks = []
    for language, block in FENCE.findall(text):
        if not language:
            blocks.append(block)
    rest = FENCE.sub("", text)
    blocks += [
        re.sub(r"^ {4}", "", block, flags=re.MULTILINE)
        for block in re.findall(r"(?:^ {4}.*\n)+", rest, re.MULTILINE)
    ]
    return blocks
