"""Command-line options that both daemons share.

They use argparse, which loads faster than click: each small job starts an embedded master.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from mrcore.daemon import logs

NARROW_COLUMNS: Final = 60
"""On a narrower terminal the help of an option stands under its name."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit.

    The usual soft limit of 1,024 exists for programs that call select(2). It is too low for a
    large cluster, and one hostile client could use it up.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems refuse their own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _HelpFormatter(argparse.HelpFormatter):
    """Formatter that leaves room for whole words on a narrow terminal."""

    def __init__(self, prog: str) -> None:
        self._is_narrow = shutil.get_terminal_size().columns < NARROW_COLUMNS
        super().__init__(prog, max_help_position=6 if self._is_narrow else 24)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Add the line that shows how the command is typed."""
        short = "%(prog)s [OPTION...]" if self._is_narrow else usage
        super().add_usage(short, actions, groups, prefix)


class DaemonParser(argparse.ArgumentParser):
    """A parser that reports a wrong option in one sentence."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, formatter_class=_HelpFormatter)

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`.\n")


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for logs, metrics and the process that started the daemon."""
    add = parser.add_argument
    add(
        "--log-level",
        default="info",
        choices=logs.LEVELS,
        help="least severe messages to log (default: %(default)s)",
    )
    add(
        "--log-format",
        default="auto",
        choices=logs.FORMATS,
        help="plain text for people or JSON for programs (default: plain on a terminal, else json)",
    )
    add(
        "--metrics",
        default="",
        metavar="HOST:PORT",
        help="serve Prometheus metrics at this address",
    )
    add(
        "--ready-fd",
        type=int,
        metavar="N",
        help="write one JSON line to this descriptor once ready",
    )
    add("--lifeline-fd", type=int, metavar="N", help="exit at once when this pipe closes")
