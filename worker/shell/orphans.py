"""Processes that user code has started and that have lost their parent.

A child's processes are found by their descent while each has a living parent. When one in between
has ended, the kernel gives its children to the nearest subreaper above, which is the worker. All of
them carry the mark of their child in their environment, so that they are found even after a kill
of the worker: its successor ends what carries a mark of a folder whose worker is gone. Children
become the worker's own in the same way, when the process that has forked them ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from mrcore.tasks.child.environment import MARK
from mrcore.util.proc import children, descendants, environment_of, group_of
from mrcore.worker.core.limits import DEFAULT, Limits

_PR_SET_CHILD_SUBREAPER: Final = 36
_SWEEPS: Final = 10
"""Looks for marked processes, which may start others meanwhile."""


def child_mark(scratch: Path, number: int) -> str:
    """Return the mark of a worker's child, counted from 1; 0 is its fork server."""
    return f"{scratch}{os.sep}child-{number:010d}"


def adopt_orphans(adopt: bool = True) -> None:
    """Have the kernel give this process the orphans among its descendants."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def end_processes(process_ids: Iterable[int]) -> None:
    """Kill these processes, as far as they are there and may be killed."""
    for process_id in process_ids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process_id, signal.SIGKILL)


def sweep_marked(folder: Path) -> None:
    """Kill what the children of a worker that is gone have left: its scratch was `folder`."""
    prefix = f"{folder}{os.sep}"
    for _ in range(_SWEEPS):
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        left = [number for number in numbers if _mark_of(number).startswith(prefix)]
        if not left:
            return
        end_processes(left)


class Orphans:
    """The orphans that this process has adopted, each with the mark of its child.

    One without a mark, since user code had cleared its environment, may belong to any child: it is
    left alone until the worker ends.
    """

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self._limits = limits
        self._marks: dict[int, str] = {}

    def look(self, own: Collection[int]) -> None:
        """Look for orphans anew, and collect dead ones; `own` are processes of the worker's."""
        found: dict[int, str] = {}
        for process_id in children(os.getpid()):
            if len(found) >= self._limits.orphans_max:
                break  # what is ended now makes room for the others at the next look
            group, is_dead = group_of(process_id)
            # Children have groups of their own: in ours is what our libraries have started.
            if process_id in own or group in (0, os.getpgrp()):
                continue
            if is_dead:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process_id, os.WNOHANG)
            else:
                found[process_id] = self._marks.get(process_id) or _mark_of(process_id)
        self._marks = found

    def of(self, mark: str) -> list[int]:
        """Return the orphans of one child, with all that they have started."""
        return _families(found for found, its_mark in self._marks.items() if its_mark == mark)

    def end_others(self, marks: Collection[str]) -> None:
        """Kill the orphans whose child is gone: all those with another mark than these."""
        gone = (found for found, mark in self._marks.items() if mark and mark not in marks)
        end_processes(_families(gone))

    def end_all(self) -> None:
        """Kill all orphans, those without a mark too."""
        end_processes(_families(self._marks))


def _families(heads: Iterable[int]) -> list[int]:
    return [each for head in heads for each in (head, *descendants(head))]


def _mark_of(process_id: int) -> str:
    return environment_of(process_id, MARK)
