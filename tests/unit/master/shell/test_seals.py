"""Checksums of entries, packs and snapshots: no change of a byte is ever taken for content."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec
import pytest

from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import WorkerJoined
from mrcore.master.core.limits import Limits
from mrcore.master.shell.entries import FORMAT, Entry, JournalError, decode_entry, encode_entry
from mrcore.master.shell.packs import LostPackError, Packs, encode_pack
from mrcore.master.shell.seals import (
    is_sealed_json,
    is_sealed_msgpack,
    seal_json,
    seal_msgpack,
)
from mrcore.master.shell.snapshots import Snapshots, encode_snapshot
from mrcore.model import object_names
from mrcore.storage.memory import MemoryStorage
from mrcore.util.decoding import UNREADABLE
from tests.support.journals import STATE, Master, job

ENTRY = Entry(2, 1, "w", (WorkerJoined("a"), WorkerJoined("b")), FORMAT, after=1)
REFUSED = (JournalError, *UNREADABLE)


def flipped(content: bytes) -> Iterator[bytes]:
    """Yield the content with each of its bits changed, and each of its beginnings."""
    for at in range(len(content)):
        yield content[:at]
        for bit in range(8):
            yield content[:at] + bytes((content[at] ^ 1 << bit,)) + content[at + 1 :]


def test_an_entry_with_a_changed_bit_is_never_read() -> None:
    content = encode_entry(ENTRY)
    assert decode_entry(content, STATE) == ENTRY
    for damaged in flipped(content):
        with pytest.raises(REFUSED):
            decode_entry(damaged, STATE)


def test_a_pack_with_a_changed_bit_gives_its_entries_or_nothing() -> None:
    contents = (encode_entry(ENTRY), encode_entry(Entry(3, 1, "w", (), FORMAT, after=1)))
    storage = MemoryStorage()
    refused = 0
    for damaged in flipped(encode_pack(2, contents)):
        storage.put(object_names.pack_uri(STATE, 2, 3), damaged)
        packs = Packs(storage, STATE)
        (name,) = packs.after(0)
        try:
            for read, true in zip(packs.read(name), contents, strict=True):
                assert decode_entry(read, STATE) == decode_entry(true, STATE)
        except (LostPackError, *REFUSED):
            refused += 1
    assert refused > 9 * sum(map(len, contents)) - 100


def test_a_snapshot_with_a_changed_bit_is_never_read() -> None:
    durable = Durable()
    durable.apply(WorkerJoined("a"), Limits())
    content = encode_snapshot(2, durable)
    storage = MemoryStorage()
    uri = object_names.snapshot_uri(STATE, 2)
    storage.put(uri, content)
    read = Snapshots(storage, STATE).newest()
    assert read is not None
    assert read.durable == durable
    for damaged in flipped(content):
        storage.put(uri, damaged)
        with contextlib.suppress(JournalError):  # of another version, by its number
            assert Snapshots(storage, STATE).newest() is None


def test_a_damaged_entry_is_named_with_what_to_do() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    master.append(WorkerJoined("worker-1"))
    uri = object_names.journal_uri(STATE, 2)
    storage.put(uri, storage.read(uri).replace(b"worker-1", b"worker-2"))
    with pytest.raises(JournalError) as refused:
        Master(storage)
    assert str(refused.value) == (
        f"{uri} is damaged: it cannot be read as a journal entry (its checksum does not fit). "
        "Restore it, or start a new --state."
    )


def test_where_all_snapshots_are_damaged_they_are_named_and_not_the_entries() -> None:
    storage = MemoryStorage()
    master = Master(storage)
    for name in "abc":
        master.append(*job(name))
        master.snapshot()
    master.compact()
    uris = [object_names.snapshot_uri(STATE, number) for number in (3, 4)]
    for uri in uris:
        storage.put(uri, storage.read(uri).replace(b"worker-of-a", b"worker-of-x"))
    with pytest.raises(JournalError) as refused:
        Master(storage)
    assert str(refused.value) == (
        f"{uris[1]} is damaged, and no older snapshot can be read in its place. Restore it, or "
        "start a new --state."
    )


@pytest.mark.parametrize(
    ("seal", "is_sealed", "decode", "content"),
    [
        (seal_json, is_sealed_json, msgspec.json.decode, msgspec.json.encode({"a": 1})),
        (seal_msgpack, is_sealed_msgpack, msgspec.msgpack.decode, msgspec.msgpack.encode({"a": 1})),
    ],
    ids=["json", "msgpack"],
)
def test_a_sealed_object_is_one_with_a_field_more(
    seal: Callable[[bytes], bytes],
    is_sealed: Callable[[bytes], bool],
    decode: Callable[[bytes], dict[str, object]],
    content: bytes,
) -> None:
    sealed = seal(content)
    found = decode(sealed)
    assert list(found) == ["a", "crc32c"]
    assert is_sealed(sealed)
    assert not is_sealed(content)
    assert not is_sealed(b"")
    with pytest.raises(msgspec.ValidationError, match="its checksum does not fit"):
        is_sealed(seal(sealed)[:-1] + b"\0")
