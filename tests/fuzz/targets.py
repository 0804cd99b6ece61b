"""Targets of hostile bytes: each reads bytes as mrcore does, and may fail with its own errors only.

A target has valid content to begin with, and asserts what it can of a right answer. What has a
checksum is also read with the checksum of its changed content, or no reader behind it were reached.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import pyarrow as pa
from google.protobuf.message import DecodeError, Message

from mrcore.errors import MrcoreError
from mrcore.master.core.durable import Durable
from mrcore.master.core.facts import (
    CallsAdded,
    CallsCancelled,
    CallsReleased,
    EpochTaken,
    Fact,
    JobSubmitted,
)
from mrcore.master.core.limits import Limits
from mrcore.master.shell.entries import FORMAT, Entry, decode_entry, encode_entry
from mrcore.master.shell.packs import LostPackError, Packs, encode_pack
from mrcore.master.shell.seals import (
    JSON_SEAL_BYTES,
    MSGPACK_SEAL_BYTES,
    seal_json,
    seal_msgpack,
)
from mrcore.master.shell.snapshots import Snapshots, encode_snapshot
from mrcore.model import object_names
from mrcore.model.attempts import AttemptState
from mrcore.model.calls import CallPlan
from mrcore.model.formats import format_of_file
from mrcore.model.job import JobState, Session
from mrcore.model.stages import Calls, Result, StagePlan
from mrcore.model.task import Piece, TaskOutput
from mrcore.output import claim, receipt
from mrcore.plugin.loader import MANIFEST, unpack_bundle
from mrcore.records.batches import BrokenRecordError
from mrcore.records.codecs import without_extension
from mrcore.records.inputs import listed
from mrcore.records.readers import open_batches
from mrcore.rpc.convert import job_spec_from_proto, job_spec_to_proto
from mrcore.rpc.convert_attempts import held_from_proto
from mrcore.rpc.convert_calls import call_from_proto
from mrcore.rpc.convert_task import output_from_proto, output_to_proto
from mrcore.rpc.enums import ATTEMPT_STATES
from mrcore.rpc.v1 import call_service_pb2, job_pb2, worker_service_pb2
from mrcore.shuffle.blocks import HEADER_BYTES, BlockHeader
from mrcore.shuffle.columns import Columns
from mrcore.shuffle.encoding import decode, encode
from mrcore.shuffle.keys import key_column
from mrcore.shuffle.reading import blocks_of
from mrcore.shuffle.runfile import RunWriter, read_footer
from mrcore.shuffle.values import value_column
from mrcore.storage.memory import MemoryStorage
from mrcore.storage.registry import storage_for
from mrcore.tasks import plan
from mrcore.util.crc32c import extend_crc32c
from mrcore.util.decoding import UNREADABLE
from tests.fuzz import samples
from tests.support.fake_worker import make_spec
from tests.support.journals import job
from tests.support.specs import call_spec

MEMORY = cast("MemoryStorage", storage_for("mem://fuzz"))
"""The store of this process, which readers find by its scheme."""
STATE = "mem://fuzz/state"
OUT = "mem://fuzz/out"


@dataclass(frozen=True, slots=True)
class Target:
    """A reader of bytes."""

    read: Callable[[bytes], object]
    corpus: Callable[[], Sequence[bytes]]
    errors: tuple[type[Exception], ...] = (MrcoreError,)
    """Errors that say what is wrong; any other one is a fault."""


# -- the journal -----------------------------------------------------------------------------------


def _entries() -> list[bytes]:
    facts = [*job("a"), *job("b", JobState.FAILED, ended_seconds=2.0)]
    first = Entry(1, 1, "w", (EpochTaken(1, "w", 1.0),), FORMAT, after=0)
    return [encode_entry(first), encode_entry(Entry(2, 1, "w", tuple(facts), FORMAT, after=1))]


def _read_entry(data: bytes) -> None:
    """Read an entry, once as it is, and once with a checksum that fits."""
    with contextlib.suppress(MrcoreError, *UNREADABLE):
        _check_entry(seal_json(data[:-JSON_SEAL_BYTES] + b"}"))
    _check_entry(data)


def _check_entry(data: bytes) -> None:
    entry = decode_entry(data, STATE)
    assert decode_entry(encode_entry(entry), STATE) == entry


def _snapshots() -> list[bytes]:
    durable = Durable()
    for fact in (EpochTaken(1, "w", 1.0), *job("a"), *job("b", JobState.FAILED)):
        durable.apply(fact, Limits())
    session = Durable()
    for fact in _session():
        session.apply(fact, Limits())
    return [encode_snapshot(2, each) for each in (durable, Durable(), session)]


def _session() -> Iterator[Fact]:
    """Yield the facts of a session with a call that goes on and one that is over."""
    stages = (StagePlan(0, Calls(), Result()),)
    spec = call_spec("s", Session(retries=0))
    yield JobSubmitted(job_id="s", request_id="s", spec=spec, stages=stages, claim_generation="")
    yield CallsAdded("s", 0, (CallPlan("0" * 64),) * 2)
    yield CallsCancelled("s", (0,))
    yield CallsReleased("s", (0,))


def _read_snapshot(data: bytes) -> None:
    """Read a snapshot, once as it is, and once with a checksum that fits."""
    for content in (data, _resealed(data)):
        storage = MemoryStorage()
        storage.put(object_names.snapshot_uri(STATE, 2), content)
        with contextlib.suppress(MrcoreError):
            snapshot = Snapshots(storage, STATE).newest()
            assert snapshot is None or snapshot.number == 2


def _resealed(data: bytes) -> bytes:
    """Return a map with the checksum of what it holds now; what is not such a map stays."""
    if not 0x81 <= int.from_bytes(data[:1]) <= 0x8F:
        return data
    return seal_msgpack(bytes((data[0] - 1,)) + data[1:-MSGPACK_SEAL_BYTES])


def _packs() -> list[bytes]:
    return [encode_pack(1, _entries()), encode_pack(1, [])]


def _read_pack(data: bytes) -> None:
    storage = MemoryStorage()
    storage.put(object_names.pack_uri(STATE, 1, 2), data)
    (name,) = Packs(storage, STATE).after(0)
    with contextlib.suppress(LostPackError):  # then its entries are read
        assert len(Packs(storage, STATE).read(name)) == 2


# -- runs ------------------------------------------------------------------------------------------


def _runs() -> list[bytes]:
    made = []
    for keys, values in ((["a", "b", "ü"], [1, 2, 3]), ([1, 2], ["x", "y"]), ([("a", 1)], [0.5])):
        for codec in (None, "lz4", "zstd"):
            sink = io.BytesIO()
            writer = RunWriter(sink, codec)
            writer.add(Columns(*key_column(keys), *value_column(values)))
            writer.end_section()
            writer.finish()
            made.append(sink.getvalue())
    return made


def _read_run(data: bytes) -> None:
    storage = MemoryStorage()
    storage.put("mem://run", data)
    footer = read_footer(storage, "mem://run")
    assert all(section.rows >= 0 for section in footer.sections)


def _blocks() -> list[bytes]:
    made = []
    for run in _runs():
        header = BlockHeader.parse(run[:HEADER_BYTES])
        made.append(run[: HEADER_BYTES + header.body_bytes])
    return made


def _read_blocks(data: bytes) -> None:
    """Read blocks, once as they are, and once with a checksum that fits.

    Offsets are not checked behind a right checksum: who can write such a block can run code here.
    """
    crc = extend_crc32c(0, data[8:])
    for content in (data, data[:4] + struct.pack("<I", crc) + data[8:]):
        try:
            for block in blocks_of(iter([content])):
                block.keys.validate(full=True)
                assert len(block.keys) == len(block.values)
        except (MrcoreError, pa.ArrowInvalid):
            continue


def _keys() -> list[bytes]:
    keys = [
        None,
        True,
        0,
        -1,
        2**70,
        1.5,
        -0.0,
        "aü\0b",
        b"\0\xff",
        ("a", (1, b"x"), 2.5),
        2**60 + 0.0,
    ]
    return [encode(key) for key in keys]


def _read_key(data: bytes) -> None:
    decode(data)


# -- objects of an output --------------------------------------------------------------------------


def _receipts() -> list[bytes]:
    spec = make_spec("mem://fuzz/in", OUT, "0" * 64)
    made = receipt.make_receipt(
        spec, "job-1", (), records_in=1, counters={"n": 1}, attempts=1, stages=(),
        bad_records=0, submitted_seconds=1.0, ended_seconds=2.0, cost=None,
    )  # fmt: skip
    return [made.encode()]


def _read_receipt(data: bytes) -> None:
    MEMORY.put(object_names.success_uri(OUT), data)
    receipt.verify(OUT)


def _claims() -> list[bytes]:
    held = claim.Claim(job_id="job-1", request_id="r", state_uri=STATE, leader="h:1", host="h")
    return [msgspec.json.encode(held)]


def _read_claim(data: bytes) -> None:
    MEMORY.put(object_names.claim_uri(OUT), data)
    held = claim.read_claim(OUT)
    if held is not None:
        claim.may_finish(held)
        claim.is_free(held)


def _plans() -> list[bytes]:
    MEMORY.put("mem://fuzz/in", b"a\nb\n")
    return [plan.encode(plan.make_plan(make_spec("mem://fuzz/in", OUT, "0" * 64), 2))]


# -- input -----------------------------------------------------------------------------------------


def _reader(name: str, given: str) -> Callable[[bytes], None]:
    uri = f"mem://fuzz/records/{name}"
    piece: Piece | None = None

    def read(data: bytes) -> None:
        nonlocal piece
        info = MEMORY.put(uri, data)
        if piece is None:
            found = format_of_file(without_extension(uri), given).name
            piece = msgspec.structs.replace(listed(info, name, given).piece(0, 0), format=found)
        size, generation = info.size_bytes, info.generation
        for batch in open_batches(
            msgspec.structs.replace(piece, end=size, size_bytes=size, generation=generation)
        ):
            assert len(list(batch.keys())) == len(batch.values)

    return read


def _codec(name: str) -> Target:
    return Target(_reader(name, "text"), lambda: [samples.compressed()[name]])


# -- messages --------------------------------------------------------------------------------------


def _convert(kind: type[Message], take: Callable[..., object]) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        message = kind()
        message.ParseFromString(data)
        take(message)

    return read


def _specs() -> list[bytes]:
    return [job_spec_to_proto(make_spec("mem://i/n", OUT, "0" * 64)).SerializeToString()]


def _outputs() -> list[bytes]:
    output = TaskOutput(digest=b"d" * 16, counters={"n": 1}, records_in=3, elapsed_seconds=1.5)
    return [output_to_proto(output).SerializeToString()]


def _helds() -> list[bytes]:
    held = worker_service_pb2.HeldAttempt(inputs_version=1, elapsed_seconds=2.0)
    held.state = ATTEMPT_STATES.to_proto[AttemptState.RUNNING]
    held.attempt.job_id = "job-1"
    held.attempt.index = 3
    return [held.SerializeToString()]


def _calls() -> list[bytes]:
    call = call_service_pb2.Call(function="f" * 64, arguments=b"x", objects=["a" * 64])
    return [call.SerializeToString()]


# -- plugins ---------------------------------------------------------------------------------------


def _bundles() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", method) as archive:
            archive.writestr(MANIFEST, b'{"sources": {}}')
            archive.writestr("code/wc.py", b"def map(key, value):\n    yield value, 1\n")
            archive.writestr("files/a/b.txt", b"text" * 20)
        made.append(sink.getvalue())
    return made


_SHARED_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Folder for what is unpacked, where a million files cost no disk."""


def _read_bundle(data: bytes) -> None:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_SHARED_MEMORY))
    try:
        unpack_bundle(data, folder / "in")
        assert [path.name for path in folder.iterdir()] == ["in"], "a file outside its folder"
    finally:
        shutil.rmtree(folder)


_WIRE = (MrcoreError, DecodeError)
TARGETS: dict[str, Target] = {
    "journal": Target(_read_entry, _entries, (MrcoreError, *UNREADABLE)),
    "snapshot": Target(_read_snapshot, _snapshots),
    "pack": Target(_read_pack, _packs),
    "run": Target(_read_run, _runs),
    "blocks": Target(_read_blocks, _blocks),
    "key": Target(_read_key, _keys),
    "receipt": Target(_read_receipt, _receipts),
    "claim": Target(_read_claim, _claims),
    "plan": Target(plan.decode, _plans),
    "text": Target(_reader("x.txt", "text"), lambda: [samples.TEXT]),
    "csv": Target(_reader("x.csv", "csv"), lambda: [samples.CSV], (MrcoreError, BrokenRecordError)),
    "jsonl": Target(
        _reader("x.jsonl", "jsonl"), lambda: [samples.JSON], (MrcoreError, BrokenRecordError)
    ),
    "arrow-json": Target(_reader("x.jsonl", "arrow"), lambda: [b'{"a": 1, "b": ["x"]}\n' * 3]),
    "arrow-csv": Target(_reader("x.csv", "arrow"), lambda: [samples.CSV]),
    "parquet": Target(_reader("x.parquet", "parquet"), samples.parquet),
    "gz": _codec("x.gz"),
    "bz2": _codec("x.bz2"),
    "xz": _codec("x.xz"),
    "zst": _codec("x.zst"),
    "lz4": _codec("x.lz4"),
    "job-spec": Target(_convert(job_pb2.JobSpec, job_spec_from_proto), _specs, _WIRE),
    "output": Target(_convert(worker_service_pb2.TaskOutput, output_from_proto), _outputs, _WIRE),
    "held": Target(_convert(worker_service_pb2.HeldAttempt, held_from_proto), _helds, _WIRE),
    "call": Target(_convert(call_service_pb2.Call, call_from_proto), _calls, _WIRE),
    "bundle": Target(_read_bundle, _bundles),
}
