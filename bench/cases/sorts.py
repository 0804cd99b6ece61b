"""Sorts in total order, against GNU sort and DuckDB."""

from __future__ import annotations

from bench import data, peers
from bench.rows import Row, Target
from bench.site import Bench, ratio, same_bytes


def sort_arrow(bench: Bench) -> list[Row]:
    """Sort records of 100 bytes by batches, against GNU sort and DuckDB."""
    return _sort(bench, "examples/sort_arrow.py", "arrow", Target(1.4, 2.0), Target(0.9, 1.2))


def sort_text(bench: Bench) -> list[Row]:
    """Sort records of 100 bytes line by line, against GNU sort."""
    return _sort(bench, "examples/sort.py", "text", Target(0.6, 0.9))


def _sort(
    bench: Bench,
    plugin: str,
    input_format: str,
    target: Target,
    duckdb_target: Target | None = None,
) -> list[Row]:
    folder = data.records(bench.home, bench.sizes.records)
    options = ("--total-order", "--input-format", input_format)

    others = [bench.gnu_sort(folder)]
    duckdb = peers.installed(bench.home, "duckdb") if duckdb_target is not None else None
    if duckdb is not None:
        others.append(peers.run_of(duckdb, "duckdb_sort.py", bench.other_output, folder))
    ours, *theirs = bench.in_turn(
        lambda: bench.job("sort", plugin, folder, *options), others, same_bytes
    )
    name = f"sort, {bench.sizes.records:,} records, {input_format}"
    rows = [ratio(name, ours, theirs[0], "sort --parallel=2", target)]
    if duckdb is not None and duckdb_target is not None:
        name = f"sort, {input_format}, against DuckDB"
        rows.append(ratio(name, ours, theirs[1], "DuckDB", duckdb_target))
    return rows
