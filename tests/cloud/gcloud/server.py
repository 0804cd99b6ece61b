"""`server.py DESCRIPTOR …/gcloud.py`: fork for each call that comes in at a listening socket.

Run by the interpreter of gcloud, so only by what Python has; ends with its standard input.
"""

import atexit
import contextlib
import gc
import importlib
import itertools
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

REQUEST_BYTES = 1 << 18
DESCRIPTORS = 4
USUAL = """
googlecloudsdk.api_lib.compute.instances.create.utils
googlecloudsdk.command_lib.compute.instance_templates.mesh_util
googlecloudsdk.command_lib.iam.iam_util
googlecloudsdk.command_lib.storage.iam_command_util
googlecloudsdk.generated_clients.apis.compute.v1.compute_v1_client
googlecloudsdk.generated_clients.apis.compute.alpha.compute_alpha_messages
googlecloudsdk.generated_clients.apis.compute.beta.compute_beta_messages
googlecloudsdk.generated_clients.apis.storage.v1.storage_v1_client
"""
"""Modules that most calls need: calls side by side would each load them."""
LIFE = 0
"""Standard input: whoever has started us has it open."""


def main() -> None:
    listener = socket.socket(fileno=int(sys.argv[1]))
    gcloud, commands = load(sys.argv[-1])
    learnt, lessons = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    learn(commands, "", USUAL)
    while True:
        ready, _, _ = select.select([LIFE, listener.fileno(), learnt.fileno()], [], [])
        if LIFE in ready:
            return
        if learnt.fileno() in ready:
            command, _, modules = learnt.recv(REQUEST_BYTES).decode().partition("\n")
            learn(commands, command, modules)
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                serve(connection, gcloud, lessons)
            connection.close()


def load(path: str) -> tuple[ModuleType, Any]:
    """Import what every call needs, and make the tree of commands.

    Return the module that is the program of `gcloud`, and the root of the tree. A branch of the
    tree is filled in when a call needs it.
    """
    sys.path.insert(0, str(Path(path).parent))
    gcloud = importlib.import_module("gcloud")
    program: Any = importlib.import_module("googlecloudsdk.gcloud_main")
    line = program.CreateCLI([])
    program.CreateCLI = lambda *_: line
    return gcloud, line.top_element


def learn(commands: Any, command: str, modules: str) -> None:
    """Load the command and the modules that a call has needed, so that the next ones need not."""
    element = commands
    for word in command.split():
        element = element and element.LoadSubElement(word)
    for name in modules.split():
        # What the call could do without, so can we.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # Otherwise a collection in a call would go through all that is loaded, and copy it.
    gc.freeze()


def lesson(loaded: set[str]) -> bytes:
    """Return the words of this call's command, and the modules that were not loaded before it."""
    command = itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:])
    modules = (name for name in sys.modules if name not in loaded)
    return f"{' '.join(command)}\n{' '.join(modules)}".encode()


def serve(connection: socket.socket, gcloud: ModuleType, lessons: socket.socket) -> NoReturn:
    """Be the process of one call."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        request, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, DESCRIPTORS)
        if request:
            become(request, descriptors, connection)
            loaded = set(sys.modules)
            code = run(gcloud)
            lessons.send(lesson(loaded))  # before the client ends, and we with it
            connection.send(bytes([code]))
    finally:
        os._exit(code)


def become(request: bytes, descriptors: list[int], connection: socket.socket) -> None:
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
    threading.Thread(target=end_with, args=(connection, life), daemon=True).start()


def end_with(client: socket.socket, life: int) -> None:
    """Kill this process when its client or the server is gone."""
    select.select([client.fileno(), life], [], [])
    os.kill(os.getpid(), signal.SIGKILL)


def run(gcloud: ModuleType) -> int:
    """Return the exit code of gcloud's program, run in this process."""
    try:
        gcloud.main()
        code: object = 0
    except SystemExit as end:
        code = end.code
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xFF if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
