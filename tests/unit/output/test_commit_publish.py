"""Results of a commit, its refusals, and the findings of `verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from mrcore.errors import OutputError, UsageError
from mrcore.model import object_names
from mrcore.model.job import Compression
from mrcore.output import commit
from mrcore.storage.faulty import FaultKind, FaultyStorage
from tests.support import stores
from tests.support.commit_world import CommittedJob, make_spec, new_job, old_job, snapshot
from tests.support.stores import Place


def test_an_output_holds_its_parts_and_its_receipt_and_nothing_else(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 3, make_spec(any_storage), bad=True).begin()
    assert "out/_claim" in any_storage.names()
    job.run()
    assert snapshot(any_storage) == job.expected()
    if any_storage.base_uri.startswith("file://"):
        out = Path(any_storage.uri("out").removeprefix("file://"))
        names = sorted(path.name for path in out.iterdir())
        assert names == ["_SUCCESS", "_bad", "part-00000", "part-00001", "part-00002"]


def test_overwriting_replaces_all_that_was_there(any_storage: Place) -> None:
    old_job(any_storage)
    any_storage.put("out/_SUCCESS.of-mine", b"kept")
    job = new_job(any_storage, bad=False)
    job.run()
    assert snapshot(any_storage) == {**job.expected(), "out/_SUCCESS.of-mine": b"kept"}
    if any_storage.base_uri.startswith("file://"):
        assert not Path(any_storage.uri("out/_bad").removeprefix("file://")).exists()


def test_a_job_that_failed_keeps_its_temporaries_and_frees_the_output(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 2, make_spec(any_storage)).begin()
    commit.clean_up(job.spec, "j", False)
    assert commit.release_claim(job.spec.output_uri, job.generation)
    staged = [part.object.uri for part in job.parts if part.object is not None]
    assert sorted(map(any_storage.uri, any_storage.names())) == sorted(staged)
    commit.check_output(job.spec)
    commit.clean_up(job.spec, "j", True)
    assert any_storage.names() == []


def test_runs_elsewhere_are_cleaned_too(any_storage: Place) -> None:
    temp = any_storage.uri("temp")
    spec = msgspec.structs.replace(make_spec(any_storage), temp_uri=temp)
    job = CommittedJob(any_storage, "j", 1, spec).begin()
    any_storage.put("temp/j/runs/abc-map-00000@1.1.run", b"run")
    any_storage.put("temp/other/runs/x", b"not ours")
    job.run()
    assert snapshot(any_storage) == {**job.expected(), "temp/other/runs/x": b"not ours"}
    if temp.startswith("file://"):
        assert [path.name for path in Path(temp.removeprefix("file://")).iterdir()] == ["other"]


def test_names_tell_format_and_compression(any_storage: Place) -> None:
    spec = msgspec.structs.replace(
        make_spec(any_storage), output_format="csv", compression=Compression.GZIP
    )
    CommittedJob(any_storage, "j", 1, spec).begin().run()
    assert sorted(any_storage.names()) == ["out/_SUCCESS", "out/part-00000.csv.gz"]
    assert commit.verify(spec.output_uri).ok


def test_a_staged_part_that_is_gone_is_named(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 4, make_spec(any_storage)).begin()
    gone, replaced = job.parts[1].object, job.parts[3].object
    assert gone is not None
    assert replaced is not None
    any_storage.storage.delete(gone.uri)
    with any_storage.storage.open_write(replaced.uri) as writer:
        writer.write(job.content(3))
        writer.commit()
    with pytest.raises(commit.StagedPartMissingError, match="run again") as caught:
        job.prepare()
    assert caught.value.indexes == (1, 3)
    assert not any("_SUCCESS" in name for name in any_storage.names())


def test_a_foreign_object_stops_a_commit_before_it_begins(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 1, make_spec(any_storage)).begin()
    any_storage.put("out/notes.txt", b"mine")
    with pytest.raises(OutputError, match="not empty"):
        job.prepare()


def test_a_foreign_object_in_the_place_of_a_part_is_not_replaced(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 2, make_spec(any_storage)).begin()
    job.plan = job.prepare()
    any_storage.put("out/part-00001", b"mine")
    with pytest.raises(OutputError, match=r"part-00001 was written by somebody else"):
        job.publish()
    assert any_storage.get("out/part-00001") == b"mine"
    assert any_storage.get("out/_SUCCESS") is None


def test_a_foreign_receipt_is_not_replaced(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 1, make_spec(any_storage)).begin()
    job.plan = job.prepare()
    any_storage.put("out/_SUCCESS", b"mine")
    with pytest.raises(OutputError, match=r"_SUCCESS was written by somebody else"):
        job.publish()
    assert any_storage.get("out/_SUCCESS") == b"mine"


def test_a_part_deleted_by_hand_is_no_obstacle(any_storage: Place) -> None:
    old_job(any_storage)
    job = new_job(any_storage)
    job.plan = job.prepare()
    any_storage.storage.delete(any_storage.uri("out/part-00000"))
    any_storage.storage.delete(any_storage.uri("out/_SUCCESS"))
    job.run()
    assert snapshot(any_storage) == job.expected()


def test_a_commit_without_the_claim_is_refused(any_storage: Place) -> None:
    job = CommittedJob(any_storage, "j", 1, make_spec(any_storage)).begin()
    job.plan = job.prepare()
    assert commit.force_release(job.spec.output_uri)
    with pytest.raises(OutputError, match="no longer belongs to job j"):
        job.publish()
    other = CommittedJob(any_storage, "k", 1, make_spec(any_storage)).begin()
    with pytest.raises(OutputError, match="no longer belongs to job j"):
        job.publish()
    other.run()
    assert any_storage.get("out/part-00000") == other.content(0)


class TestVerify:
    """Receipts and what they are good for."""

    def test_all_is_well(self, any_storage: Place) -> None:
        job = old_job(any_storage)
        report = commit.verify(f"{job.spec.output_uri}/")
        assert report.ok
        assert report.receipt == job.receipt()
        assert report.receipt.records_out == 3
        assert report.receipt.elapsed_seconds == 2.5
        assert list(report.receipt.counters) == ["a", "b"]
        assert report.size_bytes == sum(len(job.content(index)) for index in range(3))

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (b"old 1X\n", "part-00001 has 7 bytes, the receipt says 6"),
            (b"old X\n", "part-00001 has CRC32C"),
            (None, "part-00001 is missing"),
        ],
    )
    def test_a_part_that_changed(
        self, any_storage: Place, change: bytes | None, problem: str
    ) -> None:
        old_job(any_storage)
        any_storage.storage.delete(any_storage.uri("out/part-00001"))
        if change is not None:
            any_storage.put("out/part-00001", change)
        report = commit.verify(any_storage.uri("out"))
        assert not report.ok
        (found,) = report.problems
        assert problem in found

    def test_a_part_that_cannot_be_read(self, any_storage: Place) -> None:
        old_job(any_storage)

        def plan(operation: str, uri: str, number: int) -> FaultKind | None:
            return FaultKind.BEFORE if uri.endswith("part-00001") else None

        storage = FaultyStorage(any_storage.storage, plan)
        with stores.registered(replace(any_storage, storage=storage)):
            (problem,) = commit.verify(any_storage.uri("out")).problems
        assert problem.startswith("part-00001 cannot be read: ")

    def test_what_the_receipt_does_not_name(self, any_storage: Place) -> None:
        old_job(any_storage)
        for name in ("part-00003", "_hidden", ".hidden", "folder/x"):
            any_storage.put(f"out/{name}", b"")
        report = commit.verify(any_storage.uri("out"))
        assert [problem.split()[0] for problem in report.problems] == ["folder/", "part-00003"]

    def test_no_receipt_and_no_receipt_of_ours(self, any_storage: Place) -> None:
        with pytest.raises(UsageError, match="no job has finished there"):
            commit.verify(any_storage.uri("out"))
        any_storage.put("out/_SUCCESS", b"")
        with pytest.raises(UsageError, match="not a receipt of mrcore"):
            commit.read_receipt(any_storage.uri("out"))


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    job = CommittedJob(stores.memory_place(), "j", 0, make_spec(stores.memory_place()))
    known = msgspec.structs.asdict(job.receipt())
    counted = {name: known[name] for name in ("records_in", "counters", "attempts", "bad_records")}
    receipt = commit.make_receipt(
        job.spec, "j", [], **counted, stages=(), submitted_seconds=1_000.0, ended_seconds=999.0
    )
    assert (receipt.elapsed_seconds, receipt.ended_seconds) == (0.0, 999.0)


def test_the_receipt_reads_well() -> None:
    place = stores.memory_place()
    with stores.registered(place):
        text = old_job(place).receipt().encode().decode()
    assert text.startswith('{\n  "job_id": "old",\n  "name": "job",\n  "parts": [\n')
    assert text.endswith("}\n")
    assert msgspec.json.decode(text, type=commit.Receipt).encode().decode() == text
    assert msgspec.json.decode(text)["stages"][0] == {
        "name": "map",
        "tasks": 2,
        "attempts": 3,
        "records_in": 10,
        "records_out": 4,
        "bytes_in": 90,
        "bytes_out": 80,
    }


def test_staged_objects_lie_below_the_outputs_temporaries() -> None:
    place = stores.memory_place()
    with stores.registered(place):
        job = CommittedJob(place, "j", 1, make_spec(place), bad=True).begin()
        prefix = object_names.staging_prefix(job.spec, "j")
        plan = job.prepare()
        assert len(plan.staged) == 3
        assert all(staged.source.uri.startswith(prefix) for staged in plan.staged)
        assert plan.replaced == ()
