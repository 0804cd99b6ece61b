"""Files of frames: in-memory items and results, and where such a file may be cut."""

from __future__ import annotations

from typing import Any

import pytest

from mrcore.errors import DataError, InputError
from mrcore.model.formats import INPUT_FORMATS, PICKLE
from mrcore.model.job import Input
from mrcore.records.frames import FrameWriter, item_frames, pairs_of_results, read_values
from mrcore.records.inputs import expand
from mrcore.records.readers import open_batches
from mrcore.records.splits import cut
from mrcore.storage.registry import storage_for
from mrcore.tasks.plan import _examined
from mrcore.util.object_copies import kept

URI = "mem://frames/items"


def _store(data: bytes) -> None:
    with storage_for(URI).open_write(URI) as sink:
        sink.write(data)
        sink.commit()


def _splits(slots: int) -> list[list[tuple[Any, Any]]]:
    files = _examined(expand([Input(URI, URI, "items")], PICKLE), 1 << 20)
    return [
        [
            (offset, value)
            for piece in split.pieces
            for batch in open_batches(piece)
            for offset, value in zip(batch.offsets, batch.values, strict=True)
        ]
        for split in cut(files, slots)
    ]


@pytest.mark.parametrize("count", [1, 2, 255, 257, 5_000])
@pytest.mark.parametrize("slots", [1, 3])
def test_items_are_read_once_each_in_order_however_they_are_cut(count: int, slots: int) -> None:
    _store(item_frames(list(range(count))))
    splits = _splits(slots)
    assert [pair for split in splits for pair in split] == [(n, n) for n in range(count)]
    assert len(splits) == min(count, 4 * slots)


def test_types_of_items_are_kept() -> None:
    items = [1, 1.0, True, None, "x", b"x", (1, [2]), {"a": {3}}]
    _store(item_frames(items))
    values = [value for split in _splits(1) for _, value in split]
    assert values == items
    assert list(map(type, values)) == list(map(type, items))


def test_no_items_are_a_file_without_records() -> None:
    _store(item_frames([]))
    assert [pair for split in _splits(2) for pair in split] == []


def test_a_file_that_is_not_frames_is_refused_before_any_task() -> None:
    _store(b"a line of text, which is long enough\n")
    with pytest.raises(InputError, match="does not hold pickled values"):
        _splits(1)


def test_a_truncated_result_is_an_error() -> None:
    with pytest.raises(DataError, match="truncated"):
        list(read_values(item_frames([1, 2])[:-40]))


def test_pairs_of_results_come_in_the_order_of_the_tasks_and_as_copies() -> None:
    shared = [1]
    parts: list[bytes] = []
    writer = FrameWriter(parts.append)
    writer.add((["a", "b"], [kept(shared), 2]))
    writer.add((["c"], [kept(shared)]))
    writer.close()
    pairs = list(pairs_of_results([b"".join(parts), b"".join(parts)]))
    assert pairs == [("a", [1]), ("b", 2), ("c", [1])] * 2
    assert pairs[0][1] is not shared


def test_the_format_is_not_listed_for_users() -> None:
    assert PICKLE in INPUT_FORMATS
    assert PICKLE not in INPUT_FORMATS.names()
