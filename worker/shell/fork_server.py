"""The worker's end of its fork server: how that is started, asked for children, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mrcore.tasks.child.environment import MARK, server_environment
from mrcore.tasks.child.fork_server import CONTROL, MODULE, READY, fork_here
from mrcore.util.forks import ForkRequest, ForkServerGoneError, read_answer, send_request
from mrcore.util.proc import folder_is_gone
from mrcore.util.readable import is_readable
from mrcore.worker.shell.orphans import adopt_orphans, child_mark

_LOG_BYTES: Final = 4_096
_CLOSE_SECONDS: Final = 5.0


class ForkServer:
    """The process from which this worker's children are forked. Children outlive it."""

    def __init__(self, environment: dict[str, str], answer_seconds: float) -> None:
        self.is_ready = False
        """True from the end of its imports to its own end."""
        self.has_forked = False
        """True once it has started a child."""
        self._environment = environment
        self._answer_seconds = answer_seconds
        self._process: subprocess.Popen[bytes] | _Fork | None = None
        self._channel: socket.socket | None = None
        self._log_path = Path()

    @property
    def process_id(self) -> int | None:
        """Return the id of its process; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def descriptor(self) -> int:
        """Return what is readable once it is ready, and once it has ended."""
        assert self._channel is not None
        return self._channel.fileno()

    def start(self, scratch: Path) -> None:
        """Start the process, which is not ready at once; raise OSError if the system refuses."""
        # The kernel gives each child to this process when what forked it has ended.
        adopt_orphans()
        self._log_path = scratch / "fork-server.log"
        with contextlib.ExitStack() as undo:
            channel, other = (
                undo.enter_context(end)
                for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            log = os.open(self._log_path, flags, 0o600)
            undo.callback(os.close, log)
            self._process = self._start(scratch, other.fileno(), log)
            undo.pop_all()
        os.close(log)
        other.close()
        self._channel = channel
        self.is_ready = self.has_forked = False

    def _start(self, scratch: Path, control: int, log: int) -> subprocess.Popen[bytes] | _Fork:
        """Fork this process where that will do, else start a new program."""
        # A fork has its own mark only after a moment.
        mark = {MARK: child_mark(scratch, 0)}
        cwd = str(scratch) if folder_is_gone("self") else None
        arguments = (str(os.getpid()), str(scratch))
        command = (sys.executable, "-P", "-m", MODULE)
        request = ForkRequest((*command, str(CONTROL), *arguments), (CONTROL,), mark, cwd=cwd)
        process_id = fork_here(request, (control, log), self._environment)
        if process_id is not None:
            return _Fork(process_id)
        return subprocess.Popen(
            [*command, str(control), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env={**server_environment(self._environment), **mark},
            pass_fds=(control,),
            process_group=0,
        )

    def look(self) -> bool:
        """Take note of what its end of the channel says; return False if it has ended."""
        assert self._channel is not None
        try:
            said = self._channel.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            said = b""
        self.is_ready = self.is_ready or said == READY
        return bool(said)

    def fork(self, request: ForkRequest, descriptors: Sequence[int]) -> int:
        """Return the id of a new child with these descriptors; it leads a group of its own.

        Raises OSError where the system refuses it, and ForkServerGoneError.
        """
        assert self._channel is not None
        assert self.is_ready
        try:
            send_request(self._channel, request, descriptors)
            reply = read_answer(self._channel, self._answer_seconds)
            if reply is None:
                raise ForkServerGoneError
        except ForkServerGoneError:
            self.is_ready = False
            raise
        if reply < 0:
            raise OSError(-reply, os.strerror(-reply))
        self.has_forked = True
        return reply

    def close(self) -> tuple[int, bytes]:
        """End it, where it is not dead; return its exit status, and the end of what it printed."""
        if self._process is None or self._channel is None:
            return 0, b""
        printed = b""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = -signal.SIGKILL
        with contextlib.suppress(subprocess.TimeoutExpired):  # the system holds it: left behind
            status = self._process.wait(_CLOSE_SECONDS)
        with contextlib.suppress(OSError):
            printed = self._log_path.read_bytes()[-_LOG_BYTES:]
            self._log_path.unlink()
        self._channel.close()
        self._process = self._channel = None
        self.is_ready = False
        return status, printed


class _Fork:
    """A child of this process that is a fork of it."""

    def __init__(self, process_id: int) -> None:
        self.pid = process_id
        self._exit = os.pidfd_open(process_id)

    def wait(self, timeout: float) -> int:
        """Return its exit status; raise TimeoutExpired if it lives on after `timeout` seconds."""
        if not is_readable(self._exit, timeout):
            raise subprocess.TimeoutExpired(MODULE, timeout)
        os.close(self._exit)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)
