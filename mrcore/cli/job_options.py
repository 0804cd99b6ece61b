"""Options that describe a job, shared by `run` and `submit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mrcore.cli.base import DURATION, FILE, FOLDER, PARAM, REDUCES, SIZE, here
from mrcore.client.request import JobRequest
from mrcore.model.job import MAX_ATTEMPTS, Compression, InputFormat, OutputFormat

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _choices(kind: Any) -> click.Choice[str]:
    return click.Choice([member.value for member in kind])


_OPTIONS = (
    click.argument("plugin", type=FILE),
    click.argument("inputs", metavar="INPUT...", type=FILE, nargs=-1, required=True),
    click.option(
        "-o", "--output", type=FOLDER, metavar="OUT", required=True, help="Folder of the output."
    ),
    click.option(
        "-r",
        "--reduces",
        type=REDUCES,
        metavar="N|auto",
        default="auto",
        help="Number of reduce tasks, which is the number of output parts.  [auto]",
    ),
    click.option(
        "--input-format",
        type=_choices(InputFormat),
        default="text",
        show_default=True,
        help="Format of the inputs.",
    ),
    click.option(
        "--output-format",
        type=_choices(OutputFormat),
        default="text",
        show_default=True,
        help="Format of the output.",
    ),
    click.option(
        "--compress",
        "compression",
        type=_choices(Compression),
        default="none",
        show_default=True,
        help="Compression of the output.",
    ),
    click.option("--no-combine", is_flag=True, help="Do not use the plugin's combine."),
    click.option(
        "--map-only", is_flag=True, help="Write the pairs of map directly, without a reduce step."
    ),
    click.option(
        "--total-order", is_flag=True, help="Sort keys across all parts, not just within each."
    ),
    click.option(
        "--param",
        "params",
        type=PARAM,
        metavar="K=V",
        multiple=True,
        help="Parameter for your code, in context.params. Repeatable.",
    ),
    click.option(
        "--files",
        type=FILE,
        metavar="F",
        multiple=True,
        help="Side file for your code, at context.file(name). Repeatable.",
    ),
    click.option(
        "--max-attempts",
        type=click.IntRange(1, MAX_ATTEMPTS),
        default=4,
        show_default=True,
        help="Fail the job when your code fails this many attempts of a task.",
    ),
    click.option(
        "--task-timeout",
        type=DURATION,
        metavar="TIME",
        help="Time limit for one attempt, e.g. 30s.  [no limit]",
    ),
    click.option(
        "--lease",
        type=DURATION,
        metavar="TIME",
        default="10s",
        show_default=True,
        help="Reassign a worker's tasks after this much silence.",
    ),
    click.option(
        "--max-bad-records",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Skip at most this many bad records and save them in OUT/_bad.",
    ),
    click.option(
        "--memory",
        type=SIZE,
        metavar="SIZE",
        default=0,
        help="Memory of each slot, e.g. 256MiB.  [60 % of the machine, divided by slots]",
    ),
    click.option(
        "--temp",
        type=FOLDER,
        metavar="URI",
        help="Location of intermediate data.  [below OUT]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the output of an earlier job in OUT."),
    click.option(
        "--priority",
        type=click.IntRange(-1000, 1000),
        default=0,
        show_default=True,
        help="Run before jobs of lower priority.",
    ),
)


def job_options(body: _Function) -> _Function:
    """Add PLUGIN, INPUT… and all options of a JobSpec."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def take_request(options: dict[str, Any]) -> JobRequest:
    """Remove the values of `job_options` from `options` and return them as a request."""
    task_timeout = options.pop("task_timeout")
    return JobRequest(
        plugin=options.pop("plugin"),
        inputs=options.pop("inputs"),
        output=options.pop("output"),
        cwd=here(),
        files=options.pop("files"),
        reduces=options.pop("reduces"),
        input_format=InputFormat(options.pop("input_format")),
        output_format=OutputFormat(options.pop("output_format")),
        compression=Compression(options.pop("compression")),
        combine=not options.pop("no_combine"),
        map_only=options.pop("map_only"),
        total_order=options.pop("total_order"),
        params=dict(options.pop("params")),
        max_attempts=options.pop("max_attempts"),
        task_timeout_seconds=task_timeout,
        lease_seconds=options.pop("lease"),
        max_bad_records=options.pop("max_bad_records"),
        memory_bytes=options.pop("memory"),
        temp=options.pop("temp"),
        overwrite=options.pop("overwrite"),
        priority=options.pop("priority"),
    )


def note_doubles(request: JobRequest, note: Callable[[str], None]) -> None:
    """Note inputs that are named twice: their records count twice, which is rarely intended."""
    from mrcore.records.inputs import named_twice, parse_input

    twice = named_twice([parse_input(text, str(request.cwd)) for text in request.inputs])
    if twice:
        more = f" (and {len(twice) - 1:,} more)" if len(twice) > 1 else ""
        note(f"the input {twice[0]}{more} is named more than once and will be read more than once.")
