"""The runner's words: sentences on stderr, results on stdout, questions, and commands to paste."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mrcore.errors import MrcoreError, UsageError

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=@%+,^-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPES: Final = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def say(text: str) -> None:
    """Write one sentence to a person.

    A reader who has left changes nothing: a run goes on, and removes its VMs at its end. One write
    without a buffer, so that a signal handler may use it at any moment.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"mrcore gce: {text}\n".encode())


def show(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """Write one JSON value to stdout."""
    show(json.dumps(value, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows under a header, in aligned columns."""
    lines = [columns, *rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        show("  ".join(padded).rstrip())


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed. Where nobody can answer, `--yes` has to.

    Raises UsageError without a terminal, and MrcoreError for any answer but yes.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Add --yes to do it without a question.")
    with contextlib.suppress(OSError):
        os.write(2, f"mrcore gce: {question} [y/N] ".encode())
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise MrcoreError("nothing was done.")


def quoted(words: Iterable[str]) -> str:
    """Return a command as one can paste it into a shell."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    if not _CONTROL.search(word):
        return "'" + word.replace("'", "'\\''") + "'"
    escaped = "".join(_ESCAPES.get(char, char) for char in word)
    return "$'" + _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", escaped) + "'"
