"""An output that jobs commit to, step by step, for the tests of committing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec

from mrcore.model import object_names, partition_files
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import JobSpec, Versions
from mrcore.model.partition_files import PartitionFile
from mrcore.model.snapshots import StageView
from mrcore.model.task import BadRecord, TaskOutput
from mrcore.output import commit
from mrcore.storage.base import ObjectInfo
from mrcore.storage.faulty import FaultKind, FaultyStorage, Hook, Plan
from tests.support import stores
from tests.support.specs import job_spec, one_input
from tests.support.stores import Place

STAGES = (
    StageView(name="map", tasks=2, records=10, bytes=90, attempts=3, records_out=4, bytes_out=80),
    StageView(name="reduce", tasks=1, records=4, bytes=80, attempts=1, records_out=1, bytes_out=8),
)
VERSIONS = Versions(python="3.11", mrcore="0.1", pyarrow="18", cloudpickle="3")


class Crash(BaseException):
    """The process dies here."""


def make_spec(
    place: Place, *, overwrite: bool = False, out: str = "out", partition_by: tuple[str, ...] = ()
) -> JobSpec:
    source = place.uri("in")
    return job_spec(
        "job",
        inputs=one_input(source),
        output_uri=place.uri(out),
        overwrite=overwrite,
        partition_by=partition_by,
    )


@dataclass
class CommittedJob:
    """A job whose tasks are done: what its committers know, in the order in which they learn it.

    `plan` and `ended` are what a journal would keep, so another committer may go on.
    """

    place: Place
    job_id: str
    part_count: int
    spec: JobSpec
    bad: bool = False
    generation: str = ""
    parts: list[TaskOutput] = field(default_factory=list)
    rewritten: dict[int, TaskOutput] = field(default_factory=dict)
    plan: CommitPlan | None = None
    ended: bool = False
    _listed: list[commit.OutputFile] = field(default_factory=list)

    def begin(self) -> CommittedJob:
        """Claim the output and stage the parts."""
        state = self.place.uri("state")
        self.generation = commit.claim(self.spec, self.job_id, self.job_id, state, "host:1")
        for index in range(self.part_count):
            attempt = AttemptId(TaskId(self.job_id, 1, index), AttemptNumber(1, index))
            content = self.content(index)
            if self.spec.partition_by:
                content = partition_files.encode(
                    [
                        PartitionFile(
                            folder,
                            self._stage(
                                object_names.staged_partition_uri(self.spec, attempt, number),
                                self.content(index, folder),
                            ),
                            records=1,
                            digest=b"",
                        )
                        for number, folder in enumerate(self.folders(index))
                    ]
                )
            uri = object_names.staged_part_uri(self.spec, attempt)
            self.parts.append(TaskOutput(object=self._stage(uri, content), records_out=1))
        return self

    def _stage(self, uri: str, content: bytes) -> ObjectInfo:
        with self.place.storage.open_write(uri) as writer:
            writer.write(content)
            return writer.commit()

    def folders(self, index: int) -> list[str]:
        """Return the folders of a part's files: two, one of which other jobs do not have."""
        return ["x=all", f"x={self.job_id}-{index}"] if self.spec.partition_by else [""]

    def content(self, index: int, folder: str = "") -> bytes:
        return f"{self.job_id} {index} {folder}".strip().encode() + b"\n"

    def files(self) -> dict[str, bytes]:
        """Return the contents of all files of the output, by name in the place."""
        return {
            "/".join(filter(None, ("out", folder, f"part-{index:05d}"))): self.content(
                index, folder
            )
            for index in range(self.part_count)
            for folder in self.folders(index)
        }

    def _output_files(self) -> list[commit.OutputFile]:
        """Return the files as they are staged; the lists of partitions are gone in the end."""
        if not (self.spec.partition_by and self._listed):
            self._listed = commit.output_files(self.spec, self.parts)
        return self._listed

    def receipt(self) -> commit.Receipt:
        return commit.make_receipt(
            self.spec,
            self.job_id,
            commit.with_rewritten(self._output_files(), self.rewritten),
            records_in=10,
            counters={"b": 2, "a": 1},
            attempts=3,
            stages=STAGES,
            bad_records=int(self.bad),
            submitted_seconds=1_000.0,
            ended_seconds=1_002.5,
        )

    def bad_records(self) -> dict[str, tuple[BadRecord, ...]]:
        record = BadRecord(shown="in", offset=7, cause="died", record="x")
        return {"map-00001": (record,)} if self.bad else {}

    def run(self) -> None:
        """Do what is left to do, as a master that has just read the journal."""
        if self.plan is None:
            self.plan = self.prepare()
        if not self.ended:
            self.publish()
            self.ended = True
        self.finish()

    def prepare(self) -> CommitPlan:
        return commit.prepare(
            self.spec,
            self.job_id,
            commit.output_files(self.spec, self.parts),
            self.receipt(),
            rewritten=self.rewritten,
            bad_records=self.bad_records(),
        )

    def publish(self) -> None:
        assert self.plan is not None
        commit.publish_job(self.spec, self.job_id, self.parts, self.plan, parallel=1)

    def finish(self) -> None:
        commit.clean_up(self.spec, self.job_id, True)
        commit.release_claim(self.spec.output_uri, self.generation)

    def expected(self) -> dict[str, bytes]:
        """Return all that the output holds in the end."""
        found = self.files()
        found["out/_SUCCESS"] = self.receipt().encode()
        if self.bad:
            line = b"".join(msgspec.json.encode(r) + b"\n" for r in self.bad_records()["map-00001"])
            found["out/_bad/map-00001.jsonl"] = line
        return found


def snapshot(place: Place) -> dict[str, bytes | None]:
    """Return everything in the place, temporaries too."""
    return {name: place.get(name) for name in place.names()}


FLAT: tuple[str, ...] = ()
BY_X = ("x",)
"""Columns that the output is partitioned by."""


def old_job(place: Place, partition_by: tuple[str, ...] = FLAT) -> CommittedJob:
    """Return a job of three parts and bad records that has committed already."""
    spec = make_spec(place, partition_by=partition_by)
    job = CommittedJob(place, "old", 3, spec, bad=True).begin()
    job.run()
    return job


def new_job(
    place: Place, partition_by: tuple[str, ...] = FLAT, *, bad: bool = True
) -> CommittedJob:
    """Return a job of two parts, ready to replace the old one."""
    spec = make_spec(place, overwrite=True, partition_by=partition_by)
    return CommittedJob(place, "new", 2, spec, bad=bad).begin()


@contextmanager
def faulty(place: Place, plan: Plan, hook: Hook | None = None) -> Iterator[None]:
    """Let the registry give a store with these faults, which are crashes."""
    storage = FaultyStorage(place.storage, plan, error=Crash, hook=hook)
    with stores.registered(replace(place, storage=storage)):
        yield


def crash_at(number: int, kind: FaultKind) -> Plan:
    return lambda operation, uri, count: kind if count == number else None


def at_operation(number: int, act: Callable[[], None]) -> Hook:
    """Return a hook that calls `act` before the operation with this number, and only once."""
    seen = iter(range(1_000_000))

    def hook(operation: str, uri: str) -> None:
        if next(seen) == number:
            act()

    return hook
