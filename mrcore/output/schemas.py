"""One schema for all parts of a job, before any of them is published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import msgspec

from mrcore.errors import AlreadyExistsError, DataError, NotFoundError
from mrcore.model import object_names
from mrcore.model.formats import OUTPUT_FORMATS, OutputFormat
from mrcore.model.job import Compression, JobSpec
from mrcore.model.task import TaskOutput
from mrcore.records.outputs import PartCounts, has_rows
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

    def schema_of(self, part: ObjectInfo, compression: Compression) -> Any:
        """Return the schema of a part."""
        ...

    def join(self, schemas: Mapping[int, Any]) -> Any:
        """Return the schema that parts can be brought to; raise DataError where none is.

        `schemas` are those of the parts with records, at least one, by number of the part.
        """
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
    if len({part.digest for part in parts}) < 2:
        return {}
    output_format = OUTPUT_FORMATS[spec.output_format]
    filled = [item for item in enumerate(parts) if item[1].records_out]
    _check_rows(output_format, filled)
    if not output_format.schemas or not filled:
        return {}
    of_format: Schemas = load(output_format.schemas)
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="commit") as pool:

        def schema_of(item: tuple[int, TaskOutput]) -> Any:
            return of_format.schema_of(_staged(*item), spec.compression)

        numbered = list(enumerate(parts))
        schemas = list(pool.map(schema_of, numbered))
        # A part without records knows nothing of columns.
        joined = of_format.join({index: schemas[index] for index, _ in filled})
        different = [item for item in numbered if schemas[item[0]] != joined]

        def rewrite(item: tuple[int, TaskOutput]) -> TaskOutput:
            return _rewritten(spec, job_id, *item, of_format=of_format, schema=joined)

        outputs = pool.map(rewrite, different)
        return {index: output for (index, _), output in zip(different, outputs, strict=True)}


def _check_rows(output_format: OutputFormat, filled: Sequence[tuple[int, TaskOutput]]) -> None:
    """Raise DataError for parts of rows beside parts of pairs, or of columns that must be equal."""
    if not filled:
        return
    first, part = filled[0]
    for index, other in filled:
        if has_rows(other.digest) is not has_rows(part.digest):
            rows, pairs = (index, first) if has_rows(other.digest) else (first, index)
            raise DataError(
                f"Part {rows} of the output has rows (dicts without a key), and part {pairs} has "
                "pairs. Yield only dicts, or only (key, value) pairs."
            )
        if output_format.needs_equal_columns and other.digest != part.digest:
            raise DataError(
                f"The rows of part {first} and of part {index} have different columns, which "
                f'{output_format.name} output does not name. State columns = {{"name": "type", '
                "…}, or choose another --output-format."
            )


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
