"""Limits of time and memory that a child must keep to while it runs an attempt."""

from __future__ import annotations

from mrcore.model.job import JobSpec
from mrcore.tasks.child.attempt_log import MAX_LOG_BYTES
from mrcore.tasks.child.protocol import Order
from mrcore.worker.shell import exit_reasons
from mrcore.worker.shell.child_process import ChildProcess


def enforce_limits(child: ChildProcess, order: Order, spec: JobSpec, now: float) -> None:
    """Kill a child that takes more time or memory than the job of its order allows.

    A log that has grown too long is emptied.
    """
    view = child.view()
    limit = spec.task_timeout_seconds
    if limit is not None and now - view.started_at > limit:
        child.kill(exit_reasons.timeout_reason(limit, spec), view)
    limit = spec.record_timeout_seconds
    if limit is not None:
        seconds = child.record_clock.look(now, view.begun, view.function, view.mark, view.visit)
        if seconds > limit:
            child.kill(exit_reasons.record_timeout_reason(limit), view)
    used = child.used_bytes(order.memory_bytes, now)
    if order.memory_bytes and used > order.memory_bytes:
        child.kill(exit_reasons.memory_reason(used, order.memory_bytes, spec), view)
    child.trim_log(MAX_LOG_BYTES)
