"""Tables of the formats of inputs and outputs: one entry holds all that is known of a format.

Front ends, planner, readers, writers and object names look formats up here, and know none by name.
Code is named by its place (`mrcore.util.lazy`), so that reading the table imports no reader.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from mrcore.errors import UsageError
from mrcore.model.job import Compression


class Cut(enum.Enum):
    """Places where a file may be cut into pieces."""

    LINES = enum.auto()
    """Anywhere: a line belongs to the piece in which it starts."""
    POINTS = enum.auto()
    """At bytes that `InputFormat.examine` has found, such as the starts of row groups."""
    EVERY_POINT = enum.auto()
    """At each such point, and pieces are put together again to share them out among the slots:
    records may take long, however small they are."""
    NOWHERE = enum.auto()
    """The file is one piece, whatever its size."""


class Content(enum.Enum):
    """Kinds of bytes that a file may begin with, once it is decompressed."""

    TEXT = enum.auto()
    """Text, so without NUL."""
    RAW_LINES = enum.auto()
    """Lines with any bytes in them, but no known kind of file that is not text."""
    ANY = enum.auto()
    """Anything but compressed data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFormat:
    """A format of input files."""

    name: str
    """The name that a user types, and that jobs and pieces carry."""
    value: str
    """The value that `map` gets, in Markdown: the text of the table in docs/jobs.md."""
    key: str
    """The key that `map` gets, in Markdown."""
    reader: str
    """Place of a function (piece, on_broken) -> batches of records."""
    examine: str = "mrcore.records.readers:examine"
    """Place of a function (files, target_bytes) -> points to cut at, by URI of a file.

    It looks at some of a job's files before any task starts, and raises InputError for a file that
    is not of the format.
    """
    cut: Cut = Cut.LINES
    content: Content = Content.TEXT
    record: str = "the record at offset {number} of {file}"
    """Phrase for one record, by what `Mark.offset` has of it."""
    empty_is_record: bool = False
    """An empty file is a record. In other formats it has none, and is left out."""
    is_columnar: bool = False
    """A record is a table of rows, and `map` returns tables."""
    is_counted: bool = True
    """Its records are those of the file, and no blocks of many."""
    is_internal: bool = False
    """Jobs of our own use it. No help text lists it."""
    has_text_columns: bool = False
    """Its columns are text, and a job may state other types for them."""
    by_extension: Mapping[str, str] = field(default_factory=dict)
    """Formats in the table `VARIANTS` that read files with these extensions in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFormat:
    """A format of output parts."""

    name: str
    pair: str
    """Result of a pair, in Markdown: the text of the table in docs/jobs.md."""
    writer: str
    """Place of a function (sink, compression, columns of rows) -> PartWriter."""
    extension: str
    """The end of a part's name, such as `.csv`; empty for none."""
    compressions: tuple[Compression, ...] = tuple(Compression)
    compresses_inside: bool = False
    """The format itself holds compressed data, so the name does not show it."""
    schemas: str = ""
    """Place of a `mrcore.output.schemas.Schemas`, which brings all parts to one schema."""
    needs_equal_columns: bool = False
    """Parts do not name their columns, so rows of all parts have to have the same."""
    is_internal: bool = False
    """No help text lists it."""
    as_text: str = ""
    """Place of a function part -> chunks of text. Empty where a part is text by itself."""
    has_header: bool = False
    """Each part begins with the names of its columns, and its text shows them once."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def is_internal(self) -> bool: ...


_Format = TypeVar("_Format", bound=_Named)


class Table(Generic[_Format]):
    """Formats by name, in the order in which help texts list them."""

    def __init__(self, noun: str, *formats: _Format) -> None:
        self.noun: Final = noun
        """The noun for one of them in a sentence."""
        self._formats = {item.name: item for item in formats}

    def add(self, item: _Format) -> None:
        """Add a format, or replace the one of the same name."""
        self._formats[item.name] = item

    def remove(self, name: str) -> None:
        """Remove a format."""
        del self._formats[name]

    def __getitem__(self, name: str) -> _Format:
        try:
            return self._formats[name]
        except KeyError:
            raise UsageError(
                f"{name!r} is not {self.noun}. Use one of {', '.join(self.names())}."
            ) from None

    def __iter__(self) -> Iterator[_Format]:
        return (item for item in self._formats.values() if not item.is_internal)

    def __contains__(self, name: object) -> bool:
        return name in self._formats

    def names(self) -> list[str]:
        """Return the names of all formats that users know."""
        return [item.name for item in self]


PICKLE: Final = "pickle"
"""Name of the format of in-memory items (`mrcore.records.frames`)."""
_OFFSET: Final = "(file, byte offset)"
_ROW: Final = "(file, row number)"
_BATCH: Final = "a `pyarrow.RecordBatch`"
_PARQUET: Final = "mrcore.records.parquet_reader"
_CSV: Final = "mrcore.records.csv_writer"

INPUT_FORMATS: Final = Table(
    "an input format",
    InputFormat(
        name="text",
        value="a line without its end (LF or CRLF)",
        key=_OFFSET,
        reader="mrcore.records.readers:text_batches",
    ),
    InputFormat(
        name="whole",
        value="the text of a file",
        key="the file",
        reader="mrcore.records.readers:whole_batches",
        cut=Cut.NOWHERE,
        content=Content.ANY,
        empty_is_record=True,
    ),
    InputFormat(
        name="blocks",
        value="some hundred KiB of whole lines",
        key=_OFFSET,
        reader="mrcore.records.readers:block_batches",
        is_counted=False,
        content=Content.RAW_LINES,
    ),
    InputFormat(
        name="jsonl",
        value="what the JSON of a line says",
        key=_OFFSET,
        reader="mrcore.records.readers:jsonl_batches",
    ),
    InputFormat(
        name="csv",
        value="a dict of str, by the names in the header",
        key=_OFFSET,
        reader="mrcore.records.csv_reader:csv_batches",
        cut=Cut.NOWHERE,  # each byte before a newline decides whether it ends a row
        has_text_columns=True,
    ),
    InputFormat(
        name="tsv",
        value="as csv, with tabs in place of commas",
        key=_OFFSET,
        reader="mrcore.records.csv_reader:tsv_batches",
        cut=Cut.NOWHERE,
        has_text_columns=True,
    ),
    InputFormat(
        name="parquet",
        value="a dict by column",
        key=_ROW,
        reader=f"{_PARQUET}:dict_batches",
        examine=f"{_PARQUET}:examine",
        cut=Cut.POINTS,
    ),
    InputFormat(
        name="arrow",
        value=_BATCH,
        key="(file, byte offset or row number)",
        reader="mrcore.records.arrow_reader:line_batches",
        is_columnar=True,
        is_counted=False,
        by_extension={
            ".csv": "arrow-csv",
            ".tsv": "arrow-tsv",
            ".jsonl": "arrow-jsonl",
            ".ndjson": "arrow-jsonl",
            ".parquet": "arrow-parquet",
        },
    ),
    InputFormat(
        name=PICKLE,
        value="an item of an in-memory job",
        key="(file, number)",
        reader="mrcore.records.frames:frame_batches",
        record="item {number} of {file}",
        examine="mrcore.records.frames:examine",
        cut=Cut.EVERY_POINT,
        content=Content.ANY,
        is_internal=True,
    ),
)
"""The formats of `--input-format`."""

VARIANTS: Final = Table(
    "a variant of an input format",
    InputFormat(
        name="arrow-csv",
        value=_BATCH,
        key=_ROW,
        reader="mrcore.records.arrow_reader:csv_batches",
        cut=Cut.NOWHERE,
        is_columnar=True,
        is_counted=False,
        has_text_columns=True,
    ),
    InputFormat(
        name="arrow-tsv",
        value=_BATCH,
        key=_ROW,
        reader="mrcore.records.arrow_reader:tsv_batches",
        cut=Cut.NOWHERE,
        is_columnar=True,
        is_counted=False,
        has_text_columns=True,
    ),
    InputFormat(
        name="arrow-jsonl",
        value=_BATCH,
        key=_OFFSET,
        reader="mrcore.records.arrow_json:json_batches",
        is_columnar=True,
        is_counted=False,
    ),
    InputFormat(
        name="arrow-parquet",
        value=_BATCH,
        key=_ROW,
        reader=f"{_PARQUET}:record_batches",
        examine=f"{_PARQUET}:examine",
        cut=Cut.POINTS,
        is_columnar=True,
        is_counted=False,
    ),
)
"""Formats that another format chooses for some files, by their extensions."""


def may_have_text_columns(name: str) -> bool:
    """Return whether an input format has columns of text, in files of some extension at least."""
    asked = INPUT_FORMATS[name]
    variants = (VARIANTS[variant] for variant in asked.by_extension.values())
    return any(each.has_text_columns for each in (asked, *variants))


OUTPUT_FORMATS: Final = Table(
    "an output format",
    OutputFormat(
        name="text",
        pair="`key`, tab, `value`, each by `str()`; a value of `None` leaves out the tab too",
        writer="mrcore.records.writers:TextWriter",
        extension="",
        needs_equal_columns=True,
    ),
    OutputFormat(
        name="jsonl",
        pair='`{"key": …, "value": …}` on a line',
        writer="mrcore.records.json_writer:JsonWriter",
        extension=".jsonl",
    ),
    OutputFormat(
        name="csv",
        pair="a row under the header `key,value`",
        writer=f"{_CSV}:CsvWriter",
        extension=".csv",
        schemas="mrcore.records.csv_parts:CSV",
        has_header=True,
    ),
    OutputFormat(
        name="tsv",
        pair="as csv, with tabs in place of commas",
        writer=f"{_CSV}:TsvWriter",
        extension=".tsv",
        schemas="mrcore.records.csv_parts:TSV",
        has_header=True,
    ),
    OutputFormat(
        name="parquet",
        pair="a row with the columns `key` and `value`",
        writer="mrcore.records.parquet_writer:ParquetPartWriter",
        extension=".parquet",
        compressions=(Compression.NONE, Compression.GZIP, Compression.ZSTD),
        compresses_inside=True,
        schemas="mrcore.records.parquet_parts:ParquetSchemas",
        as_text="mrcore.records.parquet_parts:text_chunks",
    ),
)
"""The formats of `--output-format`."""


def file_format(name: str) -> InputFormat:
    """Return the format of one file, by the name that its piece carries."""
    return VARIANTS[name] if name in VARIANTS else INPUT_FORMATS[name]


def record_phrase(name: str, number: int, file: str) -> str:
    """Return how messages call a record of a file of this format."""
    return file_format(name).record.format(number=number, file=file)


def format_of_file(stem: str, job_format: str) -> InputFormat:
    """Return the format of a file in a job; `stem` is its name without what compression adds.

    For most formats it is the job's own. Case does not matter.
    """
    found = INPUT_FORMATS[job_format]
    lower = stem.lower()
    for extension, variant in found.by_extension.items():
        if lower.endswith(extension):
            return VARIANTS[variant]
    return found


def format_of_part(name: str) -> OutputFormat:
    """Return the format of an output part, by its name."""
    stem = name
    for compression in Compression:
        stem = stem.removesuffix(f".{compression}")
    found = (item for item in OUTPUT_FORMATS if item.extension and stem.endswith(item.extension))
    return next(found, OUTPUT_FORMATS["text"])
