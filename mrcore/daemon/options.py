"""What the command lines of both daemons have in common.

argparse and not click: the start of an embedded master is part of every small job's time.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
from typing import NoReturn

from mrcore.daemon import logs


def raise_descriptor_limit() -> None:
    """Let this process have as many descriptors as it may.

    The usual soft limit of 1,024 is for programs that call select(2): too few for a large cluster,
    and few enough for one stranger to take them all.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems refuse what they show
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class DaemonParser(argparse.ArgumentParser):
    """A parser that tells a wrong option in one sentence, as all of mrcore does."""

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`.\n")


def add_daemon_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a daemon is watched and ended by whoever has started it."""
    add = parser.add_argument
    add(
        "--log-level",
        default="info",
        choices=logs.LEVELS,
        help="how much to say (default: %(default)s)",
    )
    add(
        "--log-format",
        default="auto",
        choices=logs.FORMATS,
        help="lines for people, or JSON for programs (default: by whether this is a terminal)",
    )
    add("--metrics", default="", metavar="HOST:PORT", help="serve metrics for Prometheus there")
    add("--ready-fd", type=int, metavar="N", help="write one line of JSON there once ready")
    add("--lifeline-fd", type=int, metavar="N", help="leave at once when this pipe ends")
