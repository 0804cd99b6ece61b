"""Loading a plugin once before a job is submitted, in a process that may come to any harm."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, Self

from mrcore.errors import PluginError
from mrcore.model.columns import columns_of
from mrcore.model.formats import INPUT_FORMATS
from mrcore.model.job import InputGroup, Plugin, StepFlags
from mrcore.plugin.bundle import Bundle
from mrcore.util.readable import is_readable
from mrcore.util.texts import lines

CHECK_SECONDS: Final = 60.0
"""Longest time that a plugin may take to import before the job is refused."""


class Check:
    """A bundle that is being loaded in a process of its own, for as long as the `with` block."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def __enter__(self) -> Self:
        """Start the process; `result` waits for it."""
        with contextlib.ExitStack() as stack:
            # The child removes it should this process be killed, this one whatever befalls the
            # child.
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="mrcore-check-", ignore_cleanup_errors=True)
            )
            self._noise = stack.enter_context(tempfile.TemporaryFile())
            self._report, report_end = _pipe(stack)
            lifeline, _ = _pipe(stack)
            data = stack.enter_context(tempfile.TemporaryFile())
            data.write(self._bundle.data)
            data.seek(0)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "mrcore.plugin.check"),
                    *(str(report_end.fileno()), str(lifeline.fileno()), folder),
                ],
                stdin=data,
                stdout=self._noise,
                stderr=subprocess.STDOUT,
                pass_fds=(report_end.fileno(), lifeline.fileno()),
                process_group=0,
            )
            stack.callback(self._kill)
            report_end.close()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def result(self, timeout_seconds: float = CHECK_SECONDS) -> Plugin:
        """Return what is in the bundle, once it is loaded; raise PluginError."""
        name = self._bundle.name
        if not _ends_within(self._process.pid, timeout_seconds):
            raise PluginError(
                f"{name} was still importing after {timeout_seconds:g} s. "
                "Move slow work from the module into setup(context)."
            )
        self._process.wait()
        # A process that the plugin has started may hold the pipe open: read what is there.
        os.set_blocking(self._report.fileno(), False)
        found = json.loads(self._report.read() or b"{}")
        self._noise.seek(0)
        said = self._noise.read(1 << 20).decode(errors="replace").rstrip()
        if "error" in found:
            raise PluginError(found["error"])
        if "steps" not in found:
            raise PluginError(_death(name, self._process.returncode, said))
        return plugin_of(self._bundle, found)

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()


def check_in_child(bundle: Bundle, timeout_seconds: float = CHECK_SECONDS) -> Plugin:
    """Load the bundle in a process of its own, and return what is in it; raise PluginError."""
    with Check(bundle) as check:
        return check.result(timeout_seconds)


def _ends_within(process_id: int, seconds: float) -> bool:
    """Return whether a child of this process ends in time; `Popen.wait` would look now and then."""
    handle = os.pidfd_open(process_id)
    try:
        return is_readable(handle, seconds)
    finally:
        os.close(handle)


def plugin_of(bundle: Bundle, found: Mapping[str, Any]) -> Plugin:
    """Return a plugin, given what loading it has shown (`UserFunctions.described`).

    Raises PluginError for a format that does not exist.
    """
    groups = tuple(_group(bundle.name, group) for group in found["groups"])
    for group in groups:
        if group.input_format and group.input_format not in INPUT_FORMATS:
            raise PluginError(
                f"{bundle.name} has the format {group.input_format!r} for the inputs "
                f"{group.pattern}. Use one of {', '.join(INPUT_FORMATS.names())}."
            )
    steps = tuple(StepFlags.of(names) for names in found["steps"])
    return Plugin(
        sha256=bundle.sha256,
        name=bundle.name,
        steps=steps,
        groups=groups,
        stated=found["stated"],
    )


def _group(name: str, found: Mapping[str, Any]) -> InputGroup:
    columns = found["columns"]
    try:
        return InputGroup(**{**found, "columns": () if columns is None else columns_of(columns)})
    except ValueError as error:
        raise PluginError(
            f"The columns for the inputs {found['pattern']} in {name} {error}."
        ) from None


def _pipe(stack: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    """Return both ends of a pipe; they are closed with the stack, if not before."""
    reader, writer = os.pipe()
    return stack.enter_context(os.fdopen(reader, "rb")), stack.enter_context(
        os.fdopen(writer, "wb", buffering=0)
    )


def _death(name: str, status: int, said: str) -> str:
    how = f"exit status {status}" if status >= 0 else f"signal {-status}"
    last = f"\n{lines(said[-2000:])}" if said else ""
    return (
        f"{name} ended the process that imported it ({how}): run it by `python` to see why.{last}"
    )
