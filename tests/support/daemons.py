"""Start daemons as processes, know when they serve, and never leave one behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 20.0


@dataclass
class Daemon:
    """A master or worker process."""

    process: subprocess.Popen[bytes]
    ready: dict[str, object]
    """Line that it printed when it was ready; empty for one that was not waited for."""
    log_path: Path

    @property
    def address(self) -> str:
        """Address of a master."""
        return str(self.ready["address"])

    def log(self) -> str:
        """Output so far, both streams."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Let it die as in a power cut."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout: float = 15.0) -> int:
        """Ask it to leave, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout)

    def wait(self, timeout: float = 15.0) -> int:
        """Wait for its end, and return its exit code."""
        return self.process.wait(timeout)


def environment(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which the user's state lies below `folder`."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "XDG_STATE_HOME": str(folder / "state-home"), **(extra or {})}


@contextlib.contextmanager
def start_daemon(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    wait: bool = True,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Daemon]:
    """Run `python -P -m mrcore.MODULE ARGUMENTS`; with `wait`, until it says that it is ready.

    Its log goes to a new file in `folder`. The process is killed at the end, if it still lives.
    """
    log_path = folder / f"{module}-{len(list(folder.glob(f'{module}-*.log')))}.log"
    reader, writer = os.pipe()
    try:
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    f"mrcore.{module}",
                    *arguments,
                    "--ready-fd",
                    str(writer),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment(folder, env),
                pass_fds=(writer, *pass_fds),
            )
        os.close(writer)
        try:
            ready = _read_ready(reader, log_path) if wait else {}
            yield Daemon(process, ready, log_path)
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(reader)


def _read_ready(reader: int, log_path: Path) -> dict[str, object]:
    """Return the line that the daemon writes once it is ready; fail with its log otherwise."""
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([reader], [], [], READY_SECONDS)
        chunk = os.read(reader, 4096) if readable else b""
        if not chunk:
            raise AssertionError(f"the daemon is not ready; it printed:\n{log_path.read_text()}")
        line += chunk
    with contextlib.suppress(json.JSONDecodeError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {"line": line.decode().strip()}


@contextlib.contextmanager
def start_master(
    folder: Path,
    state_uri: str,
    *arguments: str,
    listen: str = "127.0.0.1:0",
    wait: bool = True,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Daemon]:
    """Run a master; its `address` is where it serves."""
    options = ["--listen", listen, "--state", state_uri, *arguments]
    with start_daemon("master", options, folder, wait=wait, env=env, pass_fds=pass_fds) as daemon:
        yield daemon


@contextlib.contextmanager
def start_worker(
    folder: Path,
    state_uri: str,
    *arguments: str,
    wait: bool = True,
    env: Mapping[str, str] | None = None,
) -> Iterator[Daemon]:
    """Run a worker of the cluster whose state lies at `state_uri`."""
    with start_daemon(
        "worker", ["--state", state_uri, *arguments], folder, wait=wait, env=env
    ) as d:
        yield d
