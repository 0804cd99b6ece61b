"""Plans: input listed and checked, splits cut, reduces counted."""

import io
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcore.errors import DataError, InputError, UsageError
from mrcore.model.job import Compression
from mrcore.records.readers import open_batches
from mrcore.records.splits import MAX_AUTO_REDUCES, auto_reduces
from mrcore.tasks.plan import Plan, decode, encode, make_plan
from tests.support.records_pieces import read_as
from tests.support.specs import spec_for

MIB = 1 << 20


def test_reduces_follow_the_size_of_the_input() -> None:
    assert auto_reduces(0, 8) == 1
    assert auto_reduces(4 * MIB - 1, 8) == 1
    assert auto_reduces(4 * MIB, 8) == 8
    assert auto_reduces(128 * MIB + 1, 2) == 4  # in two rounds either way, so both are full
    assert auto_reduces(640 * MIB + 1, 8) == 16
    assert auto_reduces(640 * MIB + 1, 2) == 11  # the last of many rounds costs little
    assert auto_reduces(1 << 50, 8) == MAX_AUTO_REDUCES


def test_a_plan_round_trips(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\n" * MIB * 3)
    (tmp_path / "b.txt").write_bytes(b"")
    plan = make_plan(spec_for(tmp_path, "*.txt"), 2)
    assert plan.input_bytes == 6 * MIB
    assert plan.reduces == 2
    assert [split.size_bytes for split in plan.splits] == [MIB] * 6
    assert decode(encode(plan)) == plan
    for data in (b"", encode(plan)[:-1], b"\x93"):
        with pytest.raises(DataError, match=r"^The plan of the job cannot be read"):
            decode(data)


def test_what_the_user_asks_for_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\n")
    spec = spec_for(tmp_path, "a.txt")
    assert make_plan(spec, 4).reduces == 1
    assert make_plan(msgspec.structs.replace(spec, reduces=7), 4).reduces == 7
    assert make_plan(msgspec.structs.replace(spec, reduces=7, map_only=True), 4).reduces == 0


def test_the_number_of_map_tasks_may_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"".join(b"%d\n" % n for n in range(1000)))
    spec = msgspec.structs.replace(spec_for(tmp_path, "a.txt"), map_tasks=50)
    plan = make_plan(spec, 1)
    assert len(plan.splits) == 50
    lines = [
        value
        for split in plan.splits
        for piece in split.pieces
        for batch in open_batches(piece)
        for value in batch.values
    ]
    assert lines == [str(n) for n in range(1000)]
    for number in range(30):
        (tmp_path / f"s{number}.txt").write_bytes(b"x\n")
    few = msgspec.structs.replace(spec_for(tmp_path, "s*.txt"), map_tasks=3)
    assert len(make_plan(few, 8).splits) == 3
    assert len(make_plan(msgspec.structs.replace(few, map_tasks=100), 1).splits) >= 30
    (tmp_path / "a.csv").write_bytes(b"a,b\n" * 1000)
    whole = msgspec.structs.replace(spec_for(tmp_path, "a.csv"), map_tasks=9, input_format="csv")
    assert len(make_plan(whole, 1).splits) == 1


def test_splits_in_total_order_are_the_same_for_any_cluster(tmp_path: Path) -> None:
    """Borders between parts are keys at which blocks of runs begin."""
    (tmp_path / "a.txt").write_bytes(b"x\n" * MIB * 20)
    for number in range(50):
        (tmp_path / f"b{number}.txt").write_bytes(b"x\n" * (number + 1))
    spec = spec_for(tmp_path, "*.txt")
    total = msgspec.structs.replace(spec, total_order=True, reduces=3)
    plans = [make_plan(total, slots) for slots in (1, 2, 64)]
    assert plans[0] == plans[1] == plans[2]
    assert len(plans[0].splits) > 16
    assert len(make_plan(spec, 1).splits) < len(make_plan(spec, 64).splits)


def test_an_empty_input_has_no_maps_but_a_part(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    assert make_plan(spec_for(tmp_path, "a.txt"), 4) == Plan((), 1, 0)


def test_the_output_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/part-00000").write_bytes(b"old\n")
    (tmp_path / "a.txt").write_bytes(b"x\n")
    plan = make_plan(spec_for(tmp_path, "."), 1)
    assert [p.shown for split in plan.splits for p in split.pieces] == ["./a.txt"]


def test_large_parquet_files_are_cut_between_row_groups(tmp_path: Path) -> None:
    sink = io.BytesIO()
    rows = 300_000
    table = pa.table({"n": pa.array(range(rows), pa.int64())})
    pq.write_table(table, sink, row_group_size=20_000, compression="none", use_dictionary=False)
    (tmp_path / "a.parquet").write_bytes(sink.getvalue())
    for input_format in ("parquet", "arrow"):
        spec = msgspec.structs.replace(spec_for(tmp_path, "."), input_format=input_format)
        plan = make_plan(spec, 4)
        assert len(plan.splits) == 3
        assert sum(split.size_bytes for split in plan.splits) == plan.input_bytes
    numbers = [
        [
            batch.values[0].column(0).to_pylist()
            for batch in read_as(split.pieces[0], "arrow")
            if isinstance(batch.values[0], pa.RecordBatch)
        ]
        for split in plan.splits
    ]
    assert all(numbers)
    assert [n for split in numbers for batch in split for n in batch] == list(range(rows))


def test_what_is_no_parquet_is_found_when_planning(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"text\n" * 10)
    spec = msgspec.structs.replace(spec_for(tmp_path, "a.parquet"), input_format="parquet")
    with pytest.raises(InputError, match=r"^a.parquet cannot be read as parquet"):
        make_plan(spec, 1)
    (tmp_path / "b.parquet.gz").write_bytes(b"text\n" * 10)
    spec = msgspec.structs.replace(spec_for(tmp_path, "b.*"), input_format="arrow")
    with pytest.raises(InputError, match=r"b.parquet.gz is a compressed parquet file"):
        make_plan(spec, 1)


def test_formats_and_inputs_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\n")
    spec = spec_for(tmp_path, "a.txt")
    with pytest.raises(UsageError, match="parquet output cannot be compressed by bz2"):
        make_plan(
            msgspec.structs.replace(spec, output_format="parquet", compression=Compression.BZIP2),
            1,
        )
    with pytest.raises(InputError, match=r"^No file matches \*.csv"):
        make_plan(spec_for(tmp_path, "a.txt", "*.csv"), 1)
