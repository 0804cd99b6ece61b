"""The table of job options: one entry for each, from which every front end and the wire are made.

An option is read from the command line (`mrcore.cli.job_options`), from a keyword of `mrcore.run`
(`mrcore.client.arguments`) and from a message (`mrcore.rpc.convert`). These modules know the kinds
of option (`mrcore.model.option_kinds`), and no option by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from mrcore.model.formats import INPUT_FORMATS, OUTPUT_FORMATS
from mrcore.model.job import MAX_MAPS, MAX_RECORDS, MAX_REDUCES, Compression, JobDraft
from mrcore.model.option_kinds import (
    Bytes,
    Choice,
    ColumnNames,
    ColumnTypes,
    Files,
    Flag,
    Folder,
    Jobs,
    Kind,
    Named,
    Needs,
    Params,
    Seconds,
    Share,
    Whole,
)
from mrcore.model.skipping import MAX_SKIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One job option. Names left out follow from `name`."""

    name: str
    """The keyword of `mrcore.run`."""
    kind: Kind
    help: str
    noun: str = ""
    """The name of the value in a sentence of the master, such as `the lease`."""
    flag: str = ""
    """The long flag on the command line."""
    short: str = ""
    """The short flag."""
    metavar: str = ""
    unset: str = ""
    """The meaning of the default, shown in the help text where the value itself is not."""
    field: str | None = ""
    """The field of `JobDraft`; None for an option that is not part of a draft."""
    proto: str = ""
    """The field of the message `JobSpec`."""
    by_plugin: bool = True
    """Whether a plugin may state it; some count before the plugin is loaded."""
    cluster_only: str = ""
    """Reason why only a cluster that is up takes the option; empty where every engine takes it.

    The clause follows the flag in a sentence, such as `names jobs of a cluster`.
    """

    @property
    def long_flag(self) -> str:
        """Return the long flag, as in `--max-attempts`."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def shown_flag(self) -> str:
        """Return the flag by which an error names the option."""
        return self.short or self.long_flag

    @property
    def draft_field(self) -> str:
        """Return the field of `JobDraft`; empty for an option that is not part of a draft."""
        return "" if self.field is None else self.field or self.name

    @property
    def proto_field(self) -> str:
        """Return the field of the message."""
        return self.proto or self.draft_field

    @property
    def default(self) -> Any:
        """Return the value without the option: the default of the draft's field."""
        return _DEFAULTS[self.draft_field] if self.draft_field else ()


_DEFAULTS: Final = {
    field.name: field.default_factory() if callable(field.default_factory) else field.default
    for field in msgspec.structs.fields(JobDraft)
}

JOB_OPTIONS: Sequence[Option] = (
    Option(
        name="reduces",
        kind=Whole(0, MAX_REDUCES, zero="auto"),
        noun="the number of reduce tasks",
        short="-r",
        metavar="N|auto",
        unset="auto",
        help="Number of reduce tasks, which is the number of output parts.",
    ),
    Option(
        name="map_tasks",
        kind=Whole(0, MAX_MAPS, zero="auto"),
        noun="the number of map tasks",
        metavar="N|auto",
        unset="auto",
        help="Cut the input into about N pieces, a map task for each.",
    ),
    Option(
        name="records_per_task",
        kind=Whole(0, MAX_RECORDS, zero="auto"),
        noun="the number of records of a map task",
        metavar="N|auto",
        unset="by bytes",
        help="Give each map task N records. The input is read once to plan.",
    ),
    Option(
        name="limit",
        kind=Whole(0, MAX_RECORDS, zero="none"),
        noun="the limit of records",
        metavar="N|none",
        unset="none",
        help="Map only the first N records of the input, to try a job.",
    ),
    Option(
        name="input_format",
        kind=Named(INPUT_FORMATS),
        noun="the input format",
        help="Format of the inputs.",
    ),
    Option(
        name="output_format",
        kind=Named(OUTPUT_FORMATS),
        noun="the output format",
        help="Format of the output.",
    ),
    Option(
        name="compress",
        field="compression",
        kind=Choice(Compression),
        help="Compression of the output.",
    ),
    Option(
        name="columns",
        flag="--column",
        metavar="NAME=TYPE",
        kind=ColumnTypes(),
        noun="the columns of the output",
        help="Column of the output's rows, in order. Repeatable.",
    ),
    Option(
        name="partition_by",
        metavar="COLUMN",
        kind=ColumnNames(most=10),
        noun="the partition columns",
        help="Write a folder for each value of this column. Repeatable.",
    ),
    Option(
        name="input_columns",
        flag="--input-column",
        metavar="NAME=TYPE",
        kind=ColumnTypes(),
        noun="the columns of the input",
        help="Type of a column of csv and tsv inputs. Repeatable.",
    ),
    Option(
        name="no_combine",
        field="combine",
        proto="no_combine",
        kind=Flag(sets=False),
        help="Do not use the plugin's combine.",
    ),
    Option(
        name="no_backup",
        field="backup",
        proto="no_backup",
        kind=Flag(sets=False),
        help="Start no second attempt of a task that takes far longer than others.",
    ),
    Option(
        name="map_only",
        kind=Flag(sets=True),
        help="Write the pairs of map directly, without a reduce step.",
    ),
    Option(
        name="total_order",
        kind=Flag(sets=True),
        help="Sort keys across all parts, not just within each.",
    ),
    Option(
        name="params",
        flag="--param",
        metavar="K=V",
        kind=Params(),
        help="Parameter for your code, in context.params. Repeatable.",
    ),
    Option(
        name="files",
        by_plugin=False,
        field=None,
        metavar="F",
        kind=Files(),
        help="Side file for your code, at context.file(name). Repeatable.",
    ),
    Option(
        name="max_attempts",
        kind=Whole(1, 1_000),
        noun="the number of attempts",
        help="Fail the job when your code fails this many attempts of a task.",
    ),
    Option(
        name="task_timeout",
        field="task_timeout_seconds",
        kind=Seconds(0.0, 30 * 86_400.0, above=True),
        noun="the task time limit",
        metavar="TIME",
        unset="no limit",
        help="Time limit for one attempt, e.g. 30s.",
    ),
    Option(
        name="record_timeout",
        field="record_timeout_seconds",
        kind=Seconds(0.1, 30 * 86_400.0),
        noun="the record time limit",
        metavar="TIME",
        unset="no limit",
        help="Time limit for your code at one record or key, e.g. 30s.",
    ),
    Option(
        name="lease",
        field="lease_seconds",
        # A shorter lease would end between two reports of a worker that is well.
        kind=Seconds(0.5, 3_600.0),
        noun="the lease",
        metavar="TIME",
        help="Reassign a worker's tasks after this much silence.",
    ),
    Option(
        name="max_bad_records",
        kind=Share(MAX_SKIPPED, "max_bad_share"),
        noun="the number of bad records",
        metavar="N|P%",
        help="Skip at most N bad records, or P per cent of all, and save them in OUT/_bad.",
    ),
    Option(
        name="memory",
        by_plugin=False,
        field="memory_bytes",
        kind=Bytes(),
        noun="the memory of a slot",
        metavar="SIZE",
        unset="60 % of the machine, divided by slots",
        help="Memory of each slot, e.g. 256MiB.",
    ),
    Option(
        name="resources",
        kind=Needs(),
        noun="the resources",
        metavar="cpu=N,memory=SIZE,label=NAME",
        unset="any worker will do",
        help="Resources that each task takes from its worker while it runs there.",
    ),
    Option(
        name="temp",
        by_plugin=False,
        field="temp_uri",
        kind=Folder(),
        noun="the temp folder",
        metavar="URI",
        unset="below OUT",
        help="Location of intermediate data.",
    ),
    Option(
        name="overwrite",
        by_plugin=False,
        kind=Flag(sets=True),
        help="Replace the output of an earlier job in OUT.",
    ),
    Option(
        name="priority",
        kind=Whole(-1_000, 1_000),
        noun="the priority",
        help="Run before jobs of lower priority.",
    ),
    Option(
        name="after",
        by_plugin=False,
        kind=Jobs(most=100),
        noun="the jobs to wait for",
        metavar="JOB",
        cluster_only="names jobs of a cluster",
        help="Wait until this job has succeeded, on a cluster. Repeatable.",
    ),
)
"""All options of a job, in the order in which help texts list them."""


def by_name() -> dict[str, Option]:
    """Return the options by name, in the order of the table."""
    return {option.name: option for option in JOB_OPTIONS}


RESUMED: Final = (
    "max_attempts", "task_timeout", "record_timeout", "lease", "max_bad_records", "memory",
    "resources", "priority",
)  # fmt: skip
"""Options that a job may change when it goes on, since results do not depend on them."""


def resumed_options() -> list[Option]:
    """Return the options that a job may change when it goes on."""
    return [option for option in JOB_OPTIONS if option.name in RESUMED]


def draft_options() -> list[Option]:
    """Return the options that are fields of a draft."""
    return [option for option in JOB_OPTIONS if option.draft_field]
