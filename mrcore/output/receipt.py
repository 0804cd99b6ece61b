"""The receipt of a job, `OUT/_SUCCESS`: what was written, so that anybody can check it later.

While a job publishes there is no receipt, and `OUT/_commit` stands in for it: the names that the
job publishes and replaces. An output with that list and without a receipt is half old and half new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from mrcore.errors import NotFoundError, StorageError, UsageError
from mrcore.model import object_names
from mrcore.model.job import JobSpec, Versions
from mrcore.model.snapshots import Cost, StageFigures, StageView, stage_figures
from mrcore.output.files import OutputFile, crc32c_of
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.storage.registry import storage_for
from mrcore.util.decoding import UNREADABLE

_READERS: Final = 8


class PartReceipt(msgspec.Struct, frozen=True):
    """One output file."""

    name: str
    """Relative to the output's folder."""
    size_bytes: int
    crc32c: int | None
    """CRC32C of the file as it lies there (compressed where it is); None if nobody counted it."""
    records: int


FORMAT: Final = 1
"""Format of the receipts that this version writes, and the only one that it reads."""


class _Head(msgspec.Struct, frozen=True):
    """The part of a receipt that can be read whatever its format."""

    format: int = 1


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a successful job. Times are seconds since 1970 UTC."""

    job_id: str
    name: str
    parts: tuple[PartReceipt, ...]
    records_in: int
    """Records given to `map`."""
    records_out: int
    """Records in all parts."""
    counters: dict[str, int]
    attempts: int
    """Number of starts of tasks, for any reason."""
    stages: tuple[StageFigures, ...] = ()
    """Figures of each stage, in order."""
    bad_records: int = 0
    """Records that were skipped; they lie under `_bad/`."""
    limit: int = 0
    """Number of records that the job was limited to; 0 for all of the input."""
    versions: Versions
    submitted_seconds: float
    ended_seconds: float
    elapsed_seconds: float
    cost: Cost | None = None
    """Cost of the job when it was published; None where no fleet was paid for."""
    format: int = FORMAT
    """Number of the format; the first receipts lack it."""

    def encode(self) -> bytes:
        """Return the JSON that `_SUCCESS` holds, laid out for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class CommitList(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `_commit`, which is there from the first publication until the receipt."""

    job_id: str
    names: tuple[str, ...]
    """Names of all parts, those of this job and those that it replaces."""


class VerifyReport(msgspec.Struct, frozen=True):
    """Result of checking an output against its receipt."""

    receipt: Receipt
    size_bytes: int
    """Bytes of all parts together, as they lie there now."""
    problems: tuple[str, ...]
    """One sentence each; empty when all is well."""

    @property
    def ok(self) -> bool:
        """Return whether the output is what the receipt says."""
        return not self.problems


def make_receipt(
    spec: JobSpec,
    job_id: str,
    files: Sequence[OutputFile],
    *,
    records_in: int,
    counters: Mapping[str, int],
    attempts: int,
    stages: Iterable[StageView],
    bad_records: int,
    submitted_seconds: float,
    ended_seconds: float,
    cost: Cost | None = None,
) -> Receipt:
    """Return the receipt of a job that publishes these files, in order."""
    return Receipt(
        job_id=job_id,
        name=spec.name,
        parts=tuple(map(_part_receipt, files)),
        records_in=records_in,
        records_out=sum(file.output.records_out for file in files),
        counters=dict(sorted(counters.items())),
        attempts=attempts,
        stages=tuple(stage_figures(stage) for stage in stages),
        bad_records=bad_records,
        limit=spec.limit,
        versions=spec.versions,
        submitted_seconds=submitted_seconds,
        ended_seconds=ended_seconds,
        elapsed_seconds=round(max(0.0, ended_seconds - submitted_seconds), 3),
        cost=cost,
    )


def _part_receipt(file: OutputFile) -> PartReceipt:
    part = file.output
    assert part.object is not None, f"{file.name} was never staged"
    return PartReceipt(
        name=file.name,
        size_bytes=part.object.size_bytes,
        crc32c=part.object.crc32c,
        records=part.records_out,
    )


def read_receipt(output_uri: str) -> Receipt:
    """Return the receipt of an output; raise UsageError where there is none that mrcore wrote."""
    output_uri = output_uri.rstrip("/")
    uri = object_names.success_uri(output_uri)
    try:
        content = storage_for(uri).read(uri)
        if msgspec.json.decode(content, type=_Head).format != FORMAT:
            raise UsageError(
                f"{object_names.shown(uri)} is a receipt of another version of mrcore. Read the "
                "output with that version."
            )
        receipt = msgspec.json.decode(content, type=Receipt)
        _check_names(receipt)
        return receipt
    except NotFoundError as error:
        where = object_names.shown(output_uri)
        begun = read_commit(output_uri)
        if begun is not None:
            raise UsageError(
                f"{where} has no {object_names.SUCCESS}: job {begun.job_id} has published only a "
                "part of its output there. Run its command again."
            ) from error
        raise UsageError(
            f"{where} has no {object_names.SUCCESS}: no job has finished there."
        ) from error
    except UNREADABLE as error:
        raise UsageError(
            f"{object_names.shown(uri)} is not a receipt of mrcore: another program wrote it."
        ) from error


def _check_names(receipt: Receipt) -> None:
    """Raise ValidationError where parts are outside of the output, or one is named twice."""
    names = [part.name for part in receipt.parts]
    if len(set(names)) < len(names):
        raise msgspec.ValidationError("it names a part twice")
    for name in names:
        if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise msgspec.ValidationError(f"{name!r} is not the name of a part")


def read_commit(output_uri: str) -> CommitList | None:
    """Return the list of a commit that has begun and not ended; None where there is none."""
    uri = object_names.commit_uri(output_uri.rstrip("/"))
    try:
        return msgspec.json.decode(storage_for(uri).read(uri), type=CommitList)
    except (NotFoundError, *UNREADABLE):
        return None


def is_torn(output_uri: str, job_id: str) -> bool:
    """Return whether this job has begun to publish and has no receipt yet."""
    begun = read_commit(output_uri)
    return begun is not None and begun.job_id == job_id and not has_receipt(output_uri, job_id)


def has_receipt(output_uri: str, job_id: str) -> bool:
    """Return whether the receipt of this job has been published."""
    try:
        return read_receipt(output_uri).job_id == job_id
    except UsageError:
        return False


def verify(output_uri: str) -> VerifyReport:
    """Read every part again and compare it with the receipt.

    Names that begin with `_` or `.` are not looked at. Raises UsageError where there is no receipt.
    """
    output_uri = output_uri.rstrip("/")
    receipt = read_receipt(output_uri)
    storage = storage_for(output_uri)
    with ThreadPoolExecutor(_READERS) as pool:
        checked = list(pool.map(lambda part: _check_part(storage, output_uri, part), receipt.parts))
    problems = [problem for _, problem in checked if problem]
    named = {part.name for part in receipt.parts}
    prefix = f"{output_uri}/"
    for info in visible_objects(storage, output_uri):
        name = info.uri[len(prefix) :]
        if name not in named and name[0] not in "_.":
            problems.append(f"{name} is there, but the receipt does not name it.")
    return VerifyReport(receipt, sum(size for size, _ in checked), tuple(problems))


def visible_objects(storage: Storage, output_uri: str) -> list[ObjectInfo]:
    """Return what lies in an output, but for names that begin with `_`.

    Folders of partitions are looked into; other folders stand for themselves.
    """
    prefix = f"{output_uri}/"
    found: list[ObjectInfo] = []
    for info in storage.list(prefix, recursive=False):
        name = info.uri[len(prefix) :]
        if name.startswith("_"):
            continue
        if info.is_folder and "=" in name:
            found += (below for below in storage.list(info.uri) if not below.is_folder)
        else:
            found.append(info)
    return found


def _check_part(storage: Storage, output_uri: str, part: PartReceipt) -> tuple[int, str]:
    """Return the size found and what is wrong, or an empty text."""
    try:
        crc, size = crc32c_of(storage, f"{output_uri}/{part.name}")
    except NotFoundError:
        return 0, f"{part.name} is missing."
    except StorageError as error:
        return 0, f"{part.name} cannot be read: {error}"
    if size != part.size_bytes:
        return size, f"{part.name} has {size:,} bytes, the receipt says {part.size_bytes:,}."
    if part.crc32c is not None and crc != part.crc32c:
        return size, f"{part.name} has CRC32C {crc:08x}, the receipt says {part.crc32c:08x}."
    return size, ""
