"""Strangers attack a master while an honest worker and an honest client use it."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mrcore.client.client import MasterClient
from mrcore.client.request import JobRequest, load_plugin, prepare
from mrcore.model.job import JobState
from mrcore.output.reading import output_lines
from mrcore.rpc.credentials import state_credentials
from mrcore.rpc.health import MAX_STRANGERS
from tests.support import http2
from tests.support.daemons import Daemon, start_master, start_worker
from tests.support.strangers import Guesser, drips, nonsense, send
from tests.support.waiting import wait_until

USUAL_DESCRIPTORS = 1024
SILENT_CONNECTIONS = int(os.environ.get("MRCORE_TEST_CONNECTIONS", "1100"))
GUESSES = 2_000
"""Tokens that are guessed at least, while honest callers are served."""
STREAMS = 100
BODILESS_CONNECTIONS = 205
"""Connections that, with their streams, make more calls than a master answers at once."""
LARGE_BODIES = 8
MAX_GROWTH_BYTES = 200 << 20
"""Growth of the master's memory by all attacks. One large body, if read, would leave 60 MiB."""
SERVING = health_pb2.HealthCheckResponse.SERVING


SUBMIT = http2.request("/mrcore.rpc.v1.JobService/Submit")


class Victim:
    """A master with a worker and a client that have the token, and its address for strangers."""

    def __init__(self, folder: Path, master: Daemon, client: MasterClient) -> None:
        self.folder = folder
        self.master = master
        self.client = client
        self.host, _, port = master.address.rpartition(":")
        self.port = int(port)
        self._runs = 0
        plugin, inputs = str(folder / "wc.py"), (str(folder / "in.txt"),)
        request = JobRequest(plugin=plugin, inputs=inputs, output="out", cwd=folder)
        self.prepared = load_plugin(prepare(request))

    def resident_bytes(self) -> int:
        """Return the memory of the master."""
        statm = Path(f"/proc/{self.master.process.pid}/statm").read_text()
        return int(statm.split()[1]) * resource.getpagesize()

    def connect(self) -> socket.socket:
        """Return a stranger's connection that has said nothing."""
        return socket.create_connection((self.host, self.port), timeout=10)

    def serves(self) -> None:
        """Run a job from a new client, and ask by the one that was there before."""
        self._runs += 1
        uri = f"file://{self.folder}/out-{self._runs}"
        with MasterClient(self.client.credentials) as client:
            spec = msgspec.structs.replace(self.prepared.spec, output_uri=uri)
            accepted = client.submit(spec, self.prepared.bundle.data)
            job = list(client.watch(accepted.job_id))[-1]
        assert job.state is JobState.SUCCEEDED
        assert (job.attempts.expired, job.attempts.infrastructure) == (0, 0)
        assert sorted(output_lines(uri)) == ["a\t2", "b\t1"]
        assert len(self.client.workers()) == 1


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    (tmp_path / "in.txt").write_text("a b\na\n")
    (tmp_path / "wc.py").write_text(
        "def map(key, value):\n    for word in value.split():\n        yield word, 1\n"
        "def reduce(key, values):\n    return sum(values)\n"
    )
    state_uri = f"file://{tmp_path}/state"
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        # A master as it is started from most shells.
        resource.setrlimit(resource.RLIMIT_NOFILE, (USUAL_DESCRIPTORS, limits[1]))
        master = stack.enter_context(start_master(tmp_path, state_uri))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
        stack.enter_context(start_worker(tmp_path, state_uri))
        credentials = state_credentials(state_uri)
        client = stack.enter_context(MasterClient(credentials))
        yield Victim(tmp_path, master, client)


def never_send_a_body(victim: Victim) -> contextlib.ExitStack:
    """Begin more calls than a master answers at once."""
    held = contextlib.ExitStack()
    calls = b"".join(
        http2.frame(http2.HEADERS, http2.END_HEADERS, 2 * number + 1, SUBMIT)
        for number in range(STREAMS)
    )
    for number in range(BODILESS_CONNECTIONS):
        held.enter_context(victim.connect()).sendall(http2.greeting() + calls)
        if number % 5 == 0:  # it drops calls that come too fast
            victim.client.workers()
    return held


def send_large_bodies(victim: Victim) -> contextlib.ExitStack:
    """Begin calls with the largest bodies, to submit a job and to ask for the health."""
    held = contextlib.ExitStack()
    options = (("grpc.max_send_message_length", -1),)
    body = bytes(60 << 20)
    for number in range(LARGE_BODIES):
        channel = held.enter_context(grpc.insecure_channel(victim.master.address, options=options))
        path = ("/mrcore.rpc.v1.JobService/Submit", "/grpc.health.v1.Health/Check")[number % 2]
        method: Any = channel.unary_unary(path)
        call = method.future(body, timeout=30)
        expected = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK)[number % 2]
        assert call.code() is expected
    return held


def watch_health(victim: Victim) -> contextlib.ExitStack:
    """Hold more watches of the health than a master has for strangers."""
    held = contextlib.ExitStack()
    channel = held.enter_context(grpc.insecure_channel(victim.master.address))
    more = held.enter_context(grpc.insecure_channel(victim.master.address))
    calls = []
    for number in range(2 * MAX_STRANGERS):
        stub: Any = health_pb2_grpc.HealthStub(more if number < MAX_STRANGERS else channel)
        calls.append(stub.Watch(health_pb2.HealthCheckRequest()))
        held.callback(calls[-1].cancel)
        assert next(calls[-1]).status == SERVING
    # The oldest have made room.
    assert calls[0].code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return held


def connect_in_silence(victim: Victim) -> contextlib.ExitStack:
    """Hold more connections than a process may usually have; greet never, slowly or wrongly."""
    held = contextlib.ExitStack()
    for content in (*nonsense(Random(7)), *10 * list(drips())):
        held.enter_context(send(victim.connect, content))
    for _ in range(SILENT_CONNECTIONS):
        held.enter_context(victim.connect())
    return held


def guess_tokens(victim: Victim) -> contextlib.ExitStack:
    """Guess tokens all the time."""
    held = contextlib.ExitStack()
    guesser = held.enter_context(Guesser(victim.connect))
    held.callback(wait_until, lambda: guesser.refused > GUESSES, 60.0)
    return held


def test_strangers_disturb_nobody_and_leave_nothing(victim: Victim) -> None:
    victim.serves()
    before = victim.resident_bytes()
    attacks = (
        never_send_a_body, send_large_bodies, watch_health, guess_tokens, connect_in_silence
    )  # fmt: skip
    for attack in attacks:
        with attack(victim):
            victim.serves()
    wait_until(lambda: victim.resident_bytes() < before + MAX_GROWTH_BYTES, 10.0)
    log = victim.master.log()
    assert "Traceback" not in log
    assert len(log) < 20_000
    assert victim.master.stop() == 0
