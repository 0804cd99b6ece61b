"""Stored bytes of this version: golden files, so that a change of a format is seen and numbered.

`MRCORE_REWRITE_GOLDEN=1 .venv/bin/python -m pytest tests/unit/master/shell/test_stored_formats.py`
rewrites them. Raise the format's number with them, unless the former bytes mean the same.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from mrcore.errors import CorruptRunError, DataError, UsageError
from mrcore.master.shell.entries import FORMAT as ENTRY_FORMAT
from mrcore.master.shell.entries import UNSEALED_FORMAT, JournalError, decode_entry
from mrcore.master.shell.packs import FORMAT as PACK_FORMAT
from mrcore.master.shell.packs import Packs
from mrcore.master.shell.seals import seal_json
from mrcore.master.shell.snapshots import FORMAT as SNAPSHOT_FORMAT
from mrcore.master.shell.snapshots import Snapshots
from mrcore.model import object_names
from mrcore.output import receipt
from mrcore.shuffle.keys import keys_to_python
from mrcore.shuffle.reading import blocks_of
from mrcore.shuffle.runfile import MAGIC, read_footer
from mrcore.shuffle.values import to_python
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import storage_for
from mrcore.tasks import plan
from tests.fuzz.targets import STATE, TARGETS

GOLDEN = Path(__file__).parent / "golden"
KINDS = ("journal", "snapshot", "pack", "run", "receipt", "plan", "claim")
REWRITES = os.environ.get("MRCORE_REWRITE_GOLDEN") == "1"


def golden(kind: str) -> bytes:
    return (GOLDEN / f"{kind}.bin").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_stored_bytes_are_read_and_are_those_that_are_written(kind: str) -> None:
    written = TARGETS[kind].corpus()[-1 if kind == "journal" else 0]
    if REWRITES:
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / f"{kind}.bin").write_bytes(written)
    TARGETS[kind].read(golden(kind))
    if kind not in ("run", "plan"):  # runs have the bytes of their version of Arrow
        assert written == golden(kind), "the format has changed: see the first lines of this file"


def test_the_rows_of_a_stored_run_are_read() -> None:
    content = golden("run")
    assert content.endswith(MAGIC)
    block = next(blocks_of(iter([content])))
    assert keys_to_python(block.key_kind, block.keys) == ["a", "b", "ü"]
    assert to_python(block.value_kind, block.values) == [1, 2, 3]


def test_each_entry_and_snapshot_has_the_number_of_its_format() -> None:
    assert msgspec.json.decode(golden("journal"))["format"] == ENTRY_FORMAT
    assert msgspec.msgpack.decode(golden("snapshot"))["format"] == SNAPSHOT_FORMAT
    assert msgspec.msgpack.decode(golden("pack"))["format"] == PACK_FORMAT


def read_receipt(content: dict[str, object]) -> receipt.Receipt:
    uri = "mem://formats/receipt"
    with storage_for(uri).open_write(f"{uri}/_SUCCESS") as writer:
        writer.write(msgspec.json.encode(content))
        writer.commit()
    return receipt.read_receipt(uri)


def test_a_receipt_of_another_format_is_refused() -> None:
    made = msgspec.json.decode(golden("receipt"))
    assert made["format"] == receipt.FORMAT
    first = {name: value for name, value in made.items() if name != "format"}
    assert read_receipt(first) == read_receipt(made), "the first receipts had no number"
    with pytest.raises(UsageError, match="is a receipt of another version of mrcore"):
        read_receipt({**made, "format": receipt.FORMAT + 1, "parts": "elsewhere"})


@pytest.mark.parametrize(
    "names",
    [["../a"], ["k=v/../../a"], ["/etc/passwd"], ["a//b"], ["./a"], [""], ["a\0"], ["a", "b", "a"]],
)
def test_a_receipt_names_each_part_once_and_none_outside_of_its_output(names: list[str]) -> None:
    made = msgspec.json.decode(golden("receipt"))

    def with_names(*given: str) -> dict[str, object]:
        parts = [receipt.PartReceipt(name, 1, None, 1) for name in given]
        return {**made, "parts": msgspec.to_builtins(parts)}

    assert len(read_receipt(with_names("k=v/part-0", "..b", "a.")).parts) == 3
    with pytest.raises(UsageError, match="is not a receipt of mrcore"):
        read_receipt(with_names(*names))


def test_a_plan_of_another_format_is_refused() -> None:
    made = msgspec.msgpack.decode(golden("plan"))
    assert made["format"] == plan.FORMAT
    first = {name: value for name, value in made.items() if name != "format"}
    assert plan.decode(msgspec.msgpack.encode(first)) == plan.decode(golden("plan"))
    with pytest.raises(DataError, match="was written by another version of mrcore"):
        plan.decode(msgspec.msgpack.encode({**made, "format": plan.FORMAT + 1, "splits": 5}))


def test_a_plan_of_the_first_format_is_read_unless_it_cuts_parquet() -> None:
    first = plan.decode(golden("plan-1"))
    assert (first.format, first.input_bytes) == (plan.FIRST_FORMAT, 4)
    (split,) = first.splits[:1]
    for format_, end, is_read in (
        ("text", 1, True),
        ("parquet", 10, True),
        ("parquet", 9, False),
        ("arrow-parquet", 9, False),
    ):
        piece = msgspec.structs.replace(
            split.pieces[0], format=format_, start=0, end=end, size_bytes=10
        )
        pieces = (msgspec.structs.replace(split, pieces=(piece,)),)
        former = msgspec.structs.replace(first, splits=pieces, format=plan.FIRST_FORMAT)
        if is_read:
            assert plan.decode(plan.encode(former)).splits == pieces
            continue
        with pytest.raises(DataError, match="was written by another version of mrcore"):
            plan.decode(plan.encode(former))
        now = msgspec.structs.replace(former, format=plan.FORMAT)
        assert plan.decode(plan.encode(now)).splits == pieces


def test_a_run_of_another_format_is_refused() -> None:
    uri = "mem://formats/run"
    with storage_for(uri).open_write(uri) as writer:
        writer.write(golden("run")[:-1] + b"2")
        writer.commit()
    with pytest.raises(CorruptRunError, match="was written by another version of mrcore"):
        read_footer(storage_for(uri), uri)


@pytest.mark.parametrize("number", [1, UNSEALED_FORMAT - 1, ENTRY_FORMAT + 1])
def test_an_entry_of_another_format_is_refused(number: int) -> None:
    entry = {**msgspec.json.decode(golden("journal-3")), "format": number}
    content = msgspec.json.encode(entry)
    for written in (content, seal_json(content)):
        with pytest.raises(JournalError, match="was written by another version of mrcore"):
            decode_entry(written, STATE)


def test_objects_of_former_formats_are_read() -> None:
    entry = decode_entry(golden("journal-3"), STATE)
    assert entry.format == UNSEALED_FORMAT
    assert msgspec.structs.replace(entry, format=ENTRY_FORMAT) == decode_entry(
        golden("journal"), STATE
    )
    storage = MemoryStorage()
    states = []
    for kind in ("snapshot-1", "snapshot-2", "snapshot"):
        storage.put(object_names.snapshot_uri(STATE, 2), golden(kind))
        read = Snapshots(storage, STATE).newest()
        assert read is not None
        states.append(read.durable)
    assert states[0] == states[1] == states[2]
    storage.put(object_names.pack_uri(STATE, 1, 2), golden("pack-of-journal-3"))
    packs = Packs(storage, STATE)
    assert decode_entry(packs.read(packs.after(0)[0])[1], STATE) == entry
