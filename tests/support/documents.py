"""The commands that documents show, and the files that they show beside them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"^```(?P<language>[a-z]*)\n(?P<code>.*?)^```$|(?:^ {4}[^\n]*\n)+", re.MULTILINE | re.DOTALL
)

SHELLS = ("", "sh", "console")
"""Languages of blocks that may have commands."""

COMMAND = re.compile(
    r"(?:\w+=\$\()?"
    r"(?:\./)?(?:\.venv/bin/)?(?:mrcore|scripts/[a-z_]+|gcloud|sudo|docker|printf|seq|pip|grpcurl|python)"
    r"(?: |$)"
)

RUNS = re.compile(r"mrcore\.run\(|mrcore\.LocalCluster\(")
"""Mark of a Python block that starts processes."""

ASSIGNMENT = re.compile(r"\w+=\S+$")

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
        """Reason why a machine without an account and without rights cannot run it, or None."""
        if PLACEHOLDER.search(self.text):
            return "it has a placeholder"
        if "gs://" in self.text or "gcloud" in self.words or "gce" in self.words[1:2]:
            return "it needs a bucket"
        if self.program in ("sudo", "docker"):
            return "it changes the machine"
        if self.program in ("pip", "grpcurl"):
            return "it is not set up by the checkout"
        return None

    @property
    def parsed(self) -> list[str]:
        """The words of the command alone, where its output goes to a variable."""
        inner = re.fullmatch(r"\w+=\$\((.*)\)", self.text)
        return shlex.split(inner[1]) if inner else self.words


@dataclass(frozen=True)
class Block:
    """One block of code of a document: fenced, or indented by four."""

    document: str
    language: str
    text: str

    @property
    def module(self) -> str | None:
        """The name of the file that a Python block is to be saved as, or None."""
        found = re.match(r"# ([\w.]+\.py)\n", self.text)
        return found[1] if found and self.language == "python" else None

    @property
    def program(self) -> str:
        """The text of a Python block that is run as it stands; empty for another block."""
        return self.text if self.language == "python" and not self.module else ""

    @property
    def lines(self) -> list[str]:
        """The lines that a reader types. Where a block has a prompt (`$ `), only lines with it."""
        if self.language not in SHELLS:
            return []
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip()]

    @property
    def commands(self) -> list[Command]:
        """The lines that are commands."""
        return [Command(self.document, line) for line in self.lines if COMMAND.match(line)]


def blocks(path: Path, name: str) -> list[Block]:
    """Return the blocks of code of a document, in their order."""
    return [
        Block(name, found["language"] or "", found["code"])
        if found["code"] is not None
        else Block(name, "", re.sub(r"^ {4}", "", found[0], flags=re.MULTILINE))
        for found in BLOCK.finditer(path.read_text())
    ]


def commands(path: Path, name: str) -> list[Command]:
    """Return the commands of a document, in their order."""
    return [command for block in blocks(path, name) for command in block.commands]
