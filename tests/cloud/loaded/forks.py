"""A process that has loaded a program, and forks for each call of it that comes in at a socket.

Runs under the interpreter of the program, so only by what Python has; ends with its standard input.
"""

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
from typing import NoReturn, Protocol

REQUEST_BYTES = 1 << 18
DESCRIPTORS = 4
LIFE = 0
"""Standard input: whoever has started us has it open."""


class Program(Protocol):
    """A program that is loaded."""

    def run(self) -> object:
        """Run it by `sys.argv`; return or exit with its exit code, or a message."""

    def lesson(self) -> str:
        """Return, after a call, what the next ones would like to find loaded; no module."""

    def learn(self, lesson: str) -> None:
        """Load what a call has asked for."""


def serve(listener: socket.socket, program: Program, usual: str = "") -> None:
    """Serve calls until standard input ends.

    usual: names of modules that most calls need; calls side by side would each load them.
    """
    learnt, lessons = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _learn(program, "", usual)
    while True:
        ready, _, _ = select.select([LIFE, listener.fileno(), learnt.fileno()], [], [])
        if LIFE in ready:
            return
        if learnt.fileno() in ready:
            lesson, _, modules = learnt.recv(REQUEST_BYTES).decode().partition("\n")
            _learn(program, lesson, modules)
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                _call(connection, program, lessons)
            connection.close()


def _learn(program: Program, lesson: str, modules: str) -> None:
    """Load what a call has needed, so that the next ones need not."""
    if lesson:
        program.learn(lesson)
    for name in modules.split():
        # What the call could do without, so can we.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # Otherwise a collection in a call would go through all that is loaded, and copy it.
    gc.freeze()


def _call(connection: socket.socket, program: Program, lessons: socket.socket) -> NoReturn:
    """Be the process of one call."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        request, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, DESCRIPTORS)
        if request:
            _become(request, descriptors, connection)
            loaded = set(sys.modules)
            code = _run(program)
            modules = " ".join(name for name in sys.modules if name not in loaded)
            lessons.send(f"{program.lesson()}\n{modules}".encode())
            connection.send(bytes([code]))  # the client ends, and we with it
    finally:
        os._exit(code)


def _become(request: bytes, descriptors: list[int], connection: socket.socket) -> None:
    """Take on what the client is: its arguments, environment, folder and standard streams."""
    life = os.dup(LIFE)
    *streams, folder = descriptors
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.fchdir(folder)
    for descriptor in descriptors:
        os.close(descriptor)
    count, *rest = (os.fsdecode(piece) for piece in request.split(b"\0"))
    os.environ.clear()
    for variable in rest[int(count) :]:
        name, _, value = variable.partition("=")
        os.environ[name] = value
    sys.argv = rest[: int(count)]
    threading.Thread(target=_end_with, args=(connection, life), daemon=True).start()


def _end_with(client: socket.socket, life: int) -> None:
    """Kill this process when its client or the server is gone."""
    select.select([client.fileno(), life], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def _run(program: Program) -> int:
    """Return the exit code of the program, run in this process."""
    try:
        code = program.run()
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xFF if isinstance(code, int) else int(code is not None)
