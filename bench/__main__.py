"""`scripts/bench`: runs the benchmarks one after the other and prints a table."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import peers, report
from bench.cases import CASES, GROWTH
from bench.rows import Row, WrongOutputError
from bench.site import FULL, QUICK, ROOT, Bench, machine


def main() -> int:
    """Run what was asked for; return 1 when an output is wrong, 0 otherwise."""
    options = _parse()
    home = ROOT / ".bench"
    failures = 0
    if options.report:
        found = report.decode(options.report.read_text())
        _print(found[2])
    else:
        bench = Bench(home, QUICK if options.quick else FULL)
        if options.peers:
            _install(home, [name for name in peers.REQUIREMENTS if name != "chart"])
        names = options.names or [name for name in CASES if name != GROWTH]
        rows, failures = _measured(bench, names)
        print(f"({machine()}; each output was compared with the other's)")
        found = (machine(), time.strftime("%Y-%m-%d", time.gmtime()), rows)
    if options.json:
        options.json.write_text(report.encode(*found))
    if options.page:
        report.fill(options.page, *found, chart=options.chart)
    if options.chart:
        failures += _draw(home, report.encode(*found), options.chart)
    return min(failures, 1)


def _measured(bench: Bench, names: Sequence[str]) -> tuple[list[Row], int]:
    """Run cases and print their rows; return the rows and the number of cases that failed."""
    rows: list[Row] = []
    failures = 0
    for name in names:
        (bench.home / "out").mkdir(parents=True, exist_ok=True)
        try:
            found = CASES[name](bench)
        except (RuntimeError, WrongOutputError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            failures += 1
            continue
        rows += found
        _print(found)
    return rows, failures


def _print(rows: Sequence[Row]) -> None:
    print("".join(f"{row.line()}\n" for row in rows), end="", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure mrcore.")
    add = parser.add_argument
    names = f"which ones, of {', '.join(CASES)}; default: all but {GROWTH}"
    add("names", nargs="*", metavar="NAME", help=names)
    add("--quick", action="store_true", help="small sizes, to see that it runs")
    add("--json", type=Path, metavar="FILE", help="write the figures as JSON, too")
    add("--report", type=Path, metavar="FILE", help="take the figures of a JSON, and run nothing")
    add("--peers", action="store_true", help="install the other systems first, below .bench/peers")
    add("--chart", type=Path, metavar="FILE", help="draw the ratios, or the growth, as a PNG")
    add("--page", type=Path, metavar="FILE", help="put the table into a page of Markdown")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - CASES.keys())
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(CASES)}")
    return options


def _install(home: Path, names: list[str]) -> None:
    for name in names:
        try:
            peers.install(home, name)
        except peers.NotInstalledError as error:
            print(f"bench: {error}", file=sys.stderr)


def _draw(home: Path, text: str, path: Path) -> int:
    """Draw the chart in the environment that has matplotlib."""
    try:
        python = peers.install(home, "chart")
    except peers.NotInstalledError as error:
        print(f"bench: no chart: {error}", file=sys.stderr)
        return 1
    script = ROOT / "bench/peers/chart.py"
    return subprocess.run([python, script, path], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
