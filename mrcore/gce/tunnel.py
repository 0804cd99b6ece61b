"""Google's tunnel to the master: a process of gcloud that is started again when it ends."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Final

from mrcore.gce.crew import signals_kept_away

RETRY_SECONDS: Final = 2.0
END_SECONDS: Final = 10.0


class Tunnel:
    """A tunnel that stays open until it is closed.

    Ctrl-C does not reach it, so that a job is cancelled through it first. It ends with this
    process, however that ends.
    """

    def __init__(self, command: list[str], log: Path | None) -> None:
        self._command = command
        self._log = log
        self._closed = threading.Event()
        self._turned = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_open, daemon=True)
        self._thread.start()

    def _keep_open(self) -> None:
        while not self._closed.is_set():
            with (self._log or Path("/dev/null")).open("ab") as log, signals_kept_away():
                try:
                    command = self._command
                    if shutil.which("setpriv") is not None:
                        # The signal comes when the thread ends that has started the process.
                        command = ["setpriv", "--pdeathsig", "TERM", *command]
                    self._process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                    )
                except OSError as error:
                    log.write(f"the tunnel cannot be started: {error}\n".encode())
            if self._closed.is_set():  # closed while it was being started
                self.end()
            if self._process is not None:
                self._process.wait()
            if not self._turned.is_set():
                self._closed.wait(RETRY_SECONDS)
            self._turned.clear()

    def turn(self, command: list[str]) -> None:
        """Let another command keep the tunnel open, at once: it leads elsewhere."""
        self._command = command
        self._turned.set()
        process = self._process
        if process is not None:
            process.terminate()

    def end(self) -> None:
        """End the process without waiting; safe in a signal handler."""
        self._closed.set()
        process = self._process
        if process is not None:
            process.terminate()

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        self.end()
        self._thread.join(END_SECONDS)


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
