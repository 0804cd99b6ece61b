"""Costs in words."""

from __future__ import annotations

from mrcore.views import Cost


def cost_line(cost: Cost) -> str:
    """Return a cost as one line."""
    return (
        f"${cost.dollars:.4f}: useful {cost.useful:.4f}, boot {cost.boot:.4f}, "
        f"idle {cost.idle:.4f}, lost {cost.lost:.4f} ({cost.preemptions} preemptions), "
        f"master {cost.master:.4f}, operations {cost.operations:.4f} "
        f"({cost.class_a:,} class A, {cost.class_b:,} class B)"
    )
