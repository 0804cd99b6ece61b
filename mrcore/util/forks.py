"""Forks of a process that has imported what they need, made on request.

The request is a message on a socket that keeps messages apart, with descriptors beside it. The
answer is a number: the id of the new process, or the negative number of an error. A fork has only
the thread that forks. Where the imports have started others, which may hold locks, the command is
run as a new program instead.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import os
import socket
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from mrcore.util.readable import is_readable
from mrcore.util.shown_strings import show_arguments, show_variable

MAX_MESSAGE_BYTES: Final = 64 << 10
MAX_DESCRIPTORS: Final = 4


class ForkRequest(msgspec.Struct, frozen=True):
    """A request for a process, which has its descriptors beside it."""

    command: tuple[str, ...]
    """Command line as it is shown: `python -P -m MODULE ARGUMENT...`."""
    numbers: tuple[int, ...]
    """Numbers of the descriptors in the command line. One more descriptor is that of its log."""
    variables: dict[str, str] = {}
    """Variables of its environment that differ from those of the process that is forked."""
    removed: tuple[str, ...] = ()
    """Variables that it does not have."""
    cwd: str | None = None
    """Current folder, where it is not that of the process that is forked."""


class ForkServerGoneError(OSError):
    """The process that forks has ended, or does not answer."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "the process that forks others is gone")


def send_request(channel: socket.socket, request: ForkRequest, descriptors: Sequence[int]) -> None:
    """Ask for a process; raise OSError for a request that is too long, and ForkServerGoneError."""
    data = msgspec.msgpack.encode(request)
    if len(data) > MAX_MESSAGE_BYTES:
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    try:
        socket.send_fds(channel, [data], list(descriptors))
    except (BrokenPipeError, ConnectionResetError):
        raise ForkServerGoneError from None


def read_answer(channel: socket.socket, seconds: float) -> int | None:
    """Return the next answer; None if there is none within `seconds`.

    Raises ForkServerGoneError.
    """
    if not is_readable(channel.fileno(), seconds):
        return None
    try:
        answer = channel.recv(64, socket.MSG_DONTWAIT)
    except ConnectionResetError:
        answer = b""
    if not answer:
        raise ForkServerGoneError
    return int(answer)


class ForkServer:
    """The loop that answers requests."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel

    def serve(self) -> None:
        """Answer until the other end is closed."""
        while self.serve_one():
            pass

    def serve_one(self) -> bool:
        """Wait for a request and answer it; return False where there can come no more."""
        data, descriptors, _, _ = socket.recv_fds(self.channel, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not data:
            return False
        try:
            reply = self.answer(data, descriptors)
        except OSError as error:
            reply = -(error.errno or errno.EAGAIN)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            self.channel.send(str(reply).encode())
        return True

    def answer(self, data: bytes, descriptors: Sequence[int]) -> int:
        """Return the answer to a message; raise OSError where the system refuses it."""
        request = msgspec.msgpack.decode(data, type=ForkRequest)
        if len(descriptors) <= len(request.numbers):  # the kernel drops those beyond the limit
            return -errno.EMFILE
        return self.fork(request, descriptors)

    def fork(self, request: ForkRequest, descriptors: Sequence[int]) -> int:
        """Return the id of a new process."""
        raise NotImplementedError


def has_one_thread() -> bool:
    """Return whether this process can be forked: nothing else holds a lock in it."""
    return len(list(Path("/proc/self/task").iterdir())) == 1


def become(
    request: ForkRequest, descriptors: Sequence[int], module: ModuleType | None = None
) -> None:
    """Turn this process, which is a fork, into the one that was asked for.

    It runs `main` of `module`. Without a module the command is run as a new program.
    """
    _place(descriptors, request.numbers)
    for name in request.removed:
        os.environ.pop(name, None)
    os.environ.update(request.variables)
    if request.cwd is not None:
        os.chdir(request.cwd)
    command = list(request.command)
    if module is None:
        for number in request.numbers:
            os.set_inheritable(number, True)
        os.execvp(command[0], command)
    show_arguments(command)
    for name, value in request.variables.items():
        show_variable(name, value)
    # Folders may have changed since their modules were listed.
    importlib.invalidate_caches()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    sys.argv = [str(module.__file__), *command[command.index("-m") + 2 :]]
    sys.orig_argv = command
    module.main()


def _place(descriptors: Sequence[int], numbers: Sequence[int]) -> None:
    """Move the descriptors to these numbers, the last one to those of standard output and error."""
    *_, log = descriptors
    for standard in (1, 2):
        os.dup2(log, standard)
    kept = descriptors[: len(numbers)]
    _close_all_but({0, 1, 2, *kept})
    above = max((2, *numbers)) + 1
    moved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above) for number in kept]
    for source, number in zip(moved, numbers, strict=True):
        os.dup2(source, number, inheritable=False)
    _close_all_but({0, 1, 2, *numbers})


def _close_all_but(kept: Collection[int]) -> None:
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in kept:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(entry.name))
