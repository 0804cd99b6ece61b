"""Reports of a run of benchmarks: JSON, and the table of a page of the documents."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.rows import Row, Target, shown_value

BEGIN: Final = "<!-- scripts/bench writes this table -->"
BEGIN_GROWTH: Final = "<!-- scripts/bench growth writes this table -->"
END: Final = "<!-- end of the table -->"


def encode(machine: str, date: str, rows: Sequence[Row]) -> str:
    """Return a report as JSON."""
    report = {"machine": machine, "date": date, "rows": [row.record() for row in rows]}
    return json.dumps(report, indent=2) + "\n"


def decode(text: str) -> tuple[str, str, list[Row]]:
    """Return machine, date and rows of a report."""
    report: dict[str, Any] = json.loads(text)
    return report["machine"], report["date"], [_row(one) for one in report["rows"]]


def _row(record: dict[str, Any]) -> Row:
    target = Target(**record["target"])
    names = ("name", "value", "unit", "detail", "point")
    return Row(target=target, **{name: record[name] for name in names})


def markdown(machine: str, date: str, rows: Sequence[Row]) -> str:
    """Return the table of a page: what was measured, its figure, and what is wanted."""
    lines = [f"{machine}, {date}.", "", "| work | figure | wanted | | measured |"]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {shown_value(row.value)} {row.unit} | {row.target.shown(row.unit)} "
        f"| {row.verdict} | {row.detail} |".replace("  |", " |")
        for row in rows
    ]
    return "\n".join(lines)


def fill(
    page: Path, machine: str, date: str, rows: Sequence[Row], *, chart: Path | None = None
) -> None:
    """Put the table between the two marks of a page, after the chart; growth has its own marks.

    Raises ValueError where the page lacks one of them.
    """
    grows = all("workers" in (row.point or {}) for row in rows)
    mark = BEGIN_GROWTH if grows else BEGIN
    before, begin, rest = page.read_text().partition(mark)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{page} has no place for the table. Mark it by {mark} and {END}.")
    table = markdown(machine, date, rows)
    place = "" if chart is None else os.path.relpath(chart, page.parent)
    picture = f"![The figures below as a picture]({place})\n\n" if place else ""
    page.write_text(f"{before}{begin}\n\n{picture}{table}\n\n{end}{after}")
