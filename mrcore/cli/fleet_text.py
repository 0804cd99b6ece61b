"""Text about a fleet: its machines, their cost, and its problems."""

from __future__ import annotations

from mrcore.cost.text import cost_line
from mrcore.model.snapshots import FleetGroupView, FleetView
from mrcore.util.units import show_dollars, show_number


def fleet_lines(fleet: FleetView) -> list[str]:
    """Return the lines that `mrcore show` prints about a fleet."""
    lines = [
        f"fleet      {fleet.joined_workers} of {show_number(fleet.wanted_workers, 'worker')} at "
        f"work, at most {fleet.max_workers}, of the cluster {fleet.cluster} in {fleet.target}"
    ]
    lines += [f"  {_group(group)}" for group in fleet.groups if group.target_size]
    limit = f" of {show_dollars(fleet.max_cost)} allowed" if fleet.max_cost is not None else ""
    lines.append(f"spent      ${fleet.cost.dollars:.4f}{limit}, ${fleet.hour_dollars:.4f} an hour")
    lines.append(f"  {cost_line(fleet.cost)}")
    if fleet.preemptions_per_hour is not None:
        lines.append(
            f"preempted  {show_number(fleet.cost.preemptions, 'machine')}: "
            f"{fleet.preemptions_per_hour:.2f} for each hour of a spot machine"
        )
    lines += [f"note       {note}" for note in fleet.notes]
    return lines


def _group(group: FleetGroupView) -> str:
    coming = f", {group.coming} being made" if group.coming else ""
    return (
        f"{group.model} {group.machine_type}: {group.machines} of {group.target_size}{coming}, "
        f"${group.hour_dollars:.4f} an hour each"
    )
