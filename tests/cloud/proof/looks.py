"""Commands of `mrcore` without its start: each is a fork of a process that has it loaded.

A start takes a second of CPU time, and a story looks at its job each second. `Looks` is for the
story; the process inside the cloud runs this module. It reads the words of a command as a line of
JSON, and answers with a line of JSON: the exit code, and what the command has printed.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from mrcore.cli.main import main as mrcore
from tests.cloud import lifelines
from tests.cloud.machines.cloud import Cloud

COMMANDS = ("jobs", "masters", "show", "workers")
LOOK_SECONDS = 60.0
CUT_OFF = 124


class Looks:
    """The process, from outside."""

    def __init__(self, cloud: Cloud, environment: Mapping[str, str]) -> None:
        self._process = cloud.started(
            [sys.executable, "-m", __name__],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def end(self) -> None:
        """End the process."""
        lifelines.end(self._process)
        assert self._process.stdout
        self._process.stdout.close()

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """Run `mrcore WORDS`; return its exit code, and what it has printed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        code, printed = json.loads(self._process.stdout.readline())
        return code, printed


def main() -> None:
    for name in COMMANDS:
        importlib.import_module(f"mrcore.cli.{name}")
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_forked(json.loads(line))) + "\n")
        sys.stdout.flush()


def _forked(words: list[str]) -> tuple[int, str]:
    """Run a command in a process of its own, which is killed after `LOOK_SECONDS`."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        _become(words, writer)
    os.close(writer)
    printed, is_late = b"", False
    with os.fdopen(reader, "rb", buffering=0) as file:
        while not is_late:
            is_late = not select.select([file], [], [], LOOK_SECONDS)[0]
            if is_late:
                os.kill(process, signal.SIGKILL)
            elif not (part := file.read(1 << 16)):
                break
            else:
                printed += part
    _, status = os.waitpid(process, 0)
    return CUT_OFF if is_late else os.waitstatus_to_exitcode(status), printed.decode()


def _become(words: list[str], output: int) -> NoReturn:
    """Be the process of one command."""
    code: object = 1
    try:
        os.dup2(output, sys.stdout.fileno())
        os.close(sys.stdin.fileno())
        mrcore(words)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
