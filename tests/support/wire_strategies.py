"""Hypothesis strategies for everything that travels over gRPC."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mrcore.model import job_options
from mrcore.model.columns import COLUMN_TYPES
from mrcore.model.formats import INPUT_FORMATS
from mrcore.model.ids import AttemptId, AttemptNumber, TaskId
from mrcore.model.job import (
    Input,
    InputGroup,
    JobSpec,
    Plugin,
    Resources,
    StepFlags,
    Versions,
)
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import (
    Bytes,
    Choice,
    ColumnNames,
    ColumnTypes,
    Files,
    Flag,
    Folder,
    Jobs,
    Named,
    Needs,
    Params,
    Seconds,
    Share,
    Whole,
)
from mrcore.model.skew import HeavyKey
from mrcore.model.task import (
    BadRecord,
    BlockKey,
    FailureKind,
    Mark,
    StoredBadRecords,
    TaskFailure,
    TaskOutput,
    TaskRef,
)
from mrcore.storage.base import ObjectInfo

UINT32 = st.integers(0, 2**32 - 1)


UINT64 = st.integers(0, 2**64 - 1)


INT64 = st.integers(-(2**63), 2**63 - 1)


TEXT = st.text(max_size=40)


NAME = st.text(min_size=1, max_size=40)


SHOWN = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=40
)


FLOAT = st.floats(0, 1e9, allow_nan=False)


STEP = st.text("abcZ019 ü*-_=", min_size=1, max_size=8)


URI = st.builds(
    lambda scheme, steps: f"{scheme}://{'/'.join(steps)}",
    st.sampled_from(["gs", "mem"]),
    st.lists(STEP, min_size=1, max_size=4),
)


ATTEMPTS = st.builds(
    AttemptId,
    st.builds(TaskId, st.from_regex(r"[a-z0-9-]{0,8}", fullmatch=True).map("a{}".format),
              UINT32, UINT32),
    st.builds(AttemptNumber, UINT64, UINT64),
)  # fmt: skip


def numbers_of(kind: Whole | Bytes | Share) -> st.SearchStrategy[Any]:
    """Return what draws numbers within the limits of an option."""
    if isinstance(kind, Share):
        return st.integers(0, kind.high) | st.sampled_from(["0.5%", "1%", "100%"])
    return st.integers(kind.low, kind.high)


def values_of(option: Option) -> st.SearchStrategy[Any]:
    """Return what draws values of an option within its limits."""
    match option.kind:
        case Whole() | Bytes() | Share():
            return numbers_of(option.kind)
        case Seconds(low, high, above):
            drawn = st.floats(low, high, exclude_min=above)
            return drawn if option.default is not None else st.none() | drawn
        case Choice(members):
            return st.sampled_from(list(members))
        case Named(table):
            return st.sampled_from(table.names())
        case Flag():
            return st.booleans()
        case ColumnNames():
            names = st.text("abc", min_size=1, max_size=4)
            return st.lists(names, max_size=3, unique=True).map(tuple)
        case ColumnTypes() | Needs():
            return RESOURCES if isinstance(option.kind, Needs) else COLUMNS
        case Params():
            return st.dictionaries(NAME, TEXT, max_size=3)
        case Folder():
            return st.none() | URI
        case Jobs(most):
            ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)
            return st.lists(ids, max_size=min(most, 4), unique=True).map(tuple)
        case Files():
            raise AssertionError("files are not part of a specification")


COLUMNS = st.dictionaries(NAME, st.sampled_from(list(COLUMN_TYPES)), max_size=3).map(
    lambda drawn: tuple(drawn.items())
)


RESOURCES = st.builds(
    Resources,
    cpus=st.floats(0.0, 1e5),
    memory_bytes=UINT64,
    labels=st.lists(st.from_regex(r"[a-z][a-z0-9=-]{0,8}", fullmatch=True), unique=True).map(
        lambda drawn: tuple(sorted(drawn))
    ),
)
GROUPS = st.builds(
    InputGroup, TEXT, st.booleans(), st.just("") | st.sampled_from(INPUT_FORMATS.names()), COLUMNS
)


SPECS = st.builds(
    JobSpec,
    name=SHOWN,
    plugin=st.builds(
        Plugin,
        sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        name=SHOWN,
        steps=st.lists(st.builds(StepFlags, *[st.booleans()] * 5), min_size=1, max_size=3).map(
            tuple
        ),
        groups=st.tuples(GROUPS, GROUPS),
    ),
    inputs=st.lists(
        st.builds(Input, URI, URI, TEXT, st.none() | st.integers(0, 1)), min_size=1, max_size=3
    ).map(tuple),
    output_uri=URI,
    versions=st.builds(Versions, TEXT, TEXT, TEXT, TEXT),
    **{option.draft_field: values_of(option) for option in job_options.draft_options()},
)


OBJECTS = st.builds(
    ObjectInfo, uri=URI, size_bytes=UINT64, generation=TEXT, crc32c=st.none() | UINT32
)


OUTPUTS = st.builds(
    TaskOutput,
    object=st.none() | OBJECTS,
    digest=st.binary(max_size=32),
    section_bytes=st.lists(UINT64, max_size=5).map(tuple),
    blocks=st.lists(st.builds(BlockKey, st.binary(max_size=64), UINT64, UINT64), max_size=3).map(
        tuple
    ),
    number_kinds=st.dictionaries(TEXT, st.sampled_from(["int", "float"]), max_size=3),
    records_in=UINT64,
    records_out=UINT64,
    bytes_in=UINT64,
    bytes_out=UINT64,
    counters=st.dictionaries(TEXT, INT64, max_size=3),
    bad_records=st.lists(st.builds(BadRecord, TEXT, UINT64, TEXT, TEXT), max_size=2).map(tuple),
    heavy_key=st.none() | st.builds(HeavyKey, UINT32, TEXT, UINT64),
    stored_bad_records=st.none() | st.builds(StoredBadRecords, UINT64, TEXT, st.none() | OBJECTS),
    elapsed_seconds=FLOAT,
    result=st.binary(max_size=64),
)


MARKS = st.builds(Mark, URI, UINT64)


FAILURES = st.builds(
    TaskFailure,
    kind=st.sampled_from(FailureKind),
    message=TEXT,
    traceback=TEXT,
    lost_runs=st.lists(st.builds(TaskRef, UINT32, UINT32), max_size=3).map(tuple),
    fingerprint=st.text("0123456789abcdef", max_size=32),
    died=st.booleans(),
    skippable=st.booleans(),
    mark=st.none() | MARKS,
)
