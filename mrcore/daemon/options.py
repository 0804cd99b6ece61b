"""Command-line options that both daemons share.

They use argparse, which loads faster than click: each small job starts an embedded master.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
from typing import NoReturn

from mrcore.daemon import logs


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit.

    The usual soft limit of 1,024 exists for programs that call select(2). It is too low for a
    large cluster, and one hostile client could use it up.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems refuse their own limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class DaemonParser(argparse.ArgumentParser):
    """A parser that reports a wrong option in one sentence."""

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
