"""Calls of gcloud: each is logged, has a deadline, and is printed in a dry run.

`change` is for what changes something, `read` and `look` for what only reads. A failure is a
GcloudError with one sentence; callers that expect one look at its kind.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mrcore.errors import UsageError
from mrcore.gce.console import quoted, say, show
from mrcore.gce.failures import GcloudError, Kind, explain, kind_of
from mrcore.util.clock import SYSTEM, Clock

READ_SECONDS: Final = 180.0
"""Deadline of a call that only reads."""
CHANGE_SECONDS: Final = 2400.0
"""Deadline of a change: gcloud itself waits for an operation for up to half an hour."""
PATIENCE_SECONDS: Final = 150.0
"""Longest time that a new account may be unknown to the rest of the cloud."""
_LONGEST_PAUSE: Final = 16.0


class Plan:
    """Output of a dry run: a summary, and then the commands in their order."""

    def __init__(self) -> None:
        self._summary: list[str] = []
        self._lines: list[str] = []
        self._reads: set[str] = set()

    def summarize(self, lines: Iterable[str]) -> None:
        """Put lines in front of everything."""
        self._summary += [f"# {line}" for line in lines]

    def note(self, text: str) -> None:
        """Add a line that is not a command."""
        self._lines.append(f"# {text}")

    def command(self, words: Iterable[str]) -> None:
        """Add a command to be run."""
        self._lines.append(quoted(words))

    def read(self, words: Iterable[str]) -> None:
        """Add a command that only reads, once."""
        line = f"# reads: {quoted(words)}"
        if line not in self._reads:
            self._reads.add(line)
            self._lines.append(line)

    def show(self) -> None:
        """Print it all."""
        if self._summary and self._lines:
            self._summary += ["#", "# The commands, in their order:"]
        for line in (*self._summary, *self._lines):
            show(line)


class Gcloud:
    """The gcloud of this machine, for one project."""

    def __init__(
        self, project: str = "", *, plan: Plan | None = None, clock: Clock = SYSTEM
    ) -> None:
        """Print into `plan` instead of running anything, where there is one."""
        self.project = project
        self.plan = plan
        self.log: Path | None = None
        self.changed = False
        """Whether anything was changed since this was last set to False."""
        self._clock = clock
        self._lock = threading.Lock()
        self._is_unseen_reported = False

    # -- calls -----------------------------------------------------------------------------------

    def change(self, what: str, *arguments: str) -> None:
        """Change something; `what` begins the sentence of a failure, such as `Making the VM`."""
        if self.plan is not None:
            self.plan.command(["gcloud", *arguments, "--quiet", *self._of_project()])
            return
        self.changed = True
        self.call(what, *arguments, "--quiet", deadline=CHANGE_SECONDS)

    def make(self, what: str, *arguments: str) -> None:
        """Change something, and be content when it is there already."""
        self._tolerate(Kind.EXISTS, lambda: self.change(what, *arguments))

    def delete(self, what: str, *arguments: str) -> None:
        """Change something, and be content when it is not there."""
        self._tolerate(Kind.NOT_FOUND, lambda: self.change(what, *arguments))

    def read(self, what: str, *arguments: str, project: str | None = None) -> Any:
        """Return the JSON value that gcloud prints.

        A dry run asks nothing and returns None, and so does a gcloud that prints nothing.
        """
        printed = self.look(what, *arguments, project=project)
        if not printed.strip():
            return None
        try:
            return json.loads(printed)
        except ValueError as error:
            raise GcloudError(f"{what} failed: gcloud printed no JSON ({error}).") from error

    def look(self, what: str, *arguments: str, project: str | None = None) -> str:
        """Return what gcloud prints; nothing in a dry run."""
        if self.plan is not None:
            self.plan.read(["gcloud", *arguments, *self._of_project(project)])
            return ""
        return self.call(what, *arguments, deadline=READ_SECONDS, project=project)

    def call(self, what: str, *arguments: str, deadline: float, project: str | None = None) -> str:
        """Run gcloud to its end, and return what it prints: the one place that starts it."""
        command = ["gcloud", *arguments, *self._of_project(project)]
        start = self._clock.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
                )
            except OSError as error:
                raise GcloudError(f"{what} failed: {_not_started(error)}") from error
            code, words = _wait(process, deadline), ""
            if code != 0:
                errors.seek(0)
                words = errors.read().decode(errors="replace")
            if code is None:
                words += f"\ngcloud timed out after {deadline:.0f} s and was ended"
            self._write_down(command, code, self._clock.monotonic() - start, words)
            if code == 0:
                out.seek(0)
                return out.read().decode(errors="replace")
        about = self.project if project is None else project
        raise GcloudError(
            explain(what, words, about, str(self.log or "its output")), kind_of(words, about)
        )

    def patiently(self, call: Callable[[], None]) -> None:
        """Repeat a change that names accounts or roles which may have been made just now.

        For a minute or two the rest of the cloud does not know them.
        """
        end, pause = self._clock.monotonic() + PATIENCE_SECONDS, 1.0
        while True:
            pause = min(2 * pause, _LONGEST_PAUSE)
            is_last = self._clock.monotonic() + pause >= end
            try:
                call()
            except GcloudError as error:
                if error.kind is not Kind.UNSEEN or is_last:
                    raise
            else:
                return
            self._report_unseen()
            self._clock.sleep(pause)

    # -- helpers ---------------------------------------------------------------------------------

    def _of_project(self, project: str | None = None) -> list[str]:
        named = self.project if project is None else project
        return [f"--project={named}"] if named else []

    @staticmethod
    def _tolerate(kind: Kind, call: Callable[[], None]) -> None:
        try:
            call()
        except GcloudError as error:
            if error.kind is not kind:
                raise

    def _report_unseen(self) -> None:
        """Write the notice once, though several steps wait at the same time."""
        with self._lock:
            is_first, self._is_unseen_reported = not self._is_unseen_reported, True
        if is_first:
            say(
                "the new accounts are not known everywhere yet; trying again for up to "
                f"{PATIENCE_SECONDS:.0f} s …"
            )

    def _write_down(self, command: list[str], code: int | None, seconds: float, words: str) -> None:
        if self.log is None:
            return
        ended = "killed" if code is None else f"exit {code}"
        moment = datetime.fromtimestamp(self._clock.wall(), UTC).astimezone()
        head = f"{moment:%Y-%m-%dT%H:%M:%S} {ended} after {seconds:.0f} s: {quoted(command)}"
        lines = [head, *(line for line in words.splitlines() if line.strip())]
        # In one piece: other steps write there, too.
        with self._lock, self.log.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))


def check_installed() -> None:
    """Raise UsageError where there is no gcloud."""
    if not is_installed():
        raise UsageError("gcloud is not installed; see https://cloud.google.com/sdk/docs/install")


def is_installed() -> bool:
    """Return whether there is a gcloud on PATH."""
    return shutil.which("gcloud") is not None


def _not_started(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"
    return f"gcloud cannot be started ({error.strerror})."


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code; None for a process that had to be ended."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
