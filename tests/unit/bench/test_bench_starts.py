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


def test_entries_may_have_few_results_each() -> None:
    storage = starts.history(2_000, wins=10)
    entries = storage.list(f"{starts.STATE}/journal/")
    # The results of 1,500 tasks, ten an entry.
    assert max(int(info.uri.rpartition("/")[2]) for info in entries) >= 150
    assert starts.objects_read(storage).total() < 150
