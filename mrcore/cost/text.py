"""Costs in words."""

from __future__ import annotations

from mrcore.cost.core.estimate import Estimate
from mrcore.model.snapshots import Cost
from mrcore.util.units import show_dollars, show_duration, show_number, show_size


def cost_brief(cost: Cost) -> str:
    """Return what was spent, and for what the most."""
    parts = {
        "useful work": cost.useful,
        "booting": cost.boot,
        "idling": cost.idle,
        "work lost to preemption": cost.lost,
        "the master": cost.master,
        "storage operations": cost.operations,
    }
    told = [f"{show_dollars(dollars)} {name}" for name, dollars in parts.items() if dollars > 0]
    return f"it has cost {show_dollars(cost.dollars)} ({', '.join(told) or 'nothing yet'})"


def cost_line(cost: Cost) -> str:
    """Return a cost as one line."""
    return (
        f"${cost.dollars:.4f}: useful {cost.useful:.4f}, boot {cost.boot:.4f}, "
        f"idle {cost.idle:.4f}, lost {cost.lost:.4f} ({cost.preemptions} preemptions), "
        f"master {cost.master:.4f}, operations {cost.operations:.4f} "
        f"({cost.class_a:,} class A, {cost.class_b:,} class B)"
    )


def estimate_brief(found: Estimate, files: int) -> str:
    """Return in one sentence what a job that reads some files will cost."""
    return (
        f"the job reads {show_size(found.input_bytes)} in {show_number(files, 'file')}; it will "
        f"cost about {show_dollars(found.dollars_low)} to {show_dollars(found.dollars_high)} and "
        f"take {show_duration(found.seconds_low)} to {show_duration(found.seconds_high)}."
    )


def estimate_text(found: Estimate, *, with_input: bool = True) -> str:
    """Return an estimate, one figure a line; without its input where no job is known."""
    lines = [
        f"requests  {found.class_a:,} class A, {found.class_b:,} class B "
        f"({show_dollars(found.operations_dollars)})",
        f"VM-hours  {found.vm_hours_low:.2f} to {found.vm_hours_high:.2f}, masters included",
        f"time      {show_duration(found.seconds_low)} to {show_duration(found.seconds_high)}",
        f"cost      {show_dollars(found.dollars_low)} to {show_dollars(found.dollars_high)}, "
        f"at prices of {found.prices_date}",
        *(f"  - {reason}" for reason in found.reasons),
    ]
    if with_input:
        lines[:0] = [
            f"tasks     {_tasks(found)}",
            f"input     {show_size(found.input_bytes)}",
        ]
    return "\n".join(lines)


def _tasks(found: Estimate) -> str:
    counts = {"map": found.map_tasks, "reduce": found.reduce_tasks}
    parts = [f"{count:,} {kind}" for kind, count in counts.items() if count or kind == "map"]
    if found.stages > 2:
        parts.append(f"in {found.stages:,} stages")
    return ", ".join(parts)
