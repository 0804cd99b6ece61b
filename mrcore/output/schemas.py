"""One schema for all parts of a job, before any of them is published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import msgspec

from mrcore.errors import AlreadyExistsError, NotFoundError
from mrcore.model import object_names
from mrcore.model.formats import OUTPUT_FORMATS
from mrcore.model.job import Compression, JobSpec
from mrcore.model.task import TaskOutput
from mrcore.records.outputs import PartCounts
from mrcore.storage.base import ABSENT, ObjectInfo, Writer
from mrcore.storage.registry import storage_for
from mrcore.util.lazy import load

_PARALLEL: Final = 16


class StagedPartMissingError(NotFoundError):
    """Staged parts are gone before they were published; `indexes` says whose."""

    def __init__(self, indexes: Sequence[int]) -> None:
        shown = ", ".join(map(str, indexes[:5])) + (", …" if len(indexes) > 5 else "")
        super().__init__(f"The staged output of part {shown} is gone: its task has to run again.")
        self.indexes = tuple(indexes)


class Schemas(Protocol):
    """Schemas of the parts of one output format (`OutputFormat.schemas`)."""

    def schema_of(self, part: ObjectInfo) -> Any:
        """Return the schema of a part."""
        ...

    def join(self, schemas: Sequence[Any]) -> Any:
        """Return the schema that all parts can be brought to; raise DataError where none is."""
        ...

    def digest(self, schema: Any) -> bytes:
        """Return a digest of a schema, as the part's writer reports it."""
        ...

    def rewrite(
        self, part: ObjectInfo, schema: Any, compression: Compression, sink: Writer
    ) -> PartCounts:
        """Write a part with another schema; the caller commits the sink."""
        ...


def of_one_schema(spec: JobSpec, job_id: str, parts: Sequence[TaskOutput]) -> dict[int, TaskOutput]:
    """Stage the parts anew whose schema differs from the others; return these, by index.

    May be repeated: a part staged anew is named by what it is made of. Raises
    StagedPartMissingError, and DataError where the types of two parts do not go together.
    """
    schemas_place = OUTPUT_FORMATS[spec.output_format].schemas
    if not schemas_place or len({part.digest for part in parts}) < 2:
        return {}
    of_format: Schemas = load(schemas_place)
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="commit") as pool:
        numbered = list(enumerate(parts))
        schemas = list(pool.map(lambda item: of_format.schema_of(_staged(*item)), numbered))
        joined = of_format.join(schemas)

        different = [item for item in numbered if schemas[item[0]] != joined]

        def rewrite(item: tuple[int, TaskOutput]) -> TaskOutput:
            return _rewritten(spec, job_id, *item, of_format=of_format, schema=joined)

        outputs = pool.map(rewrite, different)
        return {index: output for (index, _), output in zip(different, outputs, strict=True)}


def _staged(index: int, part: TaskOutput) -> ObjectInfo:
    if part.object is None:
        raise StagedPartMissingError([index])
    try:
        return storage_for(part.object.uri).stat(part.object.uri)
    except NotFoundError:
        raise StagedPartMissingError([index]) from None


def _rewritten(
    spec: JobSpec, job_id: str, index: int, part: TaskOutput, *, of_format: Schemas, schema: Any
) -> TaskOutput:
    source, digest = _staged(index, part), of_format.digest(schema)
    name = hashlib.sha256(f"{source.uri} {source.generation} ".encode() + digest).hexdigest()[:16]
    uri = object_names.staged_object_uri(spec, job_id, f"part-{index:05d}-{name}")
    storage = storage_for(uri)
    try:
        with storage.open_write(uri, expect=ABSENT) as writer:
            counts = of_format.rewrite(source, schema, spec.compression, writer)
            info = writer.commit()
        if info.crc32c is None:
            info = msgspec.structs.replace(info, crc32c=counts.crc32c)
    except AlreadyExistsError:
        info = storage.stat(uri)
    return msgspec.structs.replace(part, object=info, digest=digest)
