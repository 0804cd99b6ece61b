"""`python -m mrcore.cost estimate|report`: what a job will cost, and what a cluster has cost."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from mrcore.cost.core.estimate import DISK_GIB, MASTER_TYPE, Plan, estimate, shuffling_stages
from mrcore.cost.prices import load_prices
from mrcore.cost.report import NEWS_SECONDS, read_books, report_json, report_text
from mrcore.cost.text import cost_brief, estimate_brief, estimate_text
from mrcore.errors import MrcoreError, UsageError
from mrcore.model.stages import MAX_STAGES
from mrcore.util.units import parse_size


def main(arguments: Sequence[str]) -> int:
    """Print an estimate or a report; return the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        print(parsed.act(parsed))  # noqa: T201 - the result of the command
    except MrcoreError as error:
        print(f"mrcore cost: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mrcore.cost", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ask = commands.add_parser("estimate", help="before a job: tasks, requests, hours, dollars")
    add = ask.add_argument
    add("--workers", type=int, required=True, metavar="N")
    add("--machine-type", required=True, metavar="TYPE[,TYPE…]")
    add("--provisioning", choices=("spot", "standard"), default="spot")
    add("--spot", dest="provisioning", action="store_const", const="spot")
    add("--region", default="us-central1", metavar="REGION")
    add("--input-bytes", required=True, metavar="SIZE")
    add("--input-files", type=int, default=1, metavar="N")
    add("--map-tasks", type=int, default=0, metavar="N", help="else planned by the input")
    add("--reduces", type=int, metavar="N", help="0: maps alone; else planned by the input")
    add("--steps", type=int, default=1, metavar="N", help="steps of the plugin that reduce")
    add("--hours", type=float, metavar="H", help="of work, where that is known")
    add("--master-type", default=MASTER_TYPE, metavar="TYPE")
    add("--disk-gib", type=float, default=DISK_GIB, metavar="GIB", help="of each machine")
    add("--prices", metavar="FILE", help="a price list of your own (or MRCORE_PRICES)")
    add("--json", action="store_true")
    add("--brief", action="store_true", help="in one sentence")
    ask.set_defaults(act=_estimate)
    tell = commands.add_parser("report", help="while a cluster runs and after: dollars by what for")
    tell.add_argument("--state", required=True, metavar="URI")
    tell.add_argument("--json", action="store_true")
    tell.add_argument("--brief", action="store_true", help="in one sentence")
    tell.add_argument(
        "--booked-after",
        type=float,
        default=0.0,
        metavar="TIME",
        help=f"in seconds since 1970: wait up to {NEWS_SECONDS:g} s for books that are no older",
    )
    tell.set_defaults(act=_report)
    return parser


def _estimate(parsed: argparse.Namespace) -> str:
    try:
        input_bytes = parse_size(parsed.input_bytes)
    except ValueError as error:
        raise UsageError(f"--input-bytes: {error}.") from error
    if parsed.workers < 1:
        raise UsageError("--workers must be at least 1.")
    if parsed.map_tasks < 0:
        raise UsageError("--map-tasks must be at least 0.")
    if not 1 <= parsed.steps < MAX_STAGES:
        raise UsageError(f"--steps must be from 1 to {MAX_STAGES - 1}.")
    if parsed.reduces == 0 and parsed.steps > 1:
        raise UsageError(
            "--reduces 0 means maps alone, and --steps counts steps that reduce. Leave out one of "
            "the two."
        )
    plan = Plan(
        workers=parsed.workers,
        machine_types=tuple(parsed.machine_type.split(",")),
        spot=parsed.provisioning == "spot",
        region=parsed.region,
        input_bytes=input_bytes,
        input_files=parsed.input_files,
        map_tasks=parsed.map_tasks,
        reduces=parsed.reduces,
        stages=() if parsed.reduces == 0 else shuffling_stages(parsed.steps),
        hours=parsed.hours,
        master_type=parsed.master_type,
        disk_gib=parsed.disk_gib,
    )
    found = estimate(plan, load_prices(parsed.prices))
    if parsed.json:
        return _json({**msgspec.to_builtins(found), "requests": found.requests})
    return estimate_brief(found, parsed.input_files) if parsed.brief else estimate_text(found)


def _report(parsed: argparse.Namespace) -> str:
    books = read_books(parsed.state, booked_after=parsed.booked_after)
    if parsed.json:
        return _json(report_json(books))
    return cost_brief(books.spend.total) if parsed.brief else report_text(books)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
