"""The process of a worker that forks its children: it has imported what all of them need.

    python -P -m mrcore.tasks.child.fork_server CONTROL PARENT SCRATCH </dev/null >LOG 2>&1

CONTROL is an inherited socket that keeps messages apart. This process sends `READY` on it, and
then answers requests (`mrcore.util.forks`). A worker that is itself a fork has these imports
already: its first fork server is a fork of it.

Each child is forked by a process in between that ends at once. So the kernel gives the child to
the nearest subreaper above, which is the worker: it waits for its children as if it had started
them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from mrcore.tasks.child import environment as variables
from mrcore.util import forks, hidden_modules
from mrcore.util.parent import end_with_parent
from mrcore.util.secrecy import show_memory
from mrcore.util.shown_strings import show_variable

MODULE: Final = "mrcore.tasks.child.fork_server"
CHILD_MODULE: Final = "mrcore.tasks.child.main"
READY: Final = b"ready"
CONTROL: Final = 3
"""Number of the inherited socket in a fork server that is a fork."""
CHILD_DESCRIPTORS: Final = (3, 4, 5)
"""Numbers of orders, reports and board in a child."""
_GO: Final = b"go"


def main() -> None:
    """Fork children on request until the worker is gone."""
    control, parent = int(sys.argv[1]), int(sys.argv[2])
    end_with_parent(parent)
    os.set_inheritable(control, False)
    with contextlib.suppress(OSError):  # in some containers /proc cannot be written
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    if CHILD_MODULE not in sys.modules:
        importlib.import_module(CHILD_MODULE)
        gc.collect()
    # Pages that the collector does not touch stay shared.
    gc.freeze()
    with socket.socket(fileno=control) as channel:
        server = ForkServer(channel, parent)
        channel.send(READY)
        server.serve()


class ForkServer(forks.ForkServer):
    """The loop that answers requests with children of the process `parent`."""

    def __init__(self, channel: socket.socket, parent: int) -> None:
        super().__init__(channel)
        self._parent = parent
        self._module = sys.modules[CHILD_MODULE] if forks.has_one_thread() else None

    def fork(self, request: forks.ForkRequest, descriptors: Sequence[int]) -> int:
        """Fork a child; return its id, or the negative number of an error."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            between = os.fork()
            if not between:
                ours.close()
                self._fork_again(request, descriptors, theirs)
            # Then the kernel has given the child to the worker.
            os.waitpid(between, 0)
            try:
                reply = int(ours.recv(32, socket.MSG_DONTWAIT))
            except BlockingIOError:  # the process in between was killed
                return -errno.EAGAIN
            if reply > 0:
                ours.send(_GO)
            return reply

    def _fork_again(
        self, request: forks.ForkRequest, descriptors: Sequence[int], theirs: socket.socket
    ) -> NoReturn:
        """Fork the child and end; in the child, become what was asked for."""
        try:
            child = os.fork()
        except OSError as error:
            theirs.send(str(-(error.errno or errno.EAGAIN)).encode())
            os._exit(0)
        if child:
            # Here, so that the worker can kill the group as soon as it knows the child.
            os.setpgid(child, child)
            theirs.send(str(child).encode())
            os._exit(0)
        try:
            go = theirs.recv(32)
            theirs.close()
            self.channel.close()
            if go == _GO:
                end_with_parent(self._parent)
                variables.drop_own()
                forks.become(request, descriptors, self._module)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the log has the traceback, as of any program
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)


def fork_here(
    request: forks.ForkRequest,
    descriptors: Sequence[int],
    environment: Mapping[str, str],
) -> int | None:
    """Fork this process, a worker with one thread, to be its fork server; return the id.

    Return None where this process lacks the imports, or what it began with does not suit children.
    """
    if CHILD_MODULE not in sys.modules or not forks.has_one_thread():
        return None
    if not variables.suits_children(environment):
        return None
    process_id = os.fork()
    if process_id:
        # Here and there, so that it leads its group whichever of the two comes first.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(process_id, process_id)
        return process_id
    try:
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        os.environ.clear()
        os.environ.update(environment)
        _forget_the_worker()
        fits = variables.apply_allocator_settings() and all(
            show_variable(name, value) for name, value in request.variables.items()
        )
        forks.become(request, descriptors, sys.modules[__name__] if fits else None)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - the log has the traceback, as of any program
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _forget_the_worker() -> None:
    """Undo what the worker has set for itself, and what children do not import."""
    show_memory()
    hidden_modules.hide(variables.DAEMON_PACKAGES)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger().handlers.clear()
    logging.getLogger().setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
