"""Plans by records: exact cuts, and the first records of the whole input."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcore.errors import UsageError
from mrcore.model.task import Split
from mrcore.records import counted, splits
from mrcore.records.readers import open_batches
from mrcore.rpc.convert_task import split_from_proto, split_to_proto
from mrcore.tasks.plan import Plan, make_plan
from tests.support.specs import spec_for


def plan_of(folder: Path, *inputs: str, slots: int = 1, **options: Any) -> Plan:
    """Return the plan of a job with these options."""
    return make_plan(msgspec.structs.replace(spec_for(folder, *inputs), **options), slots)


def records(split: Split) -> list[object]:
    """Return the records of a split, as its task reads them."""
    found: list[object] = []
    for piece in split_from_proto(split_to_proto(split)).pieces:
        for batch in open_batches(piece):
            assert len(batch.values) == len(batch.offsets)
            found += batch.values
    return found


def flat(lists: Iterable[list[object]]) -> list[object]:
    """Return the items of all lists."""
    return list(chain.from_iterable(lists))


def rows(count: int, start: int = 0) -> bytes:
    """Return a csv file whose values have line ends in quotes."""
    return b"n,text\n" + b"".join(b'%d,"a\nb"\n' % n for n in range(start, start + count))


def parquet(count: int) -> bytes:
    """Return a parquet file of several row groups."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(count))}), sink, row_group_size=3)
    return sink.getvalue()


FILES = {
    "text": ("a.txt", b"".join(b"line %d\r\n" % n for n in range(10))),
    "gz": ("a.txt.gz", gzip.compress(b"".join(b"line %d\n" % n for n in range(10)))),
    "jsonl": ("a.jsonl", b"".join(b'{"n": %d}\n\n' % n for n in range(10))),
    "csv": ("a.csv", rows(10)),
    "parquet": ("a.parquet", parquet(10)),
}


@pytest.mark.parametrize("kind", FILES)
def test_tasks_have_exactly_so_many_records(kind: str, tmp_path: Path) -> None:
    name, data = FILES[kind]
    (tmp_path / name).write_bytes(data)
    options: dict[str, Any] = {"input_format": "text" if kind == "gz" else kind}
    everything = records(plan_of(tmp_path, name, **options).splits[0])
    assert len(everything) == 10
    plan = plan_of(tmp_path, name, records_per_task=4, **options)
    found = [records(split) for split in plan.splits]
    assert list(map(len, found)) == [4, 4, 2]
    assert flat(found) == everything
    for limit in (1, 3, 9, 10, 11):
        first = plan_of(tmp_path, name, limit=limit, **options)
        assert flat(map(records, first.splits)) == everything[:limit]
    both = plan_of(tmp_path, name, records_per_task=4, limit=6, **options)
    assert [records(split) for split in both.splits] == [everything[:4], everything[4:6]]


def test_the_first_records_are_those_of_all_files_in_order(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 0), ("c", 4), ("d", 5)):
        (tmp_path / name).write_text("".join(f"{name}{n}\n" for n in range(count)))
    plan = plan_of(tmp_path, "*", limit=5, slots=3)
    assert flat(map(records, plan.splits)) == ["a0", "a1", "a2", "c0", "c1"]
    again = plan_of(tmp_path, "*", limit=5, slots=1)
    assert flat(map(records, again.splits)) == ["a0", "a1", "a2", "c0", "c1"]
    shared = plan_of(tmp_path, "*", records_per_task=5)
    assert [records(split) for split in shared.splits] == [
        ["a0", "a1", "a2", "c0", "c1"],
        ["c2", "c3", "d0", "d1", "d2"],
        ["d3", "d4"],
    ]


@given(
    st.lists(st.binary(max_size=30), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(0, 20),
)
def test_any_lines_are_cut_exactly(
    tmp_path_factory: pytest.TempPathFactory, files: list[bytes], each: int, limit: int
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    for number, data in enumerate(files):
        (folder / f"{number}").write_bytes(data.replace(b"\0", b"\n").replace(b"\x1f", b"\n"))
    everything = flat(map(records, plan_of(folder, "*").splits))
    wanted = everything[:limit] if limit else everything
    found = [
        records(split) for split in plan_of(folder, "*", records_per_task=each, limit=limit).splits
    ]
    assert flat(found) == wanted
    assert all(len(some) == each for some in found[:-1])
    assert flat(map(records, plan_of(folder, "*", limit=limit).splits)) == wanted


def test_a_limited_file_is_cut_for_all_slots(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 99 + b"\n")
    with (tmp_path / "a").open("ab") as file:
        file.write((b"y" * 99 + b"\n") * 80_000)
    plan = plan_of(tmp_path, "a", limit=60_000, slots=4)
    assert len(plan.splits) > 3
    assert sum(len(records(split)) for split in plan.splits) == 60_000
    ends = [piece for split in plan.splits for piece in split.pieces]
    assert all(one.end == two.start for one, two in pairwise(ends))


def test_a_limited_plan_has_the_bytes_and_reduces_of_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "SMALL_INPUT_BYTES", 10_000)
    lines = b"".join(b"%07d\n" % n for n in range(9_000))
    (tmp_path / "a.txt").write_bytes(lines)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(lines))
    whole = plan_of(tmp_path, "a.txt", slots=7)
    assert (whole.input_bytes, whole.reduces) == (len(lines), 7)
    some = plan_of(tmp_path, "a.txt", slots=7, limit=5)
    assert (some.input_bytes, some.reduces) == (40, 1)
    assert flat(map(records, some.splits)) == [f"{n:07d}" for n in range(5)]
    both = plan_of(tmp_path, "a.txt", "b.txt.gz", limit=9_001)
    assert len(lines) < both.input_bytes <= len(lines) + len(gzip.compress(lines))


def test_what_is_not_counted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\n" * 100)
    for kind in ("blocks", "arrow"):
        for option, flag in (("limit", "--limit"), ("records_per_task", "--records-per-task")):
            with pytest.raises(UsageError, match=rf"^{flag} counts records, and a record of the"):
                plan_of(tmp_path, "a.txt", input_format=kind, **{option: 5})
    monkeypatch.setattr(counted, "MAX_MAPS", 9)
    with pytest.raises(UsageError, match=r"makes more than 9 map tasks\. Give a larger number"):
        plan_of(tmp_path, "a.txt", records_per_task=10)
    monkeypatch.setattr(counted, "MAX_COUNTED_BYTES", 99)
    with pytest.raises(UsageError, match="99 B is the most that is read"):
        plan_of(tmp_path, "a.txt", records_per_task=50)
