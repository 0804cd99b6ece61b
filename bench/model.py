"""Costs of large jobs on spot VMs, from the speed of a core that the benchmarks measure.

python -m bench.model NAME=SPEED...   the speed of a core at each workload, in 10^6 bytes a second
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mrcore.cost.core.estimate import Estimate, Plan, estimate
from mrcore.cost.prices import Prices, load_prices
from mrcore.util.units import show_duration

MACHINE: Final = "t2d-standard-16"
CORES: Final = 16
REGION: Final = "us-central1"


@dataclass(frozen=True, slots=True)
class Scale:
    """Size of a job, and of the fleet for it."""

    terabytes: int
    workers: int


SCALES: Final = (Scale(1, 8), Scale(10, 40), Scale(100, 200))


def costs(speed: float, scale: Scale, prices: Prices) -> Estimate:
    """Return the estimate of a job whose cores take `speed` bytes a second."""
    size = scale.terabytes * 10**12
    plan = Plan(
        workers=scale.workers,
        machine_types=(MACHINE,),
        spot=True,
        region=REGION,
        input_bytes=size,
        input_files=size // (1 << 28),
        hours=size / (speed * scale.workers * CORES) / 3600,
    )
    return estimate(plan, prices)


def lines(speeds: dict[str, float], prices: Prices) -> list[str]:
    """Return a table of Markdown, with a row for each workload and scale."""
    found = [
        "| workload | data | workers | tasks | requests | time | dollars | of it requests "
        "| a terabyte |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, speed in speeds.items():
        for scale in SCALES:
            cost = costs(speed, scale, prices)
            low, high = cost.dollars_low, cost.dollars_high
            time = f"{show_duration(cost.seconds_low)} to {show_duration(cost.seconds_high)}"
            found.append(
                f"| {name} | {scale.terabytes} TB | {scale.workers} | {cost.tasks:,} "
                f"| {cost.requests:,} | {time} | {low:,.2f} to {high:,.2f} "
                f"| {cost.operations_dollars:,.2f} "
                f"| {low / scale.terabytes:.2f} to {high / scale.terabytes:.2f} |"
            )
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    pairs = [argument.partition("=") for argument in arguments]
    speeds = {name: float(number) * 1e6 for name, _, number in pairs}
    print("\n".join(lines(speeds, load_prices())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
