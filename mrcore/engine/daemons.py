"""Processes of masters and workers on this machine, and how they are started."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

STOP_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL, for the workers together and then for the master."""
_TAIL_BYTES: Final = 2_000


def daemon_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a master or worker.

    PYTHONPATH moves to MRCORE_CHILD_PYTHONPATH, from which a worker restores it for its children. A
    module there may have the name of a library that only the daemons need, as `logging` or `grpc`.
    It is meant for the user's code, and must not replace the library in a daemon.
    """
    result = dict(os.environ if environment is None else environment)
    path = result.pop("PYTHONPATH", None)
    if path is not None:
        result["MRCORE_CHILD_PYTHONPATH"] = path
    return result


def daemon_command(daemon: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts the daemon `master` or `worker` with this Python."""
    return [sys.executable, "-P", "-m", f"mrcore.{daemon}", *arguments]


class Daemon:
    """One process of the cluster: its command, its log, and whether it lives."""

    def __init__(self, module: str, arguments: Sequence[str], log_path: Path) -> None:
        self.module = module
        self.arguments = list(arguments)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cwd: Path, pass_fds: Sequence[int], extra: Sequence[str] = ()) -> None:
        """Start, or start again."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                daemon_command(self.module, [*self.arguments, *extra]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=daemon_environment(),
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        """Return the id of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return how the process ended; None while it lives."""
        assert self._process is not None
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to leave."""
        if self._process is not None:
            self._process.terminate()

    def wait_or_kill(self, seconds: float) -> None:
        """Wait until it has left; after `seconds` it is killed."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            # The system may hold it in a call, to a device that does not answer: it is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)

    def log_tail(self) -> str:
        """Return the end of what it printed, for an error message."""
        with contextlib.suppress(OSError), self._log_path.open("rb") as log:
            log.seek(max(0, self._log_path.stat().st_size - _TAIL_BYTES))
            return log.read().decode("utf-8", "replace").strip()
        return ""
