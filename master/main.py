"""The command line of the master daemon; what it does is in `mrcore.master.daemon`.

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
from mrcore.daemon.options import DaemonParser, add_daemon_options, raise_descriptor_limit
from mrcore.errors import MrcoreError, UsageError
from mrcore.master.fleet.options import add_options, fleet_options
from mrcore.master.options import Options
from mrcore.rpc.cluster import DEFAULT_PORT, is_loopback, parse_address, state_home
from mrcore.storage.registry import absolute_uri

log = logging.getLogger("mrcore.master")


def main(arguments: Sequence[str]) -> int:
    """Run a master until it is told to end; return the exit code."""
    try:
        parsed = _parser().parse_args(arguments)
        logs.configure(parsed.log_level, form=parsed.log_format)
        options = _options(parsed)
        raise_descriptor_limit()
        from mrcore.master.daemon import run  # heavy: a wrong option is told before it is loaded

        # Never closed: that would wait for threads, which a store may block for minutes.
        asyncio.Runner().run(run(options))
    except MrcoreError as error:
        print(f"mrcore master: {error}", file=sys.stderr)  # noqa: T201 - the daemon's last word
        return error.exit_code
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 2
    except Exception:  # a defect: told in the log, and the next master goes on
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
        help="where to serve; port 0 takes a free one (default: %(default)s)",
    )
    add(
        "--state", metavar="URI", help="where the cluster's state lies (default: a folder of yours)"
    )
    add("--tls", action="store_true", help="serve TLS, with a certificate made at the first start")
    add("--insecure", action="store_true", help="allow plain text beyond loopback")
    add("--take-over", action="store_true", help="replace a master that is still alive")
    add("--advertise", default="", metavar="HOST", help="the name by which others reach this host")
    add(
        "--expect-slots",
        type=int,
        default=0,
        metavar="N",
        help="plan jobs for at least so many slots, before their workers have joined",
    )
    add_daemon_options(parser)
    add_options(parser)
    return parser


def _options(parsed: argparse.Namespace) -> Options:
    host, port = parse_address(parsed.listen)
    if not is_loopback(host) and not parsed.tls and not parsed.insecure:
        raise UsageError(
            f"To listen on {host} would let the network read the cluster's token: add --tls, or "
            "--insecure if that network is trusted."
        )
    if parsed.state is None and port == 0:
        raise UsageError("A master on port 0 needs --state: the default state goes by the port.")
    state = parsed.state or f"{state_home()}/states/{port}"
    state_uri = absolute_uri(state, os.getcwd()).rstrip("/")  # noqa: PTH109 - a string is wanted
    return Options(
        host=host,
        port=port,
        state_uri=state_uri,
        tls=parsed.tls,
        take_over=parsed.take_over,
        advertise=parsed.advertise,
        expect_slots=max(0, parsed.expect_slots),
        metrics=parsed.metrics,
        # A master of one run on this machine has no business with what machines are told.
        fleet=fleet_options(parsed, state_uri, os.environ if parsed.lifeline_fd is None else {}),
        ready_fd=parsed.ready_fd,
        lifeline_fd=parsed.lifeline_fd,
    )
