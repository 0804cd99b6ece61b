"""`scripts/bench`: runs the benchmarks one after the other and prints a table."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from bench.cases import CASES, FULL, QUICK, ROOT, Bench, Row, WrongOutputError, machine


def main() -> int:
    """Run what was asked for; return 1 when an output is wrong, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure mrcore.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - CASES.keys())
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(CASES)}")
    bench = Bench(ROOT / ".bench", QUICK if options.quick else FULL)
    (bench.home / "out").mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.names or CASES:
        (bench.home / "out").mkdir(exist_ok=True)
        try:
            row = CASES[name](bench)
        except (RuntimeError, WrongOutputError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            return 1
        rows.append(row)
        if not options.json:
            print(line(row), flush=True)
    if options.json:
        print(json.dumps([{**asdict(row), "reached": row.reached} for row in rows], indent=2))
    else:
        print(f"({machine()}; each output was compared with the peer's)")
    return 0


def line(row: Row) -> str:
    """Return the line of the table for one benchmark."""
    bound = "at least" if row.higher_is_better else "at most"
    verdict = "reached" if row.reached else "MISSED"
    value = f"{row.value:,.2f} {row.unit}" if row.value < 100 else f"{row.value:,.0f} {row.unit}"
    target = f"{bound} {row.target:g} {row.unit}"
    return f"{row.name:38} {value:>14}  {target:22} {verdict:8} {row.detail}"


if __name__ == "__main__":
    sys.exit(main())
