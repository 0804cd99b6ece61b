"""A fleet of workers that pretend: they hold attempts, wait, and report results, over real gRPC.

What they report is what a map task over an empty split would. The master sees no difference until
it looks for the runs, which it does only once all map tasks are done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import grpc.aio

from mrcore.client.versions import versions
from mrcore.model import object_names
from mrcore.rpc.channel import connect_aio
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.convert import versions_to_proto
from mrcore.rpc.v1 import worker_service_pb2 as pb
from mrcore.rpc.v1.worker_service_pb2_grpc import WorkerServiceStub
from mrcore.storage.registry import storage_for
from mrcore.worker.shell.agent import nonce_of
from mrcore.worker.shell.synchronizer import AMPLE_LINGER_SECONDS

MEMORY_BYTES: Final = 1 << 30
JOINS_AT_ONCE: Final = 100
RETRY_SECONDS: Final = 1.0
PASSING: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_Held = pb.HeldAttempt


@dataclass(slots=True)
class Fleet:
    """Settings that all workers share, and the times that were seen."""

    credentials: Credentials
    nonce: str
    task_seconds: float
    """Mean time of a task; each takes from half of it to one and a half."""
    results: int = 0
    """Results that were reported."""
    latencies: list[float] = field(default_factory=list)
    """Seconds that each call took which carried results."""
    retries: int = 0
    """Calls that were made again."""
    joining: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(JOINS_AT_ONCE))
    """Machines of a fleet do not boot in the same second."""

    async def run(self, workers: int, results: int, submit: Callable[[], None]) -> None:
        """Work with `workers` workers until `results` results were reported.

        Once all have joined, `submit` is called in a thread.
        """
        done = asyncio.Event()
        joined = asyncio.Barrier(workers + 1)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_Worker(self, number, done, results).run(joined))
                for number in range(workers)
            ]
            await joined.wait()
            await asyncio.to_thread(submit)
            await done.wait()
            for task in tasks:
                task.cancel()


def fleet(credentials: Credentials, state_uri: str, task_seconds: float) -> Fleet:
    """Return a fleet for the master that leads a state."""
    uri = object_names.cluster_uri(state_uri)
    return Fleet(credentials, nonce_of(storage_for(uri).read(uri)), task_seconds)


class _Worker:
    """One worker with one slot."""

    def __init__(self, fleet: Fleet, number: int, done: asyncio.Event, results: int) -> None:
        self._fleet = fleet
        self._name = f"pretend-{number:05d}"
        self._done = done
        self._results = results
        self._sequence = 0
        self._cluster_id = ""
        self._epoch = 0
        self._held: dict[bytes, pb.HeldAttempt] = {}
        self._partitions: dict[bytes, int] = {}
        self._jobs: set[str] = set()
        self._versions = versions_to_proto(versions())
        self._rng = Random(number)

    async def run(self, joined: asyncio.Barrier) -> None:
        """Hold what the master wants and report each result, until cancelled."""
        async with connect_aio(self._fleet.credentials) as channel:
            stub = WorkerServiceStub(channel)
            while True:
                request = self._request()
                results = sum(held.state == _Held.STATE_FINISHED for held in request.held)
                began = time.perf_counter()
                try:
                    async with (
                        contextlib.nullcontext() if self._cluster_id else self._fleet.joining
                    ):
                        response = await stub.Synchronize(request)
                except grpc.aio.AioRpcError as error:
                    if self._done.is_set():
                        return  # gRPC may report a call that we cancelled in this way, too
                    if error.code() not in PASSING:
                        raise
                    self._fleet.retries += 1
                    await asyncio.sleep(RETRY_SECONDS)  # as a worker does
                    continue
                if results:
                    self._note(results, time.perf_counter() - began)
                joins = not self._cluster_id
                self._take(response)
                if joins:
                    await joined.wait()
                await self._work()

    def _note(self, results: int, seconds: float) -> None:
        self._fleet.results += results
        self._fleet.latencies.append(seconds)
        if self._fleet.results >= self._results:
            self._done.set()

    def _request(self) -> pb.SynchronizeRequest:
        self._sequence += 1
        return pb.SynchronizeRequest(
            cluster_id=self._cluster_id,
            worker_id=self._name,
            session=1,
            sequence=self._sequence,
            epoch=self._epoch,
            slots=1,
            memory_bytes=MEMORY_BYTES,
            cpus=1.0,
            host="bench",
            process_id=os.getpid(),
            versions=self._versions,
            store_nonce=self._fleet.nonce,
            held=self._held.values(),
            known_jobs=self._jobs,
            # An answer comes before the next attempt, so a call may wait only where none is left.
            park=bool(self._cluster_id) and not self._has_work(),
        )

    def _has_work(self) -> bool:
        return any(held.state == _Held.STATE_UNSTARTED for held in self._held.values())

    def _take(self, response: pb.SynchronizeResponse) -> None:
        self._cluster_id, self._epoch = response.cluster_id, response.epoch
        self._jobs.update(job.job_id for job in response.jobs)
        held = {}
        for wanted in response.wanted:
            name = wanted.attempt.SerializeToString(deterministic=True)
            one = self._held.get(name)
            if one is None:
                one = _Held(
                    attempt=wanted.attempt,
                    state=_Held.STATE_UNSTARTED,
                    inputs_version=wanted.inputs_version,
                )
                self._partitions[name] = wanted.partitions
            held[name] = one
        self._held = held

    async def _work(self) -> None:
        """Run attempts in order, each for the time of a task, and report when a worker would.

        That is when half of what it holds has ended, or a while has passed.
        """
        began = time.monotonic()
        for number, (name, held) in enumerate(self._held.items()):
            if 2 * number > len(self._held) or time.monotonic() > began + AMPLE_LINGER_SECONDS:
                return
            if held.state == _Held.STATE_UNSTARTED:
                if self._fleet.task_seconds:
                    # Tasks of one length would keep step with each other, and end all at once.
                    await asyncio.sleep(self._fleet.task_seconds * self._rng.uniform(0.5, 1.5))
                held.state = _Held.STATE_FINISHED
                held.output.section_bytes.extend([0] * self._partitions.pop(name))
                held.elapsed_seconds = held.output.elapsed_seconds = self._fleet.task_seconds
