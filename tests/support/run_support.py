"""Running `mrcore` as a user does, in a folder of its own, and looking at what it leaves."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mrcore.cli.main import run_command_line

MRCORE = str(Path(sys.executable).with_name("mrcore"))
MARK = "MRCORE_TEST_MARK"

WORD_COUNT = """
    def map(key, value):
        for word in value.split():
            yield word, 1

    def reduce(key, values):
        return sum(values)

    combine = reduce
"""


class Place:
    """A folder for one test: its inputs, its outputs, the state of its runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.work.mkdir()
        self.mark = uuid.uuid4().hex
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "XDG_STATE_HOME": str(root / "state"),
            "TMPDIR": str(root),
            MARK: self.mark,
        }

    def write(self, name: str, content: str | bytes) -> Path:
        """Make a file; text is dedented."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = textwrap.dedent(content).encode("utf-8", "surrogateescape")
        path.write_bytes(content)
        return path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mrcore ARGUMENTS` to its end, in this process: a start takes half a second of CPU.

        What it starts are processes as ever.
        """
        printed, said = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(said),
        ):
            patch.chdir(self.work)
            patch.setattr(sys, "argv", [MRCORE, *arguments])
            patch.setattr(tempfile, "tempdir", None)
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            code = run_command_line(list(arguments))
        texts = []
        for stream in (printed, said):
            stream.seek(0)
            texts.append(stream.read())
        return subprocess.CompletedProcess([MRCORE, *arguments], code, *texts)

    def run_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mrcore ARGUMENTS` to its end, in a process of its own."""
        return subprocess.run(
            [MRCORE, *arguments],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )

    def done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mrcore ARGUMENTS`, which must succeed."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result

    def json(self, *arguments: str) -> dict[str, Any]:
        """Run `mrcore ARGUMENTS --json`, which must succeed, and return the object."""
        found: dict[str, Any] = json.loads(self.done(*arguments, "--json").stdout)
        return found

    def start(self, *arguments: str, under: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start `mrcore ARGUMENTS` as the leader of a process group, as a shell would.

        `under` is a command that runs the rest of its line, such as `nohup`.
        """
        return subprocess.Popen(
            [*under, MRCORE, *arguments],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def start_daemon(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `mrcore master` or `mrcore worker`; its log lies in the place's root."""
        with (self.root / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [MRCORE, *arguments],
                cwd=self.work,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def parts(self, output: str = "out") -> dict[str, bytes]:
        """Return the parts of an output by name."""
        return {
            path.name: path.read_bytes() for path in sorted((self.work / output).glob("part-*"))
        }

    def lines(self, output: str = "out") -> list[str]:
        """Return the lines of all parts, in order."""
        return b"".join(self.parts(output).values()).decode().splitlines()

    def processes(self) -> dict[int, str]:
        """Return the living processes of this place: id and command line."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def kill_all(self) -> None:
        """End whatever a test has left running."""
        for process_id in self.processes():
            try:
                os.kill(process_id, signal.SIGKILL)
            except ProcessLookupError:
                continue


def words(count: int, seed: int = 7) -> Iterator[str]:
    """Yield lines of words, some of them frequent, none of them random."""
    state = seed
    for _ in range(count):
        line = []
        for _ in range(8):
            state = (state * 1_103_515_245 + 12_345) % 2**31
            line.append(f"w{min(state % 997, state // 7 % 97)}")
        yield " ".join(line)
