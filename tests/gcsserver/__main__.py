"""`python -m tests.gcsserver`: the server as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal

from tests.gcsserver.server import GcsServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gcsserver", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes one that is free")
    parser.add_argument("--bucket", action="append", default=[], help="make it at the start")
    parser.add_argument("--ready-fd", type=int, help="write the URL there, then close it")
    options = parser.parse_args()
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    with GcsServer(options.host, options.port) as server:
        for bucket in options.bucket:
            server.store.create_bucket(bucket)
        if options.ready_fd is not None:
            with os.fdopen(options.ready_fd, "w") as ready:
                ready.write(f"{server.url}\n")
        signal.sigwait(stop)


if __name__ == "__main__":
    main()
