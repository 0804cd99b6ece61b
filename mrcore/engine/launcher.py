"""The process that forks the daemons of a cluster on this machine: it has imported what they need.

    python -P -m mrcore.engine.launcher CONTROL SPACES </dev/null >LOG 2>&1

CONTROL is an inherited socket that keeps messages apart. A request (`mrcore.util.forks`) has the
command line of a daemon. A message that is the id of a daemon asks how that has ended: the answer
is 1 more than its wait status, or 0 while it lives. SPACES make room for the arguments that daemons
show.

Imports start no thread and make no object of gRPC, and this process does nothing else. It loads
what a master needs first, and goes on with the rest while nothing is asked.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import socket
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from mrcore.tasks.child import environment
from mrcore.util import forks
from mrcore.util.shown_strings import show_arguments

MODULE: Final = "mrcore.engine.launcher"
DAEMONS: Final = ("mrcore.master", "mrcore.worker")
"""Packages of daemons, in the order in which they are loaded. The `__main__` of each has `load`,
which imports what its `main` would import later."""
_BEFORE_MODULE: Final = ("-P", "-m")


def main() -> None:
    """Fork daemons until the program that has started this process is gone, or needs no more."""
    control = int(sys.argv[1])
    os.set_inheritable(control, False)
    environment.note_beginning()
    show_arguments([sys.executable, *_BEFORE_MODULE, MODULE, str(control)])
    gc.disable()  # nearly all that is made here stays
    with socket.socket(fileno=control) as channel:
        Launcher(channel).serve()


class Launcher(forks.ForkServer):
    """The loop that answers requests with daemons, which are children of this process."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self._loaded: dict[str, ModuleType] = {}

    def serve(self) -> None:
        """Answer until the other end is closed, and load what is not loaded yet in between."""
        for name in DAEMONS:
            while self._is_asked():
                if not self.serve_one():
                    return
            self._module(name)
        super().serve()

    def answer(self, data: bytes, descriptors: Sequence[int]) -> int:
        """Return the answer to a message; raise OSError where the system refuses it."""
        if not data.isdigit():
            return super().answer(data, descriptors)
        process_id, status = os.waitpid(int(data), os.WNOHANG)
        return 1 + status if process_id else 0

    def fork(self, request: forks.ForkRequest, descriptors: Sequence[int]) -> int:
        """Return the id of a new daemon."""
        module = self._module_of(request.command)
        if module is not None and not forks.has_one_thread():
            module = None
        gc.freeze()  # pages that the collector does not touch stay shared
        reader, writer = os.pipe()
        try:
            process_id = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        if process_id:
            os.close(writer)
            os.read(reader, 1)  # until it has a session of its own
            os.close(reader)
            return process_id
        try:
            os.setsid()
            os.close(writer)
            self.channel.close()
            gc.enable()
            forks.become(request, descriptors, module)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the log has the traceback, as of any program
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _is_asked(self) -> bool:
        return bool(select.select([self.channel], [], [], 0.0)[0])

    def _module_of(self, command: Sequence[str]) -> ModuleType | None:
        before, name = tuple(command[1:3]), command[3] if len(command) > 3 else ""
        if command[0] != sys.executable or before != _BEFORE_MODULE or name not in DAEMONS:
            return None
        return self._module(name)

    def _module(self, name: str) -> ModuleType:
        if name not in self._loaded:
            module = importlib.import_module(f"{name}.__main__")
            module.load()
            self._loaded[name] = module
        return self._loaded[name]


if __name__ == "__main__":
    main()
