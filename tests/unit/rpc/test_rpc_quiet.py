"""gRPC's own log lines stay out of what users see."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import mrcore.client.client
import grpc, time
from concurrent.futures import ThreadPoolExecutor

idle = [("grpc.max_connection_idle_ms", 100)]
server = grpc.server(ThreadPoolExecutor(1), options=idle)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
states = []
channel.subscribe(states.append, try_to_connect=True)
while grpc.ChannelConnectivity.IDLE not in states[1:]:
    time.sleep(0.02)
channel.close()
server.stop(None)
"""


def test_an_idle_connection_that_is_closed_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stderr == ""
