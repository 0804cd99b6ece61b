"""Lists of skipped records: a few in the report of a task, and many in an object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mrcore
from mrcore.model import object_names
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.task import BadRecord, RunInput, TaskOutput, TaskSpec, TaskWork
from mrcore.output import commit
from mrcore.output.files import BadRecordsMissingError
from mrcore.output.receipt import read_receipt
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import register, storage_for
from mrcore.tasks import skipped
from mrcore.tasks.skipped import Skipped
from tests.support.inprocess import spec_of


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    register("mem", MemoryStorage)
    monkeypatch.setattr(skipped, "_REPORTED", 3)
    monkeypatch.setattr(skipped, "_SAVED_WHOLE", 5)


def spec(**changes: Any) -> TaskSpec:
    """Return the specification of an attempt."""
    attempt = AttemptId(TaskId("job", 0, 7), AttemptNumber(1, 2))
    return TaskSpec(attempt, spec_of(**changes), "mem://state", TaskWork(RunInput(())))


def reported(records: int, folder: Path, **changes: Any) -> TaskOutput:
    """Return the output of a task that has skipped some records."""
    found = Skipped(spec(**changes), folder)
    for number in range(records):
        found.add(BadRecord("in.txt", number, f"cause {number}", "é" * 300, "traceback"))
    try:
        return found.reported(TaskOutput(records_in=9))
    finally:
        found.close()


def test_a_few_records_are_in_the_report(tmp_path: Path) -> None:
    output = reported(3, tmp_path / "attempt")
    assert [bad.offset for bad in output.bad_records] == [0, 1, 2]
    assert output.stored_bad_records is None
    assert (output.skipped, output.last_cause, output.records_in) == (3, "cause 2", 9)
    assert output.saved_bad_records == output.bad_records
    assert not list(tmp_path.iterdir()), "no file is made for a few"


def test_many_records_are_an_object_with_a_line_each(tmp_path: Path) -> None:
    output = reported(7, tmp_path / "attempt")
    assert (output.bad_records, output.skipped, output.last_cause) == ((), 7, "cause 6")
    info = output.saved_bad_records
    assert not isinstance(info, tuple)
    assert info.uri.startswith(object_names.staging_prefix(spec().job, "job"))
    lines = [json.loads(line) for line in storage_for(info.uri).read(info.uri).splitlines()]
    assert [(each["offset"], each["cause"]) for each in lines] == [
        (number, f"cause {number}") for number in range(7)
    ]
    assert {each["shown"] for each in lines} == {"in.txt"}
    assert [each["traceback"] for each in lines] == ["traceback"] * 5 + ["", ""]
    assert [len(each["record"]) for each in lines] == [300] * 5 + [200, 200]


def test_a_job_without_an_output_has_their_number_alone(tmp_path: Path) -> None:
    output = reported(7, tmp_path / "attempt", output_uri="")
    assert (output.bad_records, output.saved_bad_records, output.skipped) == ((), (), 7)
    assert output.last_cause == "cause 6"
    assert not list(tmp_path.iterdir())


def test_a_stored_list_becomes_the_list_of_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("in.txt").write_text("".join(f"{number}\n" for number in range(20)))

    def odd(key: Any, line: str) -> Any:
        return [(line, 1 // (int(line) % 2))]

    def run(allowed: int | str, output: str = "out") -> mrcore.Result:
        return mrcore.run(
            map=odd,
            map_only=True,
            inputs="in.txt",
            output=output,
            max_bad_records=allowed,
            engine="inline",
        )

    result = run("50%")
    found = [json.loads(line) for line in Path("out/_bad/map-00000.jsonl").read_text().splitlines()]
    assert [each["record"] for each in found] == [str(number) for number in range(0, 20, 2)]
    assert read_receipt(result.job.output_uri).bad_records == result.job.bad_records == 10
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "_SUCCESS", "_bad", "part-00000"
    ]  # fmt: skip
    with pytest.raises(mrcore.RunFailedError, match=r"The last one: map raised ZeroDiv.* 18\."):
        run("49%", "other")


def test_a_stored_list_that_is_gone_fails_the_commit(tmp_path: Path) -> None:
    job = spec(output_uri=f"file://{tmp_path}/out").job
    output = reported(7, tmp_path / "attempt", output_uri=job.output_uri)
    info = output.saved_bad_records
    assert not isinstance(info, tuple)
    receipt = commit.make_receipt(
        job,
        "job",
        (),
        records_in=0,
        counters={},
        attempts=1,
        stages=(),
        bad_records=7,
        submitted_seconds=0.0,
        ended_seconds=1.0,
    )
    plan = commit.prepare(job, "job", (), receipt, bad_records={"map-00007": info})
    assert f"{job.output_uri}/_bad/map-00007.jsonl" in {each.destination for each in plan.staged}
    storage_for(info.uri).delete(info.uri)
    with pytest.raises(BadRecordsMissingError, match="of map-00007 are gone") as missing:
        commit.prepare(job, "job", (), receipt, bad_records={"map-00007": info})
    assert missing.value.tasks == ("map-00007",)
    with storage_for(info.uri).open_write(info.uri) as writer:
        writer.write(b"of somebody else")
        writer.commit()
    with pytest.raises(BadRecordsMissingError, match="of map-00007 are gone") as missing:
        commit.prepare(job, "job", (), receipt, bad_records={"map-00007": info})
    assert missing.value.tasks == ("map-00007",)
