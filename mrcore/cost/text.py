"""Costs in words."""

from __future__ import annotations

from mrcore.model.snapshots import Cost
from mrcore.util.units import show_dollars


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
