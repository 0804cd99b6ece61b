"""Tables: aligned and bold on a terminal, tab-separated lines when piped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from mrcore.cli.base import on_terminal


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header. When piped there is one line a row, cells divided by tabs."""
    if not on_terminal():
        for row in (columns, *rows):
            click.echo("\t".join(_one_line(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_one_line(cell)) for cell in row))
    Console(highlight=False).print(table)


def moment(seconds: float) -> str:
    """Return a wall-clock time in this machine's zone; `-` for 0."""
    if not seconds:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _one_line(text: str) -> str:
    return " ".join(text.split())
