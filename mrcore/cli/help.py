"""Help texts that fit the terminal, down to forty columns, and break no word.

click formats for at least fifty columns, and puts the help of an option beside its name. On a
narrow terminal that leaves a column of some letters, and the terminal cuts what is too long.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final

import click

NARROW_COLUMNS: Final = 60
"""Below this width the help of an option stands under its name."""
_LEAST_COLUMNS: Final = 20
_MARGIN: Final = 2
"""Columns that stay free at the right, as click leaves them."""
_GAP: Final = re.compile(r"(?<=\S) {2,}(?=\S)")
"""Gap between a command and its explanation, in a block that is laid out by hand."""
_UNBROKEN: Final = "\u2011"
"""Hyphen in place of others while click wraps a text: it would break options there."""
_CHOICE: Final = re.compile(r"[^|\s]+\|?|\s+")


class HelpFormatter(click.HelpFormatter):
    """Formatter of help texts for any width."""

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        if width is None:
            columns = shutil.get_terminal_size().columns
            if columns - _MARGIN < NARROW_COLUMNS:
                width = max(columns - _MARGIN, _LEAST_COLUMNS)
        super().__init__(indent_increment, width, max_width)

    def write(self, string: str) -> None:
        """Append a text."""
        super().write(string.replace(_UNBROKEN, "-"))

    @property
    def is_narrow(self) -> bool:
        """Return whether there is no room for two columns."""
        return self.width < NARROW_COLUMNS

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the line that shows how the command is typed."""
        if not self.is_narrow:
            super().write_usage(prog, args, prefix)
            return
        self._write_lines(f"{prefix or 'Usage: '}{prog} {args}".rstrip(), hanging=4)

    def write_text(self, text: str) -> None:
        """Write paragraphs; a block that is laid out by hand is wrapped only where it must be."""
        if not self.is_narrow:
            super().write_text(text.replace("-", _UNBROKEN))
            return
        for number, paragraph in enumerate(text.split("\n\n")):
            if number:
                self.write("\n")
            if not paragraph.lstrip(" \n").startswith("\b"):
                self._write_lines(" ".join(paragraph.split()))
                continue
            for line in paragraph.lstrip(" \n")[1:].strip("\n").splitlines():
                self._write_raw(line)

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write names with their texts, side by side or one below the other."""
        if not self.is_narrow:
            unbroken = [(name, text.replace("-", _UNBROKEN)) for name, text in rows]
            super().write_dl(unbroken, col_max, col_spacing)
            return
        for name, text in rows:
            self._write_lines(name, hanging=4)
            if text:
                with self.indentation():
                    self._write_lines(" ".join(text.split()))

    def _write_raw(self, line: str) -> None:
        """Write a line of a block; what does not fit goes on below, further to the right."""
        indent = len(line) - len(line.lstrip())
        self.current_indent += indent
        head, *notes = _GAP.split(line.strip())
        if self.current_indent + len(line.strip()) <= self.width:
            self.write(f"{' ' * self.current_indent}{line.strip()}\n")
        else:
            self._write_lines(head, hanging=4)
            with self.indentation():
                for note in notes:
                    self._write_lines(note)
        self.current_indent -= indent

    def _write_lines(self, text: str, hanging: int = 0) -> None:
        indent = " " * self.current_indent
        lines = textwrap.wrap(
            " ".join(_words(text, self.width - self.current_indent - hanging)),
            self.width,
            initial_indent=indent,
            subsequent_indent=indent + " " * hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines:
            # A path may be longer than what is left beside the indent.
            self.write(f"{line if len(line) <= self.width else line.strip().rjust(self.width)}\n")


def _words(text: str, width: int) -> Iterator[str]:
    """Yield the words of a text; a list of choices that is longer than a line is broken at bars."""
    for word in text.split():
        if len(word) <= width or "|" not in word:
            yield word
        else:
            yield from _CHOICE.findall(word)


class HelpContext(click.Context):
    """Context whose help texts fit the terminal."""

    formatter_class = HelpFormatter


class Command(click.Command):
    """Command whose help fits the terminal."""

    context_class = HelpContext


class Group(click.Group):
    """Group whose help fits the terminal."""

    context_class = HelpContext
