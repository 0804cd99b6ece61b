"""Specification of a job, which a client submits and every task gets.

These are `msgspec.Struct`s: one definition is the frozen dataclass, the validation and the codec
for plan objects, the journal and the pipe to a child (the public wire is protobuf, see
`mrcore.rpc.convert`).
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Any, Final

import msgspec

from mrcore.model.columns import Columns
from mrcore.model.graph import Stage

MAX_REDUCES: Final = 100_000
MAX_MAPS: Final = 100_000
MAX_RECORDS: Final = 10**12
"""Most records that an option may name."""


class Compression(enum.StrEnum):
    """Compression of output parts."""

    NONE = "none"
    GZIP = "gz"
    BZIP2 = "bz2"
    ZSTD = "zst"


class Codec(enum.StrEnum):
    """Compression of an input file; more kinds can be read than written."""

    NONE = "none"
    GZIP = "gz"
    BZIP2 = "bz2"
    ZSTD = "zst"
    XZ = "xz"
    LZ4 = "lz4"


class Input(msgspec.Struct, frozen=True):
    """One input argument.

    `uri` is absolute and may hold wildcards; every match starts with `base_uri`, and is shown to
    `map` as `base_given` plus the rest, so that a key reads as the user typed it.
    """

    uri: str
    base_uri: str
    base_given: str
    group: int | None = None
    """Number of the plugin's input group; None: the names of its files decide."""


class StepFlags(msgspec.Struct, frozen=True):
    """Functions that a step of the user's code has."""

    has_map: bool = True
    has_reduce: bool = False
    has_combine: bool = False
    has_partition: bool = False
    has_sort_key: bool = False

    @classmethod
    def of(cls, functions: Collection[str]) -> StepFlags:
        """Return the flags of a step that has the functions of these names."""
        fields = cls.__struct_fields__
        return cls(**{field: field.removeprefix("has_") in functions for field in fields})


class InputGroup(msgspec.Struct, frozen=True):
    """Inputs that share a map function and a format."""

    pattern: str
    """Pattern of the names of its files (`mrcore.records.groups`)."""
    has_map: bool = True
    """Whether it has a map function of its own, in place of that of the first step."""
    input_format: str = ""
    """Name of its format; empty for that of the job."""
    columns: Columns = ()
    """Types of its columns, in csv and tsv; none for those that the job states."""


class Plugin(msgspec.Struct, frozen=True):
    """The user's code: a bundle named by its SHA-256, and what loading it once has shown."""

    sha256: str
    name: str
    steps: tuple[StepFlags, ...] = (StepFlags(),)
    """In order; a plugin without steps of its own is one step."""
    groups: tuple[InputGroup, ...] = ()
    """Groups that the inputs are divided into; without any, all inputs are read alike."""
    stated: dict[str, Any] = {}
    """Values of options by name, as the plugin states them. Only its client knows them: they are
    part of the specification by then."""
    stages: tuple[Stage, ...] = ()
    """Stages of the job, where they do not follow from the steps. What the last one writes follows
    from the job."""


class Versions(msgspec.Struct, frozen=True):
    """Versions that must agree between the client and the workers."""

    python: str
    """Major and minor only, as in `3.11`: pickled functions do not travel further."""
    mrcore: str
    pyarrow: str
    cloudpickle: str


class Resources(msgspec.Struct, frozen=True):
    """Capacities that each task takes from its worker while it runs there."""

    cpus: float = 0.0
    """Number of CPUs; 0 leaves them out of account."""
    memory_bytes: int = 0
    """Bytes of memory; 0 leaves it out of account."""
    labels: tuple[str, ...] = ()
    """Labels that the worker must have, sorted."""


ANY_WORKER: Final = Resources()


class Session(msgspec.Struct, frozen=True):
    """Options of a job whose tasks are calls, which its client adds one by one."""

    retries: int = 0
    """Times that a call is tried again after its function has raised."""
    keep: bool = False
    """Whether calls go on, and values stay for an hour, when the client has vanished."""


class JobDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was asked for, before its plugin has been loaded.

    The fields of options are filled by the table in `mrcore.model.job_options`.
    """

    name: str
    inputs: tuple[Input, ...]
    input_format: str = "text"
    """Name of a format in `mrcore.model.formats`, and so is `output_format`."""
    output_uri: str
    """The folder of the output, absolute, without a trailing slash. Empty where the tasks of the
    last stage leave results for the caller."""
    output_format: str = "text"
    compression: Compression = Compression.NONE
    columns: Columns = ()
    """Columns of the rows of the output; none means that the rows show them."""
    partition_by: tuple[str, ...] = ()
    """Columns whose values are folders of the output, outermost first."""
    input_columns: Columns = ()
    """Types of the columns of csv and tsv inputs; other columns are str."""
    map_tasks: int = 0
    """Number of tasks that the input is cut for; 0 leaves it to the slots (`--map-tasks auto`)."""
    records_per_task: int = 0
    """Number of records of each map task; 0 cuts the input by bytes."""
    limit: int = 0
    """Number of records of the input, from its start, that are mapped; 0 maps all."""
    reduces: int = 0
    """Number of reduce tasks; 0 lets the master choose (`-r auto`)."""
    map_only: bool = False
    total_order: bool = False
    combine: bool = True
    """False switches the plugin's combiner off."""
    backup: bool = True
    """False lets each task run once at a time, however slow its worker is."""
    params: dict[str, str] = {}
    max_attempts: int = 4
    task_timeout_seconds: float | None = None
    record_timeout_seconds: float | None = None
    """Time that `map` may take for one record, `reduce` and `combine` for one key."""
    lease_seconds: float = 10.0
    max_bad_records: int | str = 0
    """Number of bad records to skip, or a share of the records that are read, such as `1%`."""
    memory_bytes: int = 0
    """Resident memory that a slot may use; 0 lets each worker decide (60 % over its slots)."""
    temp_uri: str | None = None
    """Folder of runs; default: under the output's `_tmp`."""
    overwrite: bool = False
    priority: int = 0
    """Higher runs first."""
    after: tuple[str, ...] = ()
    """Jobs that must have succeeded before this one is planned."""
    resources: Resources = ANY_WORKER
    session: Session | None = None
    """Set in a job of calls: it has no inputs, plugin or output."""
    versions: Versions


class JobSpec(JobDraft, frozen=True, kw_only=True):
    """Everything that a job is; immutable once submitted."""

    plugin: Plugin

    def input_format_of(self, group: int) -> str:
        """Return the name of the format of an input group."""
        groups = self.plugin.groups
        return (groups[group].input_format if groups else "") or self.input_format

    def input_columns_of(self, group: int) -> Columns:
        """Return the stated types of the columns of an input group."""
        groups = self.plugin.groups
        return (groups[group].columns if groups else ()) or self.input_columns


def complete(draft: JobDraft, plugin: Plugin) -> JobSpec:
    """Return the specification of a job whose plugin has been loaded."""
    fields = {name: getattr(draft, name) for name in JobDraft.__struct_fields__}
    return JobSpec(**fields, plugin=plugin)


class JobState(enum.StrEnum):
    """State of a job. The last three are final."""

    WAITING = "waiting"
    """State of a job that waits for other jobs, or for its plan."""
    RUNNING = "running"
    COMMITTING = "committing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Return whether the job has ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class TaskState(enum.StrEnum):
    """State of a task, in the words of the MapReduce paper."""

    IDLE = "idle"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
