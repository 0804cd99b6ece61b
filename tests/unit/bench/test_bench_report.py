"""Reports of benchmarks: what is written is read again, and a page gets the table in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report
from bench.rows import NO_TARGET, Row, Target
from bench.site import ROOT

ROWS = [
    Row("sort", 1.5, "x", Target(1.4, 2.0), "2.0 s, by hand 3.0 s", {"peer": "by hand"}),
    Row("calls", 12345.0, "calls/s", NO_TARGET, "two workers"),
]


def test_a_report_is_read_as_it_was_written() -> None:
    assert report.decode(report.encode("2 cores", "2026-12-01", ROWS)) == (
        "2 cores",
        "2026-12-01",
        ROWS,
    )


def test_a_page_gets_the_table_in_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{report.BEGIN}\nold\n{report.END}\n\nMore.\n")
    for _ in range(2):
        report.fill(page, "2 cores", "2026-12-01", ROWS)
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{report.BEGIN}\n\n2 cores, 2026-12-01.\n")
    assert "| sort | 1.50 x | at least 1.4 x | reached | 2.0 s, by hand 3.0 s |\n" in text
    assert "| calls | 12,345 calls/s | | | two workers |\n" in text
    assert text.endswith(f"\n{report.END}\n\nMore.\n")
    assert "old" not in text


def test_a_page_without_a_place_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n")
    with pytest.raises(ValueError, match="no place for the table"):
        report.fill(page, "2 cores", "2026-12-01", ROWS)
    assert page.read_text() == "# Title\n"


def test_growth_has_a_place_of_its_own_and_the_picture_comes_first(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{report.BEGIN}\nold\n{report.END}\n{report.BEGIN_GROWTH}\n{report.END}\n")
    grown = [Row("x", 1.0, "s", NO_TARGET, "", {"work": "x", "workers": 2, "megabytes": 1.0})]
    report.fill(page, "2 cores", "2026-12-01", grown, chart=tmp_path / "pictures/x.png")
    text = page.read_text()
    assert text.startswith(f"{report.BEGIN}\nold\n{report.END}\n{report.BEGIN_GROWTH}\n\n![")
    assert "](pictures/x.png)\n\n2 cores, 2026-12-01.\n" in text


def test_the_tables_of_the_documents_are_those_of_their_figures() -> None:
    page = (ROOT / "docs/performance.md").read_text()
    for name, mark in (("performance", report.BEGIN), ("growth", report.BEGIN_GROWTH)):
        between = page.partition(mark)[2].partition(report.END)[0].strip()
        figures = ROOT / f"docs/{name}.json"
        if not figures.exists():
            assert not between, f"the table of {name} is without figures"
            continue
        table = report.markdown(*report.decode(figures.read_text()))
        assert between == f"![The figures below as a picture]({name}.png)\n\n{table}"
        assert (ROOT / f"docs/{name}.png").exists()
