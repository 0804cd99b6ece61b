"""Parquet files with columns that Python cannot hold, or that a dict would lose."""

import io
import struct
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcore.errors import DataError
from tests.support.records_pieces import records_of


def parquet(column: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": [1] * len(column), "c": column}), sink, **options)
    return sink.getvalue()


def invalid_utf8() -> Any:
    buffers = [None, pa.py_buffer(struct.pack("=ii", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    return pa.Array.from_buffers(pa.string(), 1, buffers)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
        pa.array([1], pa.time64("ns")),
        pa.array([1], pa.duration("ns")),
        pa.array([253402300800000000], pa.timestamp("us")),  # the year 10000
        pa.array([-62167219200000000], pa.timestamp("us")),  # the year 0
        pa.array([3_000_000], pa.date32()),
        pa.array([0], pa.timestamp("us", tz="Mars/Phobos")),
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        invalid_utf8(),
    ],
    ids=lambda column: str(column.type),
)
def test_what_python_cannot_hold_names_file_and_column(column: Any) -> None:
    content = parquet(column)
    message = r"^The column 'c' of t.parquet of the type .* holds a value that Python cannot \(.*\)"
    with pytest.raises(DataError, match=rf"{message}: use --input-format arrow"):
        records_of(content, "parquet", "t.parquet")
    ((_, batch),) = records_of(content, "arrow", "t.parquet")
    assert isinstance(batch, pa.RecordBatch)
    assert batch.num_rows == 1


@pytest.mark.parametrize("day", ["9999-12-31", "0001-01-01", "2024-02-29"])
def test_old_timestamps_are_read_over_all_years(day: str) -> None:
    column: Any = pa.array([f"{day} 12:30:00"]).cast(pa.timestamp("us"))
    content = parquet(column, use_deprecated_int96_timestamps=True)
    ((_, batch),) = records_of(content, "arrow", "t.parquet")
    assert isinstance(batch, pa.RecordBatch)
    assert batch.column("c").cast(pa.string()).to_pylist() == [f"{day} 12:30:00.000000"]
    ((_, row),) = records_of(content, "parquet", "t.parquet")
    assert row == {"n": 1, "c": column[0].as_py()}


def test_two_columns_of_one_name_are_no_dict() -> None:
    sink = io.BytesIO()
    columns: list[Any] = [pa.array([1]), pa.array([2]), pa.array([3])]
    pq.write_table(pa.Table.from_arrays(columns, names=["a", "b", "a"]), sink)
    with pytest.raises(DataError, match=r"^t.parquet has two columns named 'a'. Rename one"):
        records_of(sink.getvalue(), "parquet", "t.parquet")
    ((_, batch),) = records_of(sink.getvalue(), "arrow", "t.parquet")
    assert isinstance(batch, pa.RecordBatch)
    assert [column.to_pylist() for column in batch.columns] == [[1], [2], [3]]
