"""`mrcore gce audit`: all that mrcore has in a project."""

from __future__ import annotations

from datetime import UTC, datetime

from mrcore.gce.console import say, show_json, show_table
from mrcore.gce.inventory import Inventory, Row
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner
from mrcore.util.clock import SYSTEM

COLUMNS = ("cluster", "kind", "name", "place", "state", "owner", "expires", "verdict")
MAY_STAY = ("live", "kept")


def audit(options: Options) -> int:
    """List what is there; return 1 if something should not be there, else 0.

    With `--name` nothing should.
    """
    runner = Runner("audit", options)
    runner.settle_place()
    if options.name:
        runner.settle_name()
    inventory = runner.inventory
    inventory.take(options.name)
    inventory.add_traces(runner.bucket, options.name)
    if not options.name:
        runner.crew.do(inventory.add_images)
    now = int(SYSTEM.wall())
    rows = [_cells(row, verdict(inventory, row, now)) for row in inventory.rows]
    rows.sort(key=lambda row: list(row.values()))
    if options.as_json:
        show_json(rows)
    elif rows:
        for row in rows:
            row["expires"] = _moment(row["expires"])
        show_table([name.upper() for name in COLUMNS], [list(row.values()) for row in rows])
    else:
        say(f"mrcore has nothing in project {runner.project}.")
    return int(any(options.name or row["verdict"] not in MAY_STAY for row in rows))


def verdict(inventory: Inventory, row: Row, now: int) -> str:
    """Return `live`, `kept`, `orphan` or `expired`."""
    if row.kind == "image":
        return "kept"
    if not row.expires.isdecimal():
        return "orphan"
    return "expired" if inventory.latest_expiry(row.cluster) < now else "live"


def _cells(row: Row, state: str) -> dict[str, str]:
    cells = {column: getattr(row, column) for column in COLUMNS if column != "verdict"}
    return cells | {"verdict": state}


def _moment(seconds: str) -> str:
    """Return a time for people, in the zone of this machine."""
    if not seconds:
        return ""
    try:
        return datetime.fromtimestamp(int(seconds), UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "?"
