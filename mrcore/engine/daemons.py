"""Processes of masters and workers on this machine: how they are started, watched and ended.

They are forks of one process, the launcher, which has imported what they need.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mrcore.engine import launched
from mrcore.engine.launched import daemon_environment
from mrcore.tasks.child.environment import launcher_environment
from mrcore.util.forks import ForkRequest, ForkServerGoneError, read_answer, send_request
from mrcore.util.readable import is_readable

STOP_SECONDS: Final = 5.0
"""From SIGTERM to SIGKILL, for the workers together and then for the master."""
ANSWER_SECONDS: Final = 60.0
"""Longest wait for a fork: a launcher that has just been started imports first."""
UNKNOWN: Final = 256
"""Exit code of a daemon whose end nobody saw, since its launcher was killed before."""
_MARK_BYTES: Final = 64
"""Room for marks of children, beyond the length of the folder of their cluster."""
_TAIL_BYTES: Final = 2_000


def daemon_command(daemon: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts the daemon `master` or `worker` with this Python."""
    return [sys.executable, "-P", "-m", f"mrcore.{daemon}", *arguments]


class Launcher:
    """The process that forks the daemons of one cluster.

    Requests are sent at once and answered in their order, so that this process can go on while the
    launcher imports. Daemons outlive it.
    """

    def __init__(
        self,
        folder: Path,
        slot_memory_bytes: int,
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Start it, unless one that suits was started already; `folder` is that of the cluster.

        `variables` are those of the environment that daemons have beyond the caller's. `prefix` are
        words that run the rest of their command line, such as those of nsenter(1).
        """
        self.prefix = tuple(prefix)
        self._variables = dict(variables or {})
        self._lock = threading.RLock()
        self._asked: list[object] = []
        """Objects for which answers are to come, in the order of the answers."""
        self._answers: dict[int, int] = {}
        """Answers that nobody has taken yet, by the identity of these objects."""
        mark_bytes = len(os.fsencode(folder)) + _MARK_BYTES
        wanted = launcher_environment(self._environment(), slot_memory_bytes, mark_bytes)
        found = None if prefix else launched.take(wanted)
        self._launched = found or launched.launch(wanted, prefix)
        self._channel = self._launched.channel

    @property
    def is_gone(self) -> bool:
        """Return whether the process has ended."""
        return self._launched.process.poll() is not None

    def ask_fork(
        self, who: object, command: Sequence[str], numbers: Sequence[int], cwd: Path, log: int
    ) -> None:
        """Ask for a daemon, whose id is the answer for `who`.

        Raises OSError where the environment has changed too much since the launcher was started,
        and ForkServerGoneError.
        """
        now = self._environment()
        began = self._launched.environment
        changed = {name: value for name, value in now.items() if began.get(name) != value}
        removed = tuple(name for name in began if name not in now)
        request = ForkRequest(tuple(command), tuple(numbers), changed, removed, str(cwd))
        with self._lock:
            send_request(self._channel, request, (*numbers, log))
            self._asked.append(who)

    def _environment(self) -> dict[str, str]:
        return daemon_environment({**os.environ, **self._variables})

    def answer(self, who: object, seconds: float) -> int | None:
        """Return the answer for `who`, or None if it has not come within `seconds`.

        Raises OSError for what the system has refused, and ForkServerGoneError.
        """
        with self._lock:
            while id(who) not in self._answers:
                reply = read_answer(self._channel, seconds)
                if reply is None:
                    return None
                self._answers[id(self._asked.pop(0))] = reply
            reply = self._answers.pop(id(who))
        if reply < 0:
            raise OSError(-reply, os.strerror(-reply))
        return reply

    def exit_code(self, process_id: int) -> int | None:
        """Return how a daemon has ended, None while it lives; ForkServerGoneError if unknown."""
        who = object()
        with self._lock:
            try:
                self._channel.send(str(process_id).encode())
            except (BrokenPipeError, ConnectionResetError):
                raise ForkServerGoneError from None
            self._asked.append(who)
            reply = self.answer(who, ANSWER_SECONDS)
        if reply is None:
            raise ForkServerGoneError
        return os.waitstatus_to_exitcode(reply - 1) if reply else None

    def stop(self) -> None:
        """End it if it has yet to fork somebody: what it would import first is not needed."""
        if self._asked:
            self._launched.process.kill()

    def close(self) -> None:
        """End it; daemons that live on are orphans."""
        self._launched.close(STOP_SECONDS)

    def log_tail(self) -> str:
        """Return the end of what it printed; nothing once it was closed."""
        return self._launched.log_tail()


class Daemon:
    """One process of the cluster: its command, its log, and whether it lives."""

    def __init__(self, module: str, arguments: Sequence[str], log_path: Path) -> None:
        self.module = module
        self.arguments = list(arguments)
        self._log_path = log_path
        self._lock = threading.Lock()
        self._launcher: Launcher | None = None
        self._process_id: int | None = None
        """Id of its process, once the launcher has answered."""
        self._exit: int | None = None
        """Descriptor that is readable once the process has ended."""
        self._code: int | None = None

    def start(
        self, launcher: Launcher, cwd: Path, pass_fds: Sequence[int], extra: Sequence[str] = ()
    ) -> None:
        """Start, or start again."""
        command = daemon_command(self.module, [*self.arguments, *extra])
        with self._log_path.open("ab") as log:
            launcher.ask_fork(self, command, pass_fds, cwd, log.fileno())
        self._forget()
        self._launcher = launcher
        self._process_id = self._code = None

    @property
    def name(self) -> str:
        """Return the name, which is also that of the log."""
        return self._log_path.stem

    @property
    def process_id(self) -> int:
        """Return the id of the process that was started last."""
        self._find(ANSWER_SECONDS)
        if self._process_id is None:
            raise ForkServerGoneError
        return self._process_id

    def exit_code(self) -> int | None:
        """Return how the process ended; None while it lives."""
        self._look(0.0)
        return self._code

    def terminate(self) -> None:
        """Ask it to leave."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def wait_or_kill(self, seconds: float) -> None:
        """Wait until it has left; after `seconds` it is killed."""
        if self._launcher is None:
            return
        with contextlib.suppress(OSError):  # the system had refused it
            self._look(max(0.0, seconds))
        if self._code is None:
            self.kill()
            # The system may hold it in a call, to a device that does not answer: it is left behind.
            self._look(STOP_SECONDS)
        self._forget()

    def log_tail(self) -> str:
        """Return the end of what it printed, for an error message."""
        tail = _tail(self._log_path)
        return tail or (self._launcher.log_tail() if self._launcher is not None else "")

    def _find(self, seconds: float) -> None:
        """Learn the id of the process, if the launcher reports it within `seconds`."""
        with self._lock:
            if self._launcher is None or self._process_id is not None or self._code is not None:
                return
            try:
                process_id = self._launcher.answer(self, seconds)
                if process_id is not None:
                    self._exit = os.pidfd_open(process_id)
                    self._process_id = process_id
            except (ForkServerGoneError, ProcessLookupError):
                self._code = UNKNOWN  # the launcher was killed, before or after it had forked
            except OSError:
                self._code = UNKNOWN
                raise

    def _look(self, seconds: float) -> None:
        """Learn how the process has ended, if it does within `seconds`."""
        self._find(seconds)
        if self._exit is None or self._code is not None or self._launcher is None:
            return
        if is_readable(self._exit, seconds):
            assert self._process_id is not None
            try:
                self._code = self._launcher.exit_code(self._process_id)
            except (ForkServerGoneError, ChildProcessError):
                self._code = UNKNOWN

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(OSError):  # the system had refused it
            self._find(ANSWER_SECONDS)
        if self._exit is not None and self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._exit, number)

    def _forget(self) -> None:
        if self._exit is not None:
            os.close(self._exit)
            self._exit = None


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return log.read().decode("utf-8", "replace").strip()
    return ""
