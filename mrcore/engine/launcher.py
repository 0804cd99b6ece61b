"""The process that forks the daemons of a cluster on this machine: it has imported what they need.

    python -P -m mrcore.engine.launcher CONTROL SPACES </dev/null >LOG 2>&1

CONTROL is an inherited socket that keeps messages apart. A request (`mrcore.util.forks`) has the
command line of a daemon. A message that is the id of a daemon asks how that has ended: the answer
is 1 more than its wait status, or 0 while it lives. SPACES make room for the arguments that daemons
show.

Imports start no thread and make no object of gRPC, and this process does nothing else. It loads
what all daemons need first. A master that is asked for is forked at the next step from then on. It
loads the rest itself, while this process goes on with what workers need for their children.
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
from mrcore.tasks.child.fork_server import CHILD_MODULE
from mrcore.util import forks
from mrcore.util.shown_strings import show_arguments

MODULE: Final = "mrcore.engine.launcher"
_DAEMON: Final = "mrcore.worker.__main__"
_CHILD_PARTS: Final = ("numpy.ma", "pyarrow", "pyarrow.compute", "mrcore.tasks.stage", CHILD_MODULE)
"""Parts of what children need; requests are answered between them."""
_STEPS: Final = {"mrcore.master": 1, "mrcore.worker": 1 + len(_CHILD_PARTS)}
"""Steps of loading before the fork of a daemon."""
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
        self._steps = 0
        """Steps of loading that are done."""

    def serve(self) -> None:
        """Answer until the other end is closed, and load what is not loaded yet in between."""
        while self._steps < max(_STEPS.values()):
            if not self._is_asked():
                self._load()
            elif not self.serve_one():
                return
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
        if command[0] != sys.executable or before != _BEFORE_MODULE or name not in _STEPS:
            return None
        while self._steps < _STEPS[name]:
            self._load()
        return importlib.import_module(f"{name}.__main__")

    def _load(self) -> None:
        if self._steps == 0:
            importlib.import_module(_DAEMON).load()
        else:
            importlib.import_module(_CHILD_PARTS[self._steps - 1])
        self._steps += 1


if __name__ == "__main__":
    main()
