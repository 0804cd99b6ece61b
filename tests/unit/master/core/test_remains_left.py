"""Jobs that leave runs and remains for those who go on with them, or replay a task."""

from __future__ import annotations

import msgspec
import pytest

from mrcore.master.core.ended import leaves_remains
from mrcore.master.core.orders import Cleaning
from mrcore.master.core.records import JobRecord, StageRecord
from mrcore.model.job import JobState
from mrcore.model.stages import stage_plans, stages_of
from tests.support.specs import job_spec


@pytest.mark.parametrize(
    ("output", "state", "leaves"),
    [
        (True, JobState.FAILED, True),
        (True, JobState.CANCELLED, True),
        (True, JobState.SUCCEEDED, False),
        (False, JobState.FAILED, True),
        # A `take` cancels its job when it has enough.
        (False, JobState.CANCELLED, False),
        (False, JobState.SUCCEEDED, False),
    ],
)
def test_what_ended_early_leaves_its_runs(output: bool, state: JobState, leaves: bool) -> None:
    spec = job_spec()
    if not output:
        spec = msgspec.structs.replace(spec, output_uri="", temp_uri="file:///state/tmp")
    plans = stage_plans(stages_of(spec), {0: 1}, 1)
    record = JobRecord(
        job_id="j",
        request_id="r",
        spec=spec,
        claim_generation="",
        input_bytes=1,
        submitted_seconds=1.0,
        serial=1,
        stages=[StageRecord(plan, "map", []) for plan in plans],
        state=state,
    )
    order = Cleaning(record)
    assert leaves_remains(record) is leaves
    assert order.keeps_runs is leaves
    assert (order.remains() is not None) is leaves
