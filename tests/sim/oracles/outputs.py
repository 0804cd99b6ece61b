"""Oracle of outputs: whoever looks at one sees all of a job's parts, or that it is unfinished."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from mrcore.master.core.durable import Durable
from mrcore.master.core.ended import keeps_temporaries
from mrcore.model import object_names
from mrcore.model.ids import AttemptId
from mrcore.model.job import Compression, JobState
from mrcore.output.receipt import Receipt

if TYPE_CHECKING:
    from tests.sim.world.jobs import SimJob
    from tests.sim.world.store import Store

OUTPUTS = "sim://out"


def part_uri(output_uri: str, index: int) -> str:
    """Return where a part is published."""
    return f"{output_uri}/{object_names.part_name(index, 'text', Compression.NONE)}"


class Outputs:
    """Judge of what appears under the names of outputs."""

    def __init__(self) -> None:
        self.contents: dict[AttemptId, bytes] = {}
        """Content of each part that was ever staged."""

    def published(self, store: Store, uri: str) -> None:
        """Judge an object that has just been published."""
        output_uri, _, name = uri.rpartition("/")
        if name == object_names.SUCCESS:
            content = store.content(uri)
            assert content is not None
            for part in msgspec.json.decode(content, type=Receipt).parts:
                there = store.content(f"{output_uri}/{part.name}")
                assert there is not None, f"{uri} names {part.name}, which is not there"
                assert len(there) == part.size_bytes, f"{uri} names another {part.name}"
        elif name.startswith("part-"):
            begun = store.is_there(object_names.commit_uri(output_uri))
            ended = store.is_there(object_names.success_uri(output_uri))
            assert begun or ended, f"{uri} appears, and nothing shows that a commit has begun"

    def judge_end(self, store: Store, jobs: Iterable[SimJob], durable: Durable) -> None:
        """Judge what is left when all has ended."""
        last: dict[str, SimJob | None] = {}
        torn: set[str] = set()
        for job_id in durable.ended:  # oldest first
            for job in jobs:
                record = durable.jobs[job_id]
                if job.job_id != job_id or not record.spec.output_uri:
                    continue
                last.setdefault(job.output_uri, None)
                if record.state is JobState.SUCCEEDED:
                    last[job.output_uri] = job
                    torn.discard(job.output_uri)
                elif job.published is not None:
                    torn.add(job.output_uri)  # it has begun to publish, and failed
        self._judge_temporaries(store, durable)
        for output_uri, writer in last.items():
            claim = object_names.claim_uri(output_uri)
            assert not store.is_there(claim), f"{claim} is left"
            if output_uri not in torn:
                self._judge(store, output_uri, writer)

    def _judge_temporaries(self, store: Store, durable: Durable) -> None:
        """Judge what attempts have left: nothing, of a job that nobody goes on with.

        Parts that are published are objects of their own by then. What a process has written that
        was gone before it could report it is left to people.
        """
        for uri, attempt in store.writers.items():
            record = durable.jobs.get(attempt.task.job_id)
            if record is not None and not keeps_temporaries(record):
                assert attempt in store.unreported or not store.is_there(uri), f"{uri} is left"

    def _judge(self, store: Store, output_uri: str, job: SimJob | None) -> None:
        found = {info.uri: store.read(info.uri) for info in store.list(f"{output_uri}/part-")}
        parts = () if job is None or job.published is None else job.published
        expected = {part_uri(output_uri, n): self.contents[a] for n, a in enumerate(parts)}
        assert found == expected, f"{output_uri} has {sorted(found)}, and not {sorted(expected)}"
        receipt = store.content(object_names.success_uri(output_uri))
        assert (receipt is None) == (job is None), f"{output_uri} has a receipt, or lacks it"
        if job is not None and receipt is not None:
            assert msgspec.json.decode(receipt, type=Receipt).job_id == job.job_id
        commit = object_names.commit_uri(output_uri)
        assert not store.is_there(commit), f"{commit} is left"
