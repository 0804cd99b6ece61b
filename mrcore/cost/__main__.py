"""`python -m mrcore.cost estimate|report`: what a job will cost, and what a cluster has cost."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from mrcore.cost.core.estimate import DISK_GIB, MASTER_TYPE, Estimate, Plan, estimate
from mrcore.cost.core.ledger import Spend
from mrcore.cost.prices import load_prices
from mrcore.cost.text import cost_brief, cost_line
from mrcore.errors import MrcoreError, NotFoundError, UsageError
from mrcore.model import object_names
from mrcore.model.snapshots import cost_json
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM
from mrcore.util.units import parse_size, show_dollars, show_duration, show_number, show_size

NEWS_SECONDS: Final = 10.0
"""A master that lives looks at its fleet more often than that."""
_PAUSE_SECONDS: Final = 0.5


class _Books(msgspec.Struct):
    """What is read of a fleet's document."""

    spend: Spend
    wall_seconds: float = 0.0


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
    add("--reduces", type=int, metavar="N", help="0: maps alone; else planned by the input")
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
    plan = Plan(
        workers=parsed.workers,
        machine_types=tuple(parsed.machine_type.split(",")),
        spot=parsed.provisioning == "spot",
        region=parsed.region,
        input_bytes=input_bytes,
        input_files=parsed.input_files,
        reduces=parsed.reduces,
        hours=parsed.hours,
        master_type=parsed.master_type,
        disk_gib=parsed.disk_gib,
    )
    found = estimate(plan, load_prices(parsed.prices))
    if parsed.json:
        return _json({**msgspec.to_builtins(found), "requests": found.requests})
    if parsed.brief:
        return (
            f"the job reads {show_size(found.input_bytes)} in "
            f"{show_number(parsed.input_files, 'file')}; it will cost about "
            f"{show_dollars(found.dollars_low)} to {show_dollars(found.dollars_high)} and take "
            f"{show_duration(found.seconds_low)} to {show_duration(found.seconds_high)}."
        )
    return _estimate_text(found)


def _estimate_text(found: Estimate) -> str:
    lines = [
        f"tasks     {found.map_tasks:,} map, {found.reduce_tasks:,} reduce",
        f"input     {show_size(found.input_bytes)}",
        f"requests  {found.class_a:,} class A, {found.class_b:,} class B "
        f"({show_dollars(found.operations_dollars)})",
        f"VM-hours  {found.vm_hours_low:.2f} to {found.vm_hours_high:.2f}, the master's too",
        f"time      {show_duration(found.seconds_low)} to {show_duration(found.seconds_high)}",
        f"cost      {show_dollars(found.dollars_low)} to {show_dollars(found.dollars_high)}, "
        f"at prices of {found.prices_date}",
    ]
    return "\n".join([*lines, *(f"  - {reason}" for reason in found.reasons)])


def _report(parsed: argparse.Namespace) -> str:
    uri = object_names.fleet_uri(parsed.state.rstrip("/"))
    end = SYSTEM.monotonic() + NEWS_SECONDS
    while (books := _read(uri)).wall_seconds < parsed.booked_after and SYSTEM.monotonic() < end:
        SYSTEM.sleep(_PAUSE_SECONDS)
    spend = books.spend
    if parsed.json:
        jobs = {job_id: cost_json(cost) for job_id, cost in spend.jobs.items()}
        return _json(
            {
                **cost_json(spend.total),
                "machines": len(spend.machines),
                "at_seconds": books.wall_seconds,
                "jobs": jobs,
            }
        )
    if parsed.brief:
        return cost_brief(spend.total)
    lines = [f"all       {cost_line(spend.total)}"]
    lines += [f"{job_id}  {cost_line(cost)}" for job_id, cost in spend.jobs.items()]
    lines.append(f"machines  {len(spend.machines)} are paid for now")
    return "\n".join(lines)


def _read(uri: str) -> _Books:
    try:
        return msgspec.json.decode(storage_for(uri).read(uri), type=_Books)
    except NotFoundError as error:
        raise UsageError(f"{uri} is not there: no master with a fleet has run.") from error
    except msgspec.MsgspecError as error:
        raise MrcoreError(f"{uri} cannot be read ({error}).") from error


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
