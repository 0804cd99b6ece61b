"""The benchmark of starts: the state that it makes is one that a master reads, in few objects."""

from __future__ import annotations

from pathlib import Path

from bench.cases import starts
from mrcore.storage.registry import storage_for
from tests.support.journals import Master


def test_a_state_of_many_tasks_is_read_in_a_few_dozen_objects(tmp_path: Path) -> None:
    storage = starts.history(20_000)
    starts.store_as_files(storage, tmp_path / "state")
    reads = starts.objects_read(storage)
    assert reads["snapshots"] == 1
    assert reads.total() <= 48
    uri = (tmp_path / "state").as_uri()
    durable = Master(storage_for(uri), "next", uri).durable
    assert len(durable.jobs) == 20
    assert sum(stage.completed for stage in list(durable.jobs.values())[-1].stages) == 500


def test_a_journal_without_snapshots_has_each_entry_and_the_same_jobs(tmp_path: Path) -> None:
    found = []
    for compacted in (False, True):
        storage = starts.history(2_000, wins=10, compacted=compacted)
        folder = tmp_path / str(compacted)
        starts.store_as_files(storage, folder)
        reads = starts.objects_read(storage)
        uri = folder.as_uri()
        found.append((reads, Master(storage_for(uri), "next", uri).durable))
    (every, raw), (_, durable) = found
    assert every["snapshots"] == every["packs"] == 0
    # The results of 1,500 tasks, ten an entry.
    assert every["journal"] >= 150
    assert raw.jobs.keys() == durable.jobs.keys()
    last = list(raw.jobs.values())[-1]
    assert sum(stage.completed for stage in last.stages) == 500
