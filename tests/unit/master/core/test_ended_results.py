"""Results of jobs that have ended: they stay for the caller, whatever else is forgotten."""

from __future__ import annotations

import msgspec

from mrcore.master.core.ended import lighten
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord, StageRecord, TaskRecord
from mrcore.model.ids import AttemptNumber
from mrcore.model.stages import Result, Run, Runs, Splits, StagePlan
from mrcore.model.task import TaskOutput
from mrcore.storage.base import ObjectInfo
from tests.support.fake_worker import make_spec

OBJECT = ObjectInfo(uri="mem://state/results/j/reduce-00001@1.2", size_bytes=9, generation="7")


def _record() -> JobRecord:
    number = AttemptNumber(1, 1)
    plans = StagePlan(1, Splits(), Run()), StagePlan(2, Runs((0,)), Result())
    maps = [TaskRecord(winner=number, output=TaskOutput(object=OBJECT))]
    reduces = [
        TaskRecord(winner=number, output=TaskOutput(result=b"x" * 5_000)),
        TaskRecord(winner=number, output=TaskOutput(object=OBJECT)),
    ]
    spec = msgspec.structs.replace(make_spec("mem://in", "mem://out", "0" * 64), output_uri="")
    return JobRecord(
        job_id="j",
        request_id="r",
        spec=spec,
        claim_generation="",
        input_bytes=0,
        submitted_seconds=0.0,
        serial=1,
        stages=[
            StageRecord(plan, name, tasks)
            for plan, name, tasks in zip(plans, ("map", "reduce"), (maps, reduces), strict=True)
        ],
    )


def test_results_are_kept_and_weighed_and_runs_are_not() -> None:
    record = _record()
    lighten(record, Limits())
    small, large = record.results
    assert (small.result, small.object) == (b"x" * 5_000, None)
    assert (large.result, large.object) == (b"", OBJECT)
    output = record.stages[0].tasks[0].output
    assert output is not None
    assert output.object is None
    other = _record()
    other.stages[1].tasks[0].output = TaskOutput()
    lighten(other, Limits())
    assert record.kept_bytes - other.kept_bytes == 5_000


def test_results_outlive_the_attempts_of_a_job_that_is_too_large() -> None:
    record = _record()
    lighten(record, Limits(ended_job_bytes_max=1))
    assert record.stages[0].tasks[0].worker_id == ""
    assert [(each.result, each.object) for each in record.results] == [
        (b"x" * 5_000, None),
        (b"", OBJECT),
    ]
    assert record.kept_bytes > 5_000
