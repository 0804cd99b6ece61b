"""The process of a worker that forks its children: it has imported what all of them need.

    python -P -m mrcore.tasks.child.fork_server CONTROL PARENT SCRATCH </dev/null >LOG 2>&1

CONTROL is an inherited socket that keeps messages apart. This process sends `READY` on it. It then
answers each request with the id of a new child, or with the negative number of the error.

Each child is forked by a process in between that ends at once. So the kernel gives the child to
the nearest subreaper above, which is the worker: it waits for its children as if it had started
them. A fork has only the thread that forks. So if the imports have started others, which may hold
locks, each child is a new program instead.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from mrcore.util.parent import end_with_parent
from mrcore.util.shown_strings import show_arguments, show_variable

MODULE: Final = "mrcore.tasks.child.fork_server"
CHILD_MODULE: Final = "mrcore.tasks.child.main"
READY: Final = b"ready"
MAX_MESSAGE_BYTES: Final = 64 << 10
DESCRIPTORS: Final = 4
"""Descriptors of a request: orders, reports, board and log, in this order."""
_GO: Final = b"go"
_OWN_VARIABLE: Final = "JE_ARROW_MALLOC_CONF"
_OWN_VALUE: Final = (
    "oversize_threshold:0,dirty_decay_ms:1000,muzzy_decay_ms:1000,background_thread:false"
)
"""Arrow's own settings for jemalloc, but without its thread, which would not survive a fork."""


class ForkRequest(msgspec.Struct, frozen=True):
    """A request for a child, which has its descriptors beside it."""

    scratch: str
    variables: dict[str, str]
    """Variables of its environment that differ from those of this process."""
    cwd: str | None = None
    """Current folder, where it is not that of this process."""


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a fork server whose children get this one."""
    return {_OWN_VARIABLE: _OWN_VALUE, **environment}


def main() -> None:
    """Fork children on request until the worker is gone."""
    control, parent = int(sys.argv[1]), int(sys.argv[2])
    end_with_parent(parent)
    os.set_inheritable(control, False)
    with contextlib.suppress(OSError):  # in some containers /proc cannot be written
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    importlib.import_module(CHILD_MODULE)
    # Pages that the collector does not touch stay shared.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=control) as channel:
        ForkServer(channel, parent).serve()


class ForkServer:
    """The loop that answers requests on `channel` with children of the process `parent`."""

    def __init__(self, channel: socket.socket, parent: int) -> None:
        self._channel = channel
        self._parent = parent
        self._threaded = len(list(Path("/proc/self/task").iterdir())) > 1

    def serve(self) -> None:
        """Fork children until the worker closes its end."""
        self._channel.send(READY)
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE_BYTES, DESCRIPTORS)
            if not data:
                return
            try:
                reply = self._answer(data, descriptors)
            except OSError as error:
                reply = -(error.errno or errno.EAGAIN)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._channel.send(str(reply).encode())

    def _answer(self, data: bytes, descriptors: Sequence[int]) -> int:
        """Fork a child; return its id, or the negative number of an error."""
        if len(descriptors) < DESCRIPTORS:  # the kernel drops those beyond the limit
            return -errno.EMFILE
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            between = os.fork()
            if not between:
                ours.close()
                self._fork_again(data, descriptors, theirs)
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
        self, data: bytes, descriptors: Sequence[int], theirs: socket.socket
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
            self._channel.close()
            if go == _GO:
                self._become_child(msgspec.msgpack.decode(data, type=ForkRequest), descriptors)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the log has the traceback, as of any program
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _become_child(self, request: ForkRequest, descriptors: Sequence[int]) -> None:
        log = descriptors[DESCRIPTORS - 1]
        kept = descriptors[: DESCRIPTORS - 1]
        for standard in (1, 2):
            os.dup2(log, standard)
        _close_all_but({0, 1, 2, *kept})
        end_with_parent(self._parent)
        if os.environ.get(_OWN_VARIABLE) == _OWN_VALUE:
            del os.environ[_OWN_VARIABLE]
        os.environ.update(request.variables)
        if request.cwd is not None:
            os.chdir(request.cwd)
        arguments = [*map(str, kept), str(self._parent), request.scratch]
        command = [sys.executable, "-P", "-m", CHILD_MODULE, *arguments]
        if self._threaded:
            for descriptor in kept:
                os.set_inheritable(descriptor, True)
            os.execv(sys.executable, command)
        show_arguments(command)
        for name, value in request.variables.items():
            show_variable(name, value)
        # Folders may have changed since their modules were listed.
        importlib.invalidate_caches()
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()
        module = sys.modules[CHILD_MODULE]
        sys.argv = [str(module.__file__), *arguments]
        sys.orig_argv = command
        module.main()


def _close_all_but(kept: Collection[int]) -> None:
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in kept:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(entry.name))


if __name__ == "__main__":
    main()
