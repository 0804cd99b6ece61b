"""Input and result of a task: the seam between scheduling and data.

The master builds these, the wire carries them (`mrcore.rpc.convert_task`), the worker passes them
to a child, and the functions of `mrcore.tasks` take and return them.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from mrcore.model.ids import AttemptId
from mrcore.model.job import Codec, JobSpec
from mrcore.model.skew import HeavyKey
from mrcore.model.stages import Stage, stages_of
from mrcore.storage.base import ObjectInfo

MAX_RESULT_BYTES: Final = 65_536
"""A longer value of a call, or result of a job, is an object."""
MAX_SPARED_RESULT_BYTES: Final = 1_024
"""A longer value of a call is an object while the master is short of room."""
MAX_PRINTED_BYTES: Final = 16_384
"""Length of what a report has of the text that a call printed: its end."""


class Piece(msgspec.Struct, frozen=True):
    """A range of one input file: the records that start in [start, end)."""

    uri: str
    shown: str
    """The file as the user gave it: the first half of the key that `map` gets."""
    start: int
    end: int
    """Byte range: [0, size) of unsplittable files; in parquet, row groups taken to start in it."""
    size_bytes: int
    """Size of the whole file, to notice one that changed."""
    generation: str
    codec: Codec = Codec.NONE
    """Compression of the file, decided when it was listed."""
    format: str = "text"
    """Format of the file (`mrcore.model.formats`), decided when it was listed."""
    first_offset: int = 0
    """Offset of the first record that is read, in a file that cannot be cut at bytes."""
    end_offset: int = 0
    """Offset of the first record after those; 0 is the end of the file."""


class Split(msgspec.Struct, frozen=True, tag="split"):
    """Share of the job's input that one task reads: pieces, in the order of the input."""

    pieces: tuple[Piece, ...]
    group: int = 0
    """Number of the input group of its files, where the plugin has groups."""

    @property
    def size_bytes(self) -> int:
        """Return the bytes that the task will read, more or less."""
        return sum(min(p.end - p.start, p.size_bytes) for p in self.pieces)


class TaskRef(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A task of the same job: the number of its stage, and its own within the stage."""

    stage: int
    index: int


class RunSlice(msgspec.Struct, frozen=True, array_like=True):
    """The part of a task's run that one task of a later stage reads.

    `offset` and `length_bytes` bound whole sections (or, in total order, whole blocks).
    """

    stage: int
    """Number of the stage of the task that wrote the run."""
    index: int
    """Number of that task within its stage."""
    uri: str
    generation: str
    offset: int
    length_bytes: int

    @property
    def run(self) -> TaskRef:
        """Return the task that wrote the run."""
        return TaskRef(self.stage, self.index)


class KeyRange(msgspec.Struct, frozen=True):
    """Encoded keys (`mrcore.shuffle.keys`) in [low, high); None is unbounded."""

    low: bytes | None = None
    high: bytes | None = None


class RunInput(msgspec.Struct, frozen=True, tag="runs"):
    """Share of runs that one task reads: its partition of each."""

    slices: tuple[RunSlice, ...]
    """Ascending by stage and index of the writer; empty sections are left out."""
    keys: KeyRange = KeyRange()
    """Keys of the slices that are this task's, in total order."""


class CallValue(msgspec.Struct, frozen=True):
    """Pickled value of a call, which another one takes: the bytes, or the object with them."""

    data: bytes = b""
    object: ObjectInfo | None = None


class CallInput(msgspec.Struct, frozen=True, tag="call"):
    """One call to make."""

    function: str
    """SHA-256 of the object that holds the pickled function."""
    arguments: bytes = b""
    """Pickled arguments; empty where they are an object."""
    arguments_object: str = ""
    """SHA-256 of the object that holds the pickled arguments; empty where they are `arguments`."""
    values: tuple[CallValue, ...] = ()
    """Values of other calls that are among the arguments, by their number there."""
    each: bool = False
    """Whether the arguments are a list, and the function is called for each item."""
    store_value: bool = False
    """Whether a value of more than `MAX_SPARED_RESULT_BYTES` is to be an object, since the master
    is short of memory."""


TaskInput = Split | RunInput | CallInput


class TaskWork(msgspec.Struct, frozen=True):
    """Work of an attempt: its input, and the number of partitions that it writes."""

    read: TaskInput
    partitions: int = 0
    """Sections of its run: the number of tasks that will read it; 0 where it writes no run."""


class Mark(msgspec.Struct, frozen=True):
    """Place of a record: its file and its offset there. Keys and items are marked alike, by what
    `mrcore.model.skipping` writes in place of a file."""

    uri: str
    offset: int


class Skip(msgspec.Struct, frozen=True):
    """A record to skip and save, since it has failed two attempts."""

    mark: Mark
    cause: str = ""
    """Message of the last failure there."""
    traceback: str = ""
    """End of its traceback."""
    exception: bytes = b""
    """Pickled exception of an item of a call; empty where its process died."""


class TaskSpec(msgspec.Struct, frozen=True):
    """All that a child needs to run one attempt."""

    attempt: AttemptId
    job: JobSpec
    state_uri: str
    work: TaskWork
    inputs_version: int = 0
    """Version of the content that it reads; echoed in the report, for fencing."""
    memory_bytes: int = 0
    """Resident memory of the child that must not be exceeded; decided by the worker."""
    mark_records: bool = False
    """Note each record before it is mapped, in case it kills the process."""
    careful: bool = False
    """Take each record, key and pair by itself: a former attempt has failed at one, and what fails
    is given up."""
    skip: tuple[Skip, ...] = ()

    @property
    def stage(self) -> Stage:
        """Return what the tasks of its stage do."""
        return stages_of(self.job)[self.attempt.task.stage]


class BlockKey(msgspec.Struct, frozen=True, array_like=True):
    """In total order: one block of a run, by its first key (encoded and cut)."""

    first_key: bytes
    length_bytes: int
    rows: int


class BadRecord(msgspec.Struct, frozen=True):
    """A record, a key, or a pair of a later map that was skipped."""

    shown: str
    """The file, or the function that took the key or pair."""
    offset: int
    """Offset in the file; of a pair, its number among those in a row with its key."""
    cause: str
    record: str
    """The record as text, cut to 1,024 characters."""
    traceback: str = ""
    """End of the traceback, where user code raised."""


class StoredBadRecords(msgspec.Struct, frozen=True):
    """Bad records of one attempt that are too many for its report."""

    records: int
    last_cause: str
    object: ObjectInfo | None = None
    """Object with the records, a line of JSON each; None for a job without an output."""


def shown_position(position: str) -> str:
    """Return a position of `TaskOutput.number_kinds` as an error message has it."""
    return f"position {position} of the keys" if position else "keys"


class TaskOutput(msgspec.Struct, frozen=True, kw_only=True, tag="output", omit_defaults=True):
    """Results and counts of a successful attempt; a winner's are journaled."""

    object: ObjectInfo | None = None
    """The run, or the staged part; None when a task wrote no run since it emitted nothing."""
    digest: bytes = b""
    """Digest of the run's content: equal digests are equal rows. Of a parquet part, the digest of
    its schema; empty for other parts."""
    section_bytes: tuple[int, ...] = ()
    """Length of each partition's section, in order, from offset 0. Empty in total order."""
    blocks: tuple[BlockKey, ...] = ()
    """In total order: the blocks of the run, in order, from offset 0."""
    heavy_key: HeavyKey | None = None
    """The key with by far the most pairs of the run, if there is one. Not in total order."""
    number_kinds: dict[str, str] = {}
    """Number type at each position of the keys ("" is the key itself, "0" and "1.2" are
    positions in tuples; "sort_key" and "sort_key.0" are what `sort_key` returns): "int" or "float".
    The job fails if two tasks that write for the same readers differ."""
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    counters: dict[str, int] = {}
    bad_records: tuple[BadRecord, ...] = ()
    """Records that were skipped, where they are few."""
    stored_bad_records: StoredBadRecords | None = None
    """Records that were skipped, where they are many."""
    elapsed_seconds: float = 0.0
    class_a: int = 0
    """Storage operations that were billed as writing or listing."""
    class_b: int = 0
    """Number of storage operations billed as reading."""
    result: bytes = b""
    """Value for the caller, of a task that writes a result: at most `MAX_RESULT_BYTES`. A longer
    one is `object`."""
    printed: bytes = b""
    """The end of what a call printed."""

    @property
    def skipped(self) -> int:
        """Return the number of records that were skipped."""
        stored = self.stored_bad_records
        return len(self.bad_records) + (0 if stored is None else stored.records)

    @property
    def saved_bad_records(self) -> tuple[BadRecord, ...] | ObjectInfo:
        """Return the records that were skipped, or the object with them."""
        stored = self.stored_bad_records
        return self.bad_records if stored is None or stored.object is None else stored.object

    @property
    def last_cause(self) -> str:
        """Return why the last record was skipped; empty where none was."""
        if self.stored_bad_records is not None:
            return self.stored_bad_records.last_cause
        return self.bad_records[-1].cause if self.bad_records else ""


class FailureKind(enum.StrEnum):
    """Whose failure it was: each kind has its own budget."""

    USER = "user"
    """The user's code raised, exited, crashed, took too much memory or too long."""
    DATA = "data"
    """An input is truncated, the disk that all write to is full, or mrcore has a defect: another
    attempt would fail alike, and does."""
    INFRASTRUCTURE = "infrastructure"
    """Storage, disk or the machine; another worker may do better."""
    LOST_INPUT = "lost_input"
    """A run could not be read, or failed its CRC; `lost_runs` says which."""
    PREEMPTED = "preempted"
    """Handed back by a worker that leaves; never counts as a failure."""


class TaskFailure(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """Reason for the failure of an attempt, in words for the user."""

    kind: FailureKind
    message: str
    """One sentence: what happened, to which file, record and offset."""
    traceback: str = ""
    """The user's own frames only; empty where no user code raised."""
    lost_runs: tuple[TaskRef, ...] = ()
    """Tasks whose runs could not be read."""
    died: bool = False
    """The child died without a traceback (exit, signal, memory, time limit)."""
    mark: Mark | None = None
    """The record in work when it died, where `mark_records` was on."""
    skippable: bool = False
    """Whether a record, key or pair may be at fault that only a careful attempt would find."""
    fingerprint: str = ""
    """Identity of what the user's code raised and of the place: equal ones are the same error at
    the same record, key or function. Empty where another attempt may do better."""
    exception: bytes = b""
    """Pickled exception of a call, with its cause; empty where it cannot be pickled or is longer
    than `MAX_RESULT_BYTES`."""
    printed: bytes = b""
    """The end of what a call printed."""


TaskResult = TaskOutput | TaskFailure


class Progress(msgspec.Struct, frozen=True):
    """Progress of a running attempt; for display and stragglers, never journaled."""

    fraction: float = 0.0
    records: int = 0
    bytes: int = 0
    status: str = ""
