"""The options that say what a job is: the same for `run` and `submit`."""

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
        help="Number of reduce tasks, and so of output parts.  [auto]",
    ),
    click.option(
        "--input-format",
        type=_choices(InputFormat),
        default="text",
        show_default=True,
        help="How inputs become records.",
    ),
    click.option(
        "--output-format",
        type=_choices(OutputFormat),
        default="text",
        show_default=True,
        help="How pairs become files.",
    ),
    click.option(
        "--compress",
        "compression",
        type=_choices(Compression),
        default="none",
        show_default=True,
        help="How output files are compressed.",
    ),
    click.option("--no-combine", is_flag=True, help="Do not use the plugin's combine."),
    click.option("--map-only", is_flag=True, help="Write what map emits, as it comes."),
    click.option(
        "--total-order", is_flag=True, help="All keys of a part below those of the next part."
    ),
    click.option(
        "--param",
        "params",
        type=PARAM,
        metavar="K=V",
        multiple=True,
        help="Parameter for the plugin: context.params; may be repeated.",
    ),
    click.option(
        "--files",
        type=FILE,
        metavar="F",
        multiple=True,
        help="Side file for the plugin: context.file(name); may be repeated.",
    ),
    click.option(
        "--max-attempts",
        type=click.IntRange(1, MAX_ATTEMPTS),
        default=4,
        show_default=True,
        help="Attempts of a task that the plugin may fail.",
    ),
    click.option(
        "--task-timeout",
        type=DURATION,
        metavar="TIME",
        help="An attempt may run so long, such as 30s.  [no limit]",
    ),
    click.option(
        "--lease",
        type=DURATION,
        metavar="TIME",
        default="10s",
        show_default=True,
        help="A worker silent for so long has lost its tasks.",
    ),
    click.option(
        "--max-bad-records",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Records that may be skipped, and saved under OUT/_bad.",
    ),
    click.option(
        "--memory",
        type=SIZE,
        metavar="SIZE",
        default=0,
        help="Memory of a slot, such as 256MiB.  [60 % of the machine over its slots]",
    ),
    click.option(
        "--temp",
        type=FOLDER,
        metavar="URI",
        help="Where intermediate data lie.  [below OUT]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the output of a former job in OUT."),
    click.option(
        "--priority",
        type=click.IntRange(-1000, 1000),
        default=0,
        show_default=True,
        help="Jobs of higher priority run first.",
    ),
)


def job_options(body: _Function) -> _Function:
    """Add PLUGIN, INPUT… and all options that make a JobSpec."""
    for option in reversed(_OPTIONS):
        body = option(body)
    return body


def take_request(options: dict[str, Any]) -> JobRequest:
    """Take what `job_options` has added out of `options` and return it as a request."""
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
    """Note that inputs are named twice: their records count twice, and that is rarely meant."""
    from mrcore.records.inputs import named_twice, parse_input

    twice = named_twice([parse_input(text, str(request.cwd)) for text in request.inputs])
    if twice:
        more = f" (and {len(twice) - 1:,} more)" if len(twice) > 1 else ""
        note(f"the input {twice[0]}{more} is named more than once, and so is read more than once.")
