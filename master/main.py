"""Command line of the master daemon; the daemon itself is in `mrcore.master.daemon`.

Exit codes: 0 drained, 1 failed, 2 usage, 4 stepped down because another master has taken over.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from mrcore.daemon import logs
from mrcore.daemon.collector import collect_rarely
from mrcore.daemon.options import DaemonParser, add_daemon_options, raise_descriptor_limit
from mrcore.errors import MrcoreError, UsageError
from mrcore.master.fleet.options import add_options, fleet_options
from mrcore.master.options import Options
from mrcore.rpc.cluster import DEFAULT_PORT, is_loopback, parse_address, state_home
from mrcore.storage.registry import absolute_uri
from mrcore.util.secrecy import hide_memory, leave_no_core_files
from mrcore.util.units import parse_duration

log = logging.getLogger("mrcore.master")


def main(arguments: Sequence[str]) -> int:
    """Run a master until it is stopped; return the exit code."""
    try:
        parsed = _parser().parse_args(arguments)
        logs.configure(parsed.log_level, form=parsed.log_format)
        options = _options(parsed)
        leave_no_core_files()
        hide_memory()
        raise_descriptor_limit()
        from mrcore.master.daemon import run  # slow to load: wrong options are reported first

        collect_rarely()
        # Never closed: that would wait for threads, which a store may block for minutes.
        asyncio.Runner().run(run(options))
    except MrcoreError as error:
        print(f"mrcore master: {error}", file=sys.stderr)  # noqa: T201 - no log is set up yet
        return error.exit_code
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    except Exception:  # a defect: logged, and the next master continues
        log.exception("the master has failed")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = DaemonParser(prog="mrcore master", description="Run a cluster's master.")
    add = parser.add_argument
    add(
        "--listen",
        default=f"127.0.0.1:{DEFAULT_PORT}",
        metavar="HOST:PORT",
        help="address to serve at; port 0 takes a free port (default: %(default)s)",
    )
    add("--state", metavar="URI", help="location of the cluster's state (default: below your home)")
    add("--tls", action="store_true", help="serve TLS; create the certificate at the first start")
    add(
        "--mutual-tls",
        action="store_true",
        help="serve TLS; admit only callers with a certificate of this cluster",
    )
    add("--insecure", action="store_true", help="allow plain text on other than loopback addresses")
    add("--take-over", action="store_true", help="replace a master that is still running")
    add("--standby", action="store_true", help="read along, and lead once no master does")
    add("--advertise", default="", metavar="HOST", help="host name for other machines")
    add(
        "--expect-slots",
        type=int,
        default=0,
        metavar="N",
        help="plan jobs for at least N slots, even before the workers have joined",
    )
    add(
        "--session-timeout",
        default="60s",
        metavar="TIME",
        help="end the calls of a client that has vanished after TIME (default: %(default)s)",
    )
    add(
        "--keep",
        default="30d",
        metavar="TIME",
        help="keep plans, logs and plugins of ended jobs for TIME (default: %(default)s)",
    )
    add_daemon_options(parser)
    add_options(parser)
    return parser


def _seconds(option: str, text: str, least: float, most: float, between: str) -> float:
    """Return the time of an option; raise UsageError for one that is not `between`."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}.") from None
    if not least <= seconds <= most:
        raise UsageError(f"{option}: give a time between {between}.")
    return seconds


def _options(parsed: argparse.Namespace) -> Options:
    host, port = parse_address(parsed.listen)
    tls = parsed.tls or parsed.mutual_tls
    if not is_loopback(host) and not tls and not parsed.insecure:
        raise UsageError(
            f"Listening on {host} without TLS would expose the cluster's token to the network. "
            "Add --tls, or --insecure if you trust that network."
        )
    if parsed.state is None and port == 0:
        raise UsageError(
            "A master on port 0 needs --state, because the default state depends on the port."
        )
    if parsed.standby and parsed.take_over:
        raise UsageError(
            "--standby waits for the leader's end, and --take-over does not: give one."
        )
    state = parsed.state or f"{state_home()}/states/{port}"
    state_uri = absolute_uri(state, os.getcwd()).rstrip("/")  # noqa: PTH109 - a string is wanted
    return Options(
        host=host,
        port=port,
        state_uri=state_uri,
        tls=tls,
        mutual_tls=parsed.mutual_tls,
        take_over=parsed.take_over,
        standby=parsed.standby,
        advertise=parsed.advertise,
        expect_slots=max(0, parsed.expect_slots),
        session_seconds=_seconds(
            "--session-timeout", parsed.session_timeout, 1.0, 86_400.0, "1s and 24h"
        ),
        kept_seconds=_seconds("--keep", parsed.keep, 3_600.0, 86_400e4, "1h and 10000d"),
        metrics=parsed.metrics,
        # The variables are meant for a VM's master, not for one that an embedded run starts.
        fleet=fleet_options(parsed, state_uri, os.environ if parsed.lifeline_fd is None else {}),
        ready_fd=parsed.ready_fd,
        lifeline_fd=parsed.lifeline_fd,
    )
