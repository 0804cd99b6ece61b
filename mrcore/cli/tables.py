"""Tables: aligned under a bold header on a terminal, tab-separated lines when piped.

Each row is one line. A narrow terminal wraps the line itself, so that copied text, such as a job
id, has no line break inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from mrcore.cli.base import on_terminal


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header; each row has one cell per column."""
    table = [[_one_line(cell) for cell in row] for row in (columns, *rows)]
    if not on_terminal():
        for line in table:
            click.echo("\t".join(line))
        return
    from rich.cells import cell_len

    widths = [max(map(cell_len, cells)) for cells in zip(*table, strict=True)]
    for number, line in enumerate(table):
        padded = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        )
        text = "  ".join(padded).rstrip()
        click.echo(text if number else click.style(text, bold=True))


def moment(seconds: float) -> str:
    """Return a wall-clock time in the local time zone; `-` for 0."""
    if not seconds:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _one_line(text: str) -> str:
    return " ".join(text.split())
