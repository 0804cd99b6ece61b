"""`python -m tests.cloud.compute`: the cloud as a process, with machines that run nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket

from tests.cloud.compute.server import PROJECT, ComputeServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cloud.compute", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--project", default=PROJECT)
    parser.add_argument("--ready-fd", type=int, help="write the URL there, then close it")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    listener = socket.create_server((host, int(port)))
    asyncio.run(_serve(ComputeServer(listener=listener, project=options.project), options.ready_fd))


async def _serve(server: ComputeServer, ready_fd: int | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        if ready_fd is not None:
            with os.fdopen(ready_fd, "w") as ready:
                ready.write(f"{server.url}\n")
        await stop.wait()


if __name__ == "__main__":
    main()
