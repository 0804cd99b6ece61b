"""`scripts/bench`: runs the benchmarks one after the other and prints a table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from bench import peers
from bench.cases import CASES
from bench.rows import Row, WrongOutputError
from bench.site import FULL, QUICK, ROOT, Bench, machine


def main() -> int:
    """Run what was asked for; return 1 when an output is wrong, 0 otherwise."""
    options = _parse()
    bench = Bench(ROOT / ".bench", QUICK if options.quick else FULL)
    (bench.home / "out").mkdir(parents=True, exist_ok=True)
    if options.peers:
        _install(bench.home, [name for name in peers.REQUIREMENTS if name != "chart"])
    rows: list[Row] = []
    for name in options.names or CASES:
        (bench.home / "out").mkdir(exist_ok=True)
        try:
            found = CASES[name](bench)
        except (RuntimeError, WrongOutputError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            return 1
        rows += found
        if not options.json:
            print("".join(f"{row.line()}\n" for row in found), end="", flush=True)
    if options.json:
        print(_report(rows))
    else:
        print(f"({machine()}; each output was compared with the other's)")
    return _draw(bench.home, rows, options.chart) if options.chart else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure mrcore.")
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"which ones, of {', '.join(CASES)}; default: all")
    add("--quick", action="store_true", help="small sizes, to see that it runs")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--peers", action="store_true", help="install the other systems first, below .bench/peers")
    add("--chart", type=Path, metavar="FILE", help="draw the ratios as a PNG")
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


def _report(rows: list[Row]) -> str:
    report = {"machine": machine(), "rows": [row.record() for row in rows]}
    return json.dumps(report, indent=2)


def _draw(home: Path, rows: list[Row], path: Path) -> int:
    """Draw the chart in the environment that has matplotlib."""
    try:
        python = peers.install(home, "chart")
    except peers.NotInstalledError as error:
        print(f"bench: no chart: {error}", file=sys.stderr)
        return 1
    script = ROOT / "bench/peers/chart.py"
    done = subprocess.run([python, script, path], input=_report(rows), text=True, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
