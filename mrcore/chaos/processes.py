"""Processes of a cluster, as /proc shows them, and signals to them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mrcore.tasks.child.fork_server import CHILD_MODULE
from mrcore.util import proc

_CHILD: Final = CHILD_MODULE.encode()


def task_children(worker: int) -> list[int]:
    """Return the processes of a worker that run user code, or wait to do so."""
    return [child for child in proc.descendants(worker) if _CHILD in _command(child)]


def newest(process_ids: Iterable[int]) -> int | None:
    """Return the process that was started last; None where there is none.

    Of several children of a slot it is the one at work. Those of former jobs idle.
    """
    return max(process_ids, key=proc.started_ticks, default=None)


def send(process_ids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes; those that are gone are passed over."""
    for process_id in process_ids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)


def _command(process_id: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
