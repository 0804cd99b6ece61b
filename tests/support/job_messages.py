"""Job messages of the API, for tests of clients and views."""

from __future__ import annotations

from mrcore.model.job import JobSpec, Plugin, Versions
from mrcore.rpc.convert import job_spec_to_proto
from mrcore.rpc.v1 import job_pb2

SPEC = JobSpec(
    name="wc",
    plugin=Plugin(sha256="0" * 64, name="wc"),
    inputs=(),
    input_format="text",
    output_uri="file:///out",
    versions=Versions(python="3.11", mrcore="1", pyarrow="1", cloudpickle="1"),
)


def message(
    job_id: str = "j-1", state: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING
) -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, spec=job_spec_to_proto(SPEC), state=state)
