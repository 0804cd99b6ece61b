"""Tables that read well in a terminal and in a notebook."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

_STYLE: Final = (
    "border-collapse:collapse;font-size:90%;background:transparent;color:inherit;margin:0.3em 0"
)
_CELL: Final = "padding:0.2em 0.9em 0.2em 0;text-align:left;border:0;color:inherit"
_HEAD: Final = f"{_CELL};font-weight:600;border-bottom:1px solid rgba(128,128,128,0.5)"
"""Colours are those of the page, and lines half transparent: both fit light and dark pages."""


class Table(Sequence[tuple[str, ...]]):
    """Rows of texts under column names.

    `print` and the last line of a cell show it aligned; iterate over it for the rows, and over
    `dicts()` for rows by column name.
    """

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = ""
    ) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows = [tuple(" ".join(str(cell).split()) for cell in row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[str, ...]:  # type: ignore[override]
        return self.rows[index]

    def dicts(self) -> Iterator[dict[str, str]]:
        """Yield each row by column name."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))

    def __str__(self) -> str:
        """Return the table as aligned lines."""
        lines = [tuple(name.upper() for name in self.columns), *self.rows]
        widths = [max(map(_width, cells)) for cells in zip(*lines, strict=True)]
        shown = (
            "  ".join(
                cell + " " * (width - _width(cell))
                for cell, width in zip(line, widths, strict=True)
            ).rstrip()
            for line in lines
        )
        return "\n".join([*([self.title] if self.title else []), *shown])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        head = "".join(f'<th style="{_HEAD}">{html.escape(name)}</th>' for name in self.columns)
        body = "".join(
            "<tr>"
            + "".join(f'<td style="{_CELL}">{html.escape(cell)}</td>' for cell in row)
            + "</tr>"
            for row in self.rows
        )
        caption = f"<div>{html.escape(self.title)}</div>" if self.title else ""
        return f'{caption}<table style="{_STYLE}"><tr>{head}</tr>{body}</table>'


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.combining(one) > 0 for one in text)


def bar_html(fraction: float, text: str) -> str:
    """Return a bar that is filled by `fraction`, 0 to 1, with a text behind it."""
    percent = round(100 * min(1.0, max(0.0, fraction)))
    return (
        '<div style="display:flex;align-items:center;gap:0.7em;color:inherit">'
        '<div style="width:12em;height:0.7em;border-radius:0.35em;'
        'background:rgba(128,128,128,0.3)">'
        f'<div style="width:{percent}%;height:100%;border-radius:0.35em;'
        'background:rgb(60,130,200)"></div></div>'
        f"<span>{html.escape(text)}</span></div>"
    )


def paragraph(text: str) -> str:
    """Return a line of text for a notebook."""
    return f'<div style="color:inherit">{html.escape(text)}</div>'
