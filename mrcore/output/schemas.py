"""One schema for all parts of a job, before any of them is published."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec

from mrcore.errors import AlreadyExistsError, DataError, NotFoundError
from mrcore.model import object_names
from mrcore.model.formats import OUTPUT_FORMATS, OutputFormat
from mrcore.model.job import Compression, JobSpec
from mrcore.model.task import TaskOutput
from mrcore.output.files import PARALLEL, OutputFile, StagedPartMissingError, crc32c_of
from mrcore.records.outputs import PartCounts, has_grown, has_rows
from mrcore.storage.base import ABSENT, ObjectInfo, Writer
from mrcore.storage.registry import storage_for
from mrcore.util.lazy import load


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


def of_one_schema(spec: JobSpec, job_id: str, files: Sequence[OutputFile]) -> dict[int, TaskOutput]:
    """Stage the files anew whose schema differs from the others; return these, by their number.

    May be repeated: a file staged anew is named by what it is made of. Raises
    StagedPartMissingError, and DataError where the types of two files do not go together.
    """
    examples = _first_by_digest(files, range(len(files)))
    grown = set(filter(has_grown, examples))
    if len(examples) < 2 and not grown:
        return {}
    output_format = OUTPUT_FORMATS[spec.output_format]
    # A file without records knows nothing of columns.
    filled = _first_by_digest(
        files, [at for at, file in enumerate(files) if file.output.records_out]
    )
    _check_rows(output_format, {at: files[at].output for at in filled.values()})
    if not output_format.schemas or not filled:
        return {}
    of_format: Schemas = load(output_format.schemas)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="commit") as pool:

        def schema_of(at: int) -> Any:
            return of_format.schema_of(_staged(files[at]), spec.compression)

        schemas = dict(zip(examples, pool.map(schema_of, examples.values()), strict=True))
        joined = of_format.join({at: schemas[digest] for digest, at in filled.items()})
        unlike = grown | {digest for digest, schema in schemas.items() if schema != joined}
        different = [at for at, file in enumerate(files) if file.output.digest in unlike]

        def rewrite(at: int) -> TaskOutput:
            return _rewritten(spec, job_id, at, files[at], of_format=of_format, schema=joined)

        return dict(zip(different, pool.map(rewrite, different), strict=True))


def _first_by_digest(files: Sequence[OutputFile], numbers: Iterable[int]) -> dict[bytes, int]:
    """Return the first of these files with each schema: files of one digest have the same."""
    first: dict[bytes, int] = {}
    for at in numbers:
        first.setdefault(files[at].output.digest, at)
    return first


def _check_rows(output_format: OutputFormat, filled: Mapping[int, TaskOutput]) -> None:
    """Raise DataError for parts of rows beside parts of pairs, or of columns that must be equal."""
    if not filled:
        return
    first, part = next(iter(filled.items()))
    for index, other in filled.items():
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


def _staged(file: OutputFile) -> ObjectInfo:
    staged = file.output.object
    if staged is None:
        raise StagedPartMissingError([file.task])
    try:
        return storage_for(staged.uri).stat(staged.uri)
    except NotFoundError:
        raise StagedPartMissingError([file.task]) from None


def _rewritten(
    spec: JobSpec, job_id: str, at: int, file: OutputFile, *, of_format: Schemas, schema: Any
) -> TaskOutput:
    source, digest = _staged(file), of_format.digest(schema)
    name = hashlib.sha256(f"{source.uri} {source.generation} ".encode() + digest).hexdigest()[:16]
    uri = object_names.staged_object_uri(spec, job_id, f"part-{at:05d}-{name}")
    storage = storage_for(uri)
    try:
        with storage.open_write(uri, expect=ABSENT) as writer:
            counts = of_format.rewrite(source, schema, spec.compression, writer)
            info = writer.commit().with_crc32c(counts.crc32c)
    except AlreadyExistsError:  # by an earlier preparation, which had no journal entry of it
        info = storage.stat(uri)
        if info.crc32c is None:
            info = info.with_crc32c(crc32c_of(storage, uri)[0])
    return msgspec.structs.replace(file.output, object=info, digest=digest)
