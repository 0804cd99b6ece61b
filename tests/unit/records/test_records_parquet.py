"""Parquet parts: which types their columns get, and what is refused rather than bent."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrcore.errors import DataError
from mrcore.model.job import Compression
from mrcore.records import outputs, parquet_writer
from tests.support.written_records import written


def read_parquet(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(data))


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.GZIP, Compression.ZSTD])
def test_parquet(compression: Compression) -> None:
    pairs = [(f"k{i}", i if i % 3 else None) for i in range(70_000)]
    data = written(pairs, "parquet", compression)
    assert data == written(pairs, "parquet", compression, sizes=[1, 5000, 30_000])
    file = read_parquet(data)
    assert dict(zip(file.schema_arrow.names, map(str, file.schema_arrow.types), strict=True)) == {
        "key": "string",
        "value": "int64",
    }
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [65536, 4464]
    table = file.read().to_pydict()
    assert list(zip(table["key"], table["value"], strict=True)) == pairs


def test_parquet_without_pairs() -> None:
    file = read_parquet(written([], "parquet"))
    assert file.metadata.num_rows == 0
    assert file.schema_arrow.names == ["key", "value"]


def test_large_values_end_a_row_group_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writer, "GROUP_CHARS", 10_000)
    pairs = [(i, "x" * 9) for i in range(5000)]
    data = written(pairs, "parquet", sizes=[17])
    assert data == written(pairs, "parquet")
    metadata = read_parquet(data).metadata
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [1112, 1112, 1112, 1112, 552]


@pytest.mark.parametrize(
    "value",
    ["x" * 6_000, ["x" * 3_000] * 2, {"a": [{"b": "x" * 6_000}]}],
    ids=["str", "list", "dict"],
)
def test_few_large_values_make_a_row_group(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    monkeypatch.setattr(parquet_writer, "GROUP_CHARS", 10_000)
    metadata = read_parquet(written([(i, value) for i in range(5)], "parquet")).metadata
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [2, 2, 1]


NOON = dt.datetime(2024, 1, 1, 12, 30, tzinfo=dt.UTC).replace(tzinfo=None)
ZONED = NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2)))


@pytest.mark.parametrize(
    ("first", "later", "why"),
    [
        (1, "text", "it is of type str, others are of type int"),
        (0.5, 2**53 + 1, "beside floats an int may be at most 2**53, so that its float equals it"),
        (-(2**53) - 1, 0.5, "at most 2**53, so that its float equals it, and an int before it is"),
        (1.0, 2**70, "an int beyond 64 bits"),
        (True, 1.5, "it is of type float, others are of type bool"),
        ("text", 1.5, "it is of type float, others are of type str"),
        (1, True, "it is of type bool, others are of type int"),
        (True, 1, "it is of type int, others are of type bool"),
        ("text", b"\xff", "it is of type bytes, others are of type str"),
        (b"bytes", "text", "it is of type str, others are of type bytes"),
        (NOON.date(), NOON, "it is of type datetime, others are of type date"),
        (NOON, NOON.date(), "it is of type date, others are of type datetime"),
        (NOON, ZONED, "it is of type datetime with a time zone, others are of type datetime"),
        (Decimal("1.5"), 1, "it is of type int, others are of type Decimal"),
        (Decimal(1), Decimal("NaN"), "parquet has no decimal NaN"),
        ([2**53 + 2], [1, 2.5], "beside floats an int may be at most 2**53"),
        ({"n": 1}, {"n": "x"}, "it is of type str, others are of type int"),
        ({"n": 1}, [1], "it is of type list, others are of type dict"),
        ({"n": [1]}, {"n": [None, True]}, "it is of type bool, others are of type int"),
        (1, 2**70, "an int beyond 64 bits"),
        ("a", "\udcff", "it has a lone surrogate"),
        (dt.time(1), dt.time(1, tzinfo=dt.UTC), "parquet has no time with a time zone"),
        (1, {1, 2}, "parquet has no set"),
        ({"a": 1}, {1: 1}, "the key 1 of a dict is not a str"),
    ],
)
@pytest.mark.parametrize("rows", [1, 12])
def test_parquet_refuses_what_would_be_bent(
    monkeypatch: pytest.MonkeyPatch, first: object, later: object, why: str, rows: int
) -> None:
    """At whatever distance, in one row group or in two."""
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 10)
    pairs = [*((i, first) for i in range(rows)), (rows, later)]
    with pytest.raises(DataError) as refused:
        written(pairs, "parquet")
    message = str(refused.value)
    assert message.startswith(
        f"The value {outputs.shortened(later)} of pair {rows + 1} of the part does not"
    )
    assert why in message


def test_ints_beside_floats_become_floats() -> None:
    for values in ([1, 2.5], [0.5, None, 2**53], [-(2**53), 0.5], [1, 2.0]):
        found = parquet_values(values)
        assert found == values
        assert {type(value) for value in found} <= {float, type(None)}
    assert parquet_values([[1, 2], [0.5]]) == [[1.0, 2.0], [0.5]]
    assert parquet_values([-(2**63), 2**63 - 1]) == [-(2**63), 2**63 - 1]


def parquet_values(values: Sequence[object]) -> list[object]:
    data = written(list(enumerate(values)), "parquet")
    found: list[object] = read_parquet(data).read()["value"].to_pylist()
    return found


def test_a_key_of_another_type_is_refused_too() -> None:
    with pytest.raises(DataError, match=r"^The key True of pair 2 of the part does not fit"):
        written([(1, "a"), (True, "b")], "parquet")
    with pytest.raises(DataError, match=r"^The key \('b', 1\) of pair 1 of the part does not fit"):
        written([(("b", 1), 2)], "parquet")


@pytest.mark.parametrize(("empty", "full"), [(None, 7), ([], [1]), ({"a": None}, {"a": "x"})])
def test_types_may_show_late(monkeypatch: pytest.MonkeyPatch, empty: object, full: object) -> None:
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 10)
    values = [empty] * 35 + [full]
    assert parquet_values(values) == values


def test_numbers_of_numpy_become_pythons() -> None:
    values = [np.float64(1.5), 2.5, [np.int64(3)], {"a": np.bool_(True)}]
    assert parquet_values(values[:2]) == [1.5, 2.5]
    assert parquet_values(values[2:3]) == [[3]]
    assert parquet_values(values[3:]) == [{"a": True}]
    assert parquet_values([np.datetime64(NOON, "us")]) == [NOON]
    # As a bare count of nanoseconds or years they would be numbers without a word.
    for thing in (np.datetime64(7, "ns"), np.timedelta64(7, "Y")):
        for value in (thing, [thing], {"a": thing}):
            with pytest.raises(DataError, match=r"parquet has no (datetime|timedelta)64"):
                parquet_values([value])


def test_values_nested_deeper_than_readers_take_are_refused() -> None:
    nested: object = 1
    for _ in range(32):
        nested = [nested]
    assert parquet_values([nested]) == [nested]
    endless: list[object] = []
    endless.append({"a": endless})
    for value in ([nested], endless):
        with pytest.raises(DataError, match="more than 32 levels of lists and dicts"):
            parquet_values([value])


def test_parquet_keeps_what_it_can_hold() -> None:
    for values in (
        [NOON, None, NOON.replace(microsecond=1)],
        [Decimal("1.5"), Decimal("-1.25"), Decimal("1E+2")],
        [{"n": 1}, {"n": None, "late": [0.5]}, None],
        [dt.time(1, 2, 3, 4), dt.time(0)],
        [dt.timedelta(days=-1, microseconds=1)],
        [(1, 2), []],
    ):
        wanted = [list(v) if isinstance(v, tuple) else v for v in values]
        if isinstance(values[0], dict):
            wanted[0] = {"n": 1, "late": None}
        assert parquet_values(values) == wanted
    assert parquet_values([ZONED]) == [ZONED]
