"""Parquet parts of one job: one schema for all, or a sentence before anything is published."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import mrcore
from mrcore.errors import MrcoreError
from mrcore.model import object_names
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import Compression
from mrcore.model.task import TaskOutput
from mrcore.output import commit
from mrcore.records import parquet_parts, parquet_writer
from mrcore.records.writers import open_part
from mrcore.storage.base import ObjectInfo
from tests.support.commit_world import CommittedJob, make_spec
from tests.support.stores import Place


def _names(parts: dict[int, TaskOutput]) -> dict[int, str]:
    return {index: part.object.uri for index, part in parts.items() if part.object is not None}


def _checksum(part: TaskOutput) -> int:
    assert part.object is not None
    assert part.object.crc32c is not None
    return part.object.crc32c


class ParquetJob(CommittedJob):
    """A job whose parts hold these values."""

    values: list[list[Any]]

    def begin_with(self, values: list[list[Any]]) -> ParquetJob:
        """Claim the output and stage parts of these values."""
        state = self.place.uri("state")
        self.generation = commit.claim(self.spec, self.job_id, self.job_id, state, "host:1")
        for index, some in enumerate(values):
            attempt = AttemptId(TaskId(self.job_id, 1, index), AttemptNumber(1, index))
            with self.place.storage.open_write(
                object_names.staged_part_uri(self.spec, attempt)
            ) as sink:
                part = open_part(sink, "parquet")
                part.write(list(range(len(some))), some)
                counts = part.close()
                info = sink.commit()
            self.parts.append(TaskOutput(object=info, digest=counts.schema_digest, records_out=1))
        return self

    def publish_all(self) -> None:
        """Commit as a master does, whose journal has the parts as the tasks left them."""
        files = commit.output_files(self.spec, self.parts)
        self.rewritten = commit.of_one_schema(self.spec, self.job_id, files)
        again = commit.of_one_schema(self.spec, self.job_id, files)
        assert _names(self.rewritten) == _names(again)
        assert [_checksum(part) for part in self.rewritten.values()] == [
            _checksum(part) for part in again.values()
        ]
        self.run()


def parquet_job(place: Place) -> ParquetJob:
    spec = msgspec.structs.replace(make_spec(place), output_format="parquet")
    return ParquetJob(place, "j", 0, spec)


@pytest.mark.parametrize(
    "values",
    [
        [[], [1, 2]],
        [[None], [], ["x"]],
        [[[]], [[1]], [None]],
        [[Decimal(1)], [Decimal("0.25")], [None]],
        [[{"n": 1}], [{"n": None, "late": "x"}], [{"late": None, "n": 2}]],
        [[1, 2**53], [2.5], [None], [-(2**53)]],
        [[[1], None], [[2.5]], [[]]],
        [[{"a": {"b": 1}}], [{"a": {"b": 0.5}}]],
    ],
    ids=str,
)
def test_all_parts_get_one_schema(any_storage: Place, values: list[list[Any]]) -> None:
    job = parquet_job(any_storage).begin_with(values)
    job.publish_all()
    found = []
    schemas = []
    for name in sorted(any_storage.names()):
        if name.startswith("out/part-"):
            content = any_storage.get(name)
            assert content is not None
            table = pq.read_table(pa.BufferReader(content))
            schemas.append(table.schema)
            found.append(table["value"].to_pylist())
    assert all(schema.equals(schemas[0]) for schema in schemas)
    assert not any("null" in str(field.type) for field in schemas[0])
    assert [len(part) for part in found] == [len(part) for part in values]
    assert [[_without_none(v) for v in part] for part in found] == [
        [_without_none(v) for v in part] for part in values
    ]
    assert commit.verify(job.spec.output_uri).ok


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item is not None}
    return value


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([[1], ["x"]], "The column 'value' has the type int64 in part 0 and string in part 1"),
        (
            [[1, 2**53 + 1], [1.5]],
            "The column 'value' has the type int64 in one part of the output, and double holds not "
            "all of its values as they are (Integer value 9007199254740993 not in range",
        ),
        (
            [[None], ["x"], [b"x"]],
            "The column 'value' has the type string in part 1 and binary in part 2",
        ),
        (
            [[{"a": [1]}], [{"a": ["x"]}]],
            "The column 'value' has the type struct<a: list<",
        ),
    ],
)
def test_types_that_do_not_go_together_end_the_job_before_anything_is_published(
    any_storage: Place, values: list[list[Any]], why: str
) -> None:
    job = parquet_job(any_storage).begin_with(values)
    with pytest.raises(MrcoreError, match=r"[eE]mit one.*, or choose another") as refused:
        job.publish_all()
    assert str(refused.value).startswith(why)
    assert not [name for name in any_storage.names() if name.startswith("out/part-")]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3, 0.5, 4], "double"),
        ([{"n": 1}, {"n": 1}, {"n": 1, "late": "x"}, {"n": 0.5}, None], "struct<"),
        ([Decimal(1), Decimal(2), Decimal("1.25")], "decimal128(38, 2)"),
        ([None, None, None, [1], [2.5]], "list<"),
    ],
    ids=str,
)
@pytest.mark.parametrize("cut", [0, 1, None])
def test_a_type_may_grow_after_rows_were_written(
    any_storage: Place,
    monkeypatch: pytest.MonkeyPatch,
    values: list[Any],
    kind: str,
    cut: int | None,
) -> None:
    """So it does not depend on the parts and their row groups what can be written."""
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 1)
    monkeypatch.setattr(parquet_writer, "HELD_GROUPS", 2)
    parts = [values] if cut is None else [values[:cut], values[cut:], values]
    job = parquet_job(any_storage).begin_with(parts)
    job.publish_all()
    names = [name for name in sorted(any_storage.names()) if name.startswith("out/part-")]
    tables = [pq.read_table(pa.BufferReader(any_storage.get(name))) for name in names]
    assert all(table.schema == tables[0].schema for table in tables)
    assert str(tables[0].schema.field("value").type).startswith(kind)
    found = [table["value"].to_pylist() for table in tables]
    assert [[_without_none(value) for value in part] for part in found] == parts
    assert commit.verify(job.spec.output_uri).ok


def test_parts_of_one_digest_are_looked_at_once(
    any_storage: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = parquet_job(any_storage).begin_with([[None], [1], [], [2], [None], [3]])
    read: list[str] = []

    def schema_of(part: ObjectInfo, compression: Compression) -> Any:
        read.append(part.uri)
        return parquet_parts.schema_of(part, compression)

    monkeypatch.setattr(parquet_parts.ParquetSchemas, "schema_of", staticmethod(schema_of))
    rewritten = commit.of_one_schema(job.spec, "j", commit.output_files(job.spec, job.parts))
    assert list(rewritten) == [0, 2, 4]
    uris = [part.object.uri for part in job.parts if part.object is not None]
    assert sorted(read) == sorted([uris[0], uris[1], uris[2]])


def test_a_staged_part_that_is_gone_is_named(any_storage: Place) -> None:
    job = parquet_job(any_storage).begin_with([[1], []])
    gone = job.parts[1].object
    assert gone is not None
    any_storage.storage.delete(gone.uri, generation=gone.generation)
    with pytest.raises(commit.StagedPartMissingError) as missing:
        commit.of_one_schema(job.spec, "j", commit.output_files(job.spec, job.parts))
    assert missing.value.indexes == (1,)


def first(key: str, values: Iterator[Any]) -> Any:
    return next(values)


def test_a_folder_with_empty_parts_is_read_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("a.txt").write_text("7\n")
    Path("b.txt").write_text("1.5\n")
    options: dict[str, Any] = {"output_format": "parquet", "engine": "inline"}
    mrcore.run(
        map=lambda key, line: [("k", int(line))],
        reduce=first,
        inputs="a.txt",
        output="out",
        reduces=4,
        **options,
    )
    table = ds.dataset(sorted(map(str, Path("out").glob("part-*")))).to_table()
    assert table.to_pylist() == [{"key": "k", "value": 7}]
    options |= {"inputs": ["a.txt", "b.txt"], "map_only": True}
    with pytest.raises(mrcore.MrcoreError, match="'value' has the type int64 in part 0 and"):
        mrcore.run(
            map=lambda key, line: [("k", line if "." in line else int(line))],
            output="mixed",
            **options,
        )
    assert not list(Path("mixed").glob("part-*"))
    mrcore.run(
        map=lambda key, line: [{"n": float(line) if "." in line else int(line)}],
        output="numbers",
        **options,
    )
    assert ds.dataset("numbers", format="parquet").to_table().to_pylist() == [{"n": 7}, {"n": 1.5}]
