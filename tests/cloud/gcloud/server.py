"""`server.py DESCRIPTOR …/gcloud.py`: fork for each call that comes in at a listening socket.

Run by the interpreter of gcloud, so only by what Python has; ends with its standard input.
"""

import atexit
import contextlib
import gc
import importlib
import json
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
    gcloud = load(sys.argv[-1])
    learnt, lessons = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    learn(USUAL)
    while True:
        ready, _, _ = select.select([LIFE, listener.fileno(), learnt.fileno()], [], [])
        if LIFE in ready:
            return
        if learnt.fileno() in ready:
            learn(learnt.recv(REQUEST_BYTES).decode())
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            if os.fork() == 0:
                serve(connection, gcloud, lessons)
            connection.close()


def load(path: str) -> ModuleType:
    """Import what every call needs; the module is the program that `gcloud` runs."""
    sys.path.insert(0, str(Path(path).parent))
    gcloud = importlib.import_module("gcloud")
    importlib.import_module("googlecloudsdk.gcloud_main")
    return gcloud


def learn(names: str) -> None:
    """Import what a call has imported, so that the next ones need not."""
    for name in names.split():
        # What the call could do without, so can we.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Otherwise a collection in a call would go through all that is loaded, and copy it.
    gc.freeze()


def serve(connection: socket.socket, gcloud: ModuleType, lessons: socket.socket) -> NoReturn:
    """Be the process of one call."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        request, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, DESCRIPTORS)
        if request:
            become(json.loads(request), descriptors, connection)
            loaded = set(sys.modules)
            code = run(gcloud)
            connection.send(bytes([code]))
            new = (name for name in sys.modules if name.startswith("googlecloudsdk."))
            lessons.send(" ".join(name for name in new if name not in loaded).encode())
    finally:
        os._exit(code)


def become(request: dict[str, Any], descriptors: list[int], connection: socket.socket) -> None:
    """Take on what the client is: its arguments, environment, folder and standard streams."""
    life = os.dup(LIFE)
    *streams, folder = descriptors
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.fchdir(folder)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
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
