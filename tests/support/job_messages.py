"""Job messages of the API, for tests of clients and views."""

from __future__ import annotations

from mrcore.rpc.convert import job_spec_to_proto
from mrcore.rpc.v1 import job_pb2
from tests.support.specs import job_spec

SPEC = job_spec("wc", plugin_name="wc", output_uri="file:///out")


def message(
    job_id: str = "j-1", state: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING
) -> job_pb2.Job:
    return job_pb2.Job(job_id=job_id, spec=job_spec_to_proto(SPEC), state=state)
