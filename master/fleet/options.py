"""Options of a fleet, from the command line or a machine's environment."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from mrcore.errors import UsageError
from mrcore.util.units import parse_duration

if TYPE_CHECKING:
    from mrcore.master.fleet.cloud import Target
    from mrcore.master.fleet.core.model import Bounds

T = TypeVar("T")

_IDLE_TIMEOUT: Final = "15m"
_SPOT_ATTEMPTS: Final = 3
_LOGS: Final = "logs"
_STATE: Final = "/state"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """Target, bounds and prices of the machines that a master creates and deletes."""

    target: Target
    bounds: Bounds
    prices: str | None = None
    """File that replaces the built-in price list."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; each may also be set in the environment, e.g. as MRCORE_MAX_WORKERS."""
    group = parser.add_argument_group(
        "a fleet on Google Compute Engine",
        "Each option may also be set in the environment, e.g. --max-workers as MRCORE_MAX_WORKERS.",
    )
    add = group.add_argument
    add("--fleet", metavar="TARGET", help="gce:PROJECT/zones/ZONE or gce:PROJECT/regions/REGION")
    add("--cluster", metavar="NAME", help="name of the cluster; its groups are mrcore-NAME-*")
    add("--max-workers", metavar="N", help="largest number of machines")
    add("--min-workers", metavar="N", help="smallest number of machines (default: 0)")
    add("--deadline", metavar="DURATION", help="target time of a job; the fleet grows to meet it")
    add("--max-cost", metavar="DOLLARS", help="budget; beyond it jobs fail and workers are deleted")
    add(
        "--idle-timeout",
        metavar="DURATION",
        help=f"delete all machines after this time without a job (default: {_IDLE_TIMEOUT}; "
        "0: never)",
    )
    add(
        "--spot-attempts",
        metavar="N",
        help=f"attempts to get spot machines before paying on demand (default: {_SPOT_ATTEMPTS})",
    )
    add("--prices", metavar="FILE", help="price list that replaces the built-in one")


def fleet_options(
    parsed: argparse.Namespace, state_uri: str, environment: Mapping[str, str]
) -> FleetOptions | None:
    """Return the fleet's options, or None without a fleet; raise UsageError for a bad value."""

    def given(name: str) -> str | None:
        value: str | None = getattr(parsed, name)
        if value is None:
            value = environment.get(f"MRCORE_{name.upper()}")
        return value or None

    def read(name: str, convert: Callable[[str], T], default: T) -> T:
        text = given(name)
        if text is None:
            return default
        try:
            return convert(text)
        except ValueError as error:
            raise UsageError(f"--{name.replace('_', '-')} {text}: {error}.") from None

    target = given("fleet")
    if target is None:
        return None
    if given("max_workers") is None:
        raise UsageError(
            "--fleet needs --max-workers. Add the largest number of machines it may have."
        )
    # Loaded where there is a fleet, so that a small job on one machine starts fast.
    from mrcore.master.fleet.cloud import parse_target
    from mrcore.master.fleet.core.model import Bounds

    no_limit: float | None = None
    idle_timeout: float | None = parse_duration(_IDLE_TIMEOUT)
    bounds = Bounds(
        max_workers=read("max_workers", _count, 0),
        min_workers=read("min_workers", _count, 0),
        deadline_seconds=read("deadline", _duration, no_limit),
        max_cost=read("max_cost", _dollars, no_limit),
        idle_timeout_seconds=read("idle_timeout", _duration, idle_timeout),
        spot_attempts=read("spot_attempts", _count, _SPOT_ATTEMPTS),
        logs_uri=f"{state_uri.removesuffix(_STATE)}/{_LOGS}" if state_uri.endswith(_STATE) else "",
    )
    return FleetOptions(
        target=parse_target(target, given("cluster") or ""), bounds=bounds, prices=given("prices")
    )


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= count <= 10_000:
        raise ValueError("write a number from 0 to 10,000")
    return count


def _duration(text: str) -> float | None:
    return parse_duration(text) or None


def _dollars(text: str) -> float | None:
    try:
        dollars = float(text)
    except ValueError:
        dollars = 0.0
    if not 0 < dollars < 1e9:
        raise ValueError("write an amount of dollars, such as 2.50")
    return dollars
