"""The ban on jobs that are started by a job's own code.

A script that names itself as its plugin is imported again by the check of the plugin and by each
task. Without a main guard it would start the same job there, and so on without end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Final

from mrcore.errors import UsageError

GUARD: Final = 'if __name__ == "__main__":'

_whole_process = False
_here: ContextVar[bool] = ContextVar("mrcore_runs_user_code", default=False)
"""True in the thread in which the inline engine runs a job; other threads may start theirs."""


class NestedJobError(UsageError):
    """A job's own code has started another one."""


def forbid_jobs() -> None:
    """Refuse to start jobs in this process from now on: it runs the code of one."""
    global _whole_process  # noqa: PLW0603 - it is a property of the process
    _whole_process = True


@contextlib.contextmanager
def jobs_forbidden() -> Iterator[None]:
    """Refuse to start jobs in this thread for the time of the block."""
    check_allowed()
    token = _here.set(True)
    try:
        yield
    finally:
        _here.reset(token)


def check_allowed() -> None:
    """Raise NestedJobError where a job's own code would start a job or a cluster."""
    if _whole_process or _here.get():
        raise NestedJobError(
            "The code of a job cannot start a job or a cluster: if this is the script that starts "
            f"the job, guard that part by `{GUARD}`."
        )
