"""A worker that a test drives by hand: real gRPC, real objects, no user code."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import grpc
import msgspec

from mrcore.model import object_names
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec, Versions
from mrcore.model.task import FailureKind, TaskFailure, TaskOutput, TaskResult, TaskWork
from mrcore.rpc.channel import connect
from mrcore.rpc.cluster import Credentials
from mrcore.rpc.convert import job_spec_from_proto, job_spec_to_proto, versions_to_proto
from mrcore.rpc.convert_task import (
    attempt_from_proto,
    attempt_to_proto,
    put_result,
    work_from_proto,
)
from mrcore.rpc.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc
from mrcore.rpc.v1 import worker_service_pb2 as pb
from mrcore.rpc.v1.worker_service_pb2_grpc import WorkerServiceStub
from mrcore.storage.registry import storage_for
from tests.support.specs import job_spec, one_input

VERSIONS = Versions("3.11", "0.1.0", "1", "1")
CALL_SECONDS = 20.0


def make_spec(input_uri: str, output_uri: str, sha256: str, **changes: Any) -> JobSpec:
    """Return a small job."""
    given: dict[str, Any] = {"name": "test", "reduces": 1, "versions": VERSIONS, **changes}
    return job_spec(sha256=sha256, inputs=one_input(input_uri), output_uri=output_uri, **given)


class FakeClient:
    """Calls `JobService`."""

    def __init__(self, credentials: Credentials) -> None:
        self._channel = connect(credentials)
        self.stub = job_service_pb2_grpc.JobServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def submit(self, spec: JobSpec, bundle: bytes, request_id: str = "r1") -> job_pb2.Job:
        request = job_service_pb2.SubmitRequest(
            request_id=request_id, spec=job_spec_to_proto(spec), plugin_bundle=bundle
        )
        return self.stub.Submit(request, timeout=CALL_SECONDS).job

    def get(self, job_id: str) -> job_pb2.Job:
        request = job_service_pb2.GetRequest(job_id=job_id)
        return self.stub.Get(request, timeout=CALL_SECONDS).job

    def wait(self, job_id: str) -> job_pb2.Job:
        """Return the job once it has ended."""
        request = job_service_pb2.WatchRequest(job_id=job_id, interval_seconds=0.05)
        *_, last = self.stub.Watch(request, timeout=CALL_SECONDS)
        return last.job


class FakeWorker:
    """A worker that synchronises on demand, and reports what a test chooses."""

    def __init__(self, credentials: Credentials, worker_id: str = "w1", session: int = 1) -> None:
        self._credentials = credentials
        self._channel: grpc.Channel | None = None
        self.reconnect()
        self.worker_id = worker_id
        self.session = session
        self.sequence = 0
        self.epoch = 0
        self.cluster_id = ""
        self.nonce = ""
        self.slots = 4
        self.jobs: dict[str, JobSpec] = {}
        self.work: dict[AttemptId, TaskWork] = {}
        self.versions: dict[AttemptId, int] = {}
        self.results: dict[AttemptId, TaskResult] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            self._channel.close()

    def reconnect(self, credentials: Credentials | None = None) -> None:
        """Forget the connection, as to a master that was killed, and begin another."""
        self._credentials = credentials or self._credentials
        if self._channel is not None:
            self._channel.close()
        self._channel = connect(self._credentials)
        self._stub = WorkerServiceStub(self._channel)

    def synchronize(self, *, park: bool = False) -> pb.SynchronizeResponse:
        """State everything that is held, and hold from then on what the answer says."""
        self.sequence += 1
        request = pb.SynchronizeRequest(
            cluster_id=self.cluster_id,
            worker_id=self.worker_id,
            session=self.session,
            sequence=self.sequence,
            epoch=self.epoch,
            slots=self.slots,
            versions=versions_to_proto(VERSIONS),
            store_nonce=self.nonce,
            known_jobs=list(self.jobs),
            park=park,
        )
        for attempt in self.work:
            result = self.results.get(attempt)
            held = request.held.add(
                attempt=attempt_to_proto(attempt),
                state=pb.HeldAttempt.STATE_RUNNING
                if result is None
                else pb.HeldAttempt.STATE_FINISHED,
                inputs_version=self.versions[attempt],
            )
            if result is not None:
                put_result(held, result)
        response = self._stub.Synchronize(request, timeout=CALL_SECONDS)
        self._take(response)
        return response

    def _take(self, response: pb.SynchronizeResponse) -> None:
        self.cluster_id = response.cluster_id
        self.epoch = response.epoch
        for info in response.jobs:
            self.jobs[info.job_id] = job_spec_from_proto(info.spec)
        wanted = {attempt_from_proto(one.attempt): one for one in response.wanted}
        for attempt in set(self.work) - set(wanted):
            del self.work[attempt]
            self.results.pop(attempt, None)
        for attempt, message in wanted.items():
            work = work_from_proto(message)
            self.versions[attempt] = message.inputs_version
            if work is not None:
                self.work[attempt] = work
            assert attempt in self.work, f"{attempt} came without its work"

    def join(self) -> pb.SynchronizeResponse:
        """Learn the cluster and read its nonce, as a worker must before it gets work."""
        response = self.synchronize()
        uri = object_names.cluster_uri(response.state_uri)
        self.nonce = msgspec.json.decode(storage_for(uri).read(uri))["nonce"]
        return self.synchronize()

    def finish(self, attempt: AttemptId) -> None:
        """Write what an attempt would write, and report it with the next request."""
        spec = self.jobs[attempt.task.job_id]
        work = self.work[attempt]
        if work.partitions:
            uri, content = object_names.run_uri(spec, attempt), b"r" * work.partitions
        else:
            uri, content = object_names.staged_part_uri(spec, attempt), f"{attempt.task}\n".encode()
        with storage_for(uri).open_write(uri) as writer:
            writer.write(content)
            info = writer.commit()
        sections = (1,) * work.partitions
        self.results[attempt] = TaskOutput(
            object=info,
            # A part of text has none: it has no columns.
            digest=str(attempt.task).encode() if work.partitions else b"",
            section_bytes=sections,
            records_in=2,
            records_out=1,
            counters={"seen": 2} if attempt.task.stage == 0 else {},
        )

    def output_uri(self, attempt: AttemptId) -> str:
        """Return what a finished attempt wrote."""
        result = self.results[attempt]
        assert isinstance(result, TaskOutput)
        assert result.object is not None
        return result.object.uri

    def fail(self, attempt: AttemptId, message: str) -> None:
        """Report that the user's code raised."""
        self.results[attempt] = TaskFailure(
            kind=FailureKind.USER, message=message, traceback="Traceback: wc.py line 3"
        )

    def work_off(self) -> None:
        """Finish everything that is assigned, until nothing more comes."""
        while True:
            for attempt in list(self.work):
                if attempt not in self.results:
                    self.finish(attempt)
            self.synchronize()
            if not self.work:
                return
