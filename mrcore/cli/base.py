"""Parameter types, common options and printing for all commands."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from mrcore.cli import streams
from mrcore.cli.help import Command
from mrcore.util import units

EXIT_INTERRUPTED = 130

_Function = TypeVar("_Function", bound=Callable[..., Any])


class SizeType(click.ParamType[int]):
    """A size such as `256MiB`, as bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        if isinstance(value, int):
            return value
        try:
            return units.parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType[float]):
    """A duration such as `30s`, as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        try:
            return units.parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PlaceType(click.ParamType[str]):
    """A file, folder or URI, existing or not; completed like file names."""

    name = "place"

    def __init__(self, kind: str) -> None:
        """Set `kind` for completion: `file` (with the folders on the way) or `dir`."""
        self._kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return one item that lets the shell complete the name."""
        return [CompletionItem(incomplete, type=self._kind)]


class JobType(click.ParamType[str]):
    """The id of a job; completed from the embedded runs, newest first."""

    name = "job"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the newest job ids that start with `incomplete`."""
        from mrcore.engine import history

        ids = (record.job.job_id for record in history.past_runs())
        fitting = (job_id for job_id in ids if job_id.startswith(incomplete))
        return [CompletionItem(job_id) for job_id in itertools.islice(fitting, _OFFERED_JOBS)]


_OFFERED_JOBS = 20
FILE = PlaceType("file")
FOLDER = PlaceType("dir")
JOB = JobType()
SIZE = SizeType()
DURATION = DurationType()


def debugging() -> bool:
    """Return whether errors show mrcore's own frames (`--debug`, `MRCORE_DEBUG=1`)."""
    return os.environ.get("MRCORE_DEBUG", "") not in ("", "0")


def _set_debugging(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        os.environ["MRCORE_DEBUG"] = "1"


def command(**settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a click command with `-h` and `--debug`."""

    def decorate(body: Callable[..., Any]) -> click.Command:
        debug = click.option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_set_debugging,
            help="Show tracebacks of errors inside mrcore.",
        )
        defaults = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
        settings["context_settings"] = {**defaults, **settings.get("context_settings", {})}
        made: click.Command = click.command(**{"cls": Command, **settings})(debug(body))
        return made

    return decorate


workers_option = click.option(
    "-w",
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of embedded workers.  [number of cores]",
)
slots_option = click.option(
    "--slots",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Tasks that each embedded worker runs at once.  [1]",
)


def cluster_options(body: _Function) -> _Function:
    """Add the options that name a cluster: `--master`, `--state` and `--credentials`."""
    for option in (
        click.option(
            "--credentials",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            help="File with the cluster's credentials, if --state is not readable.",
        ),
        click.option(
            "--state",
            "state",
            type=FOLDER,
            metavar="URI",
            help="State of the cluster; its address and token are read there.",
        ),
        click.option(
            "--master",
            metavar="HOST:PORT",
            envvar="MRCORE_MASTER",
            help="Address of the cluster's master (or set MRCORE_MASTER).",
        ),
    ):
        body = option(body)
    return body


def json_option(body: _Function) -> _Function:
    """Add `--json`."""
    option = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
    )
    return option(body)


def print_json(value: Any) -> None:
    """Print exactly one JSON value on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_end_as_json(value: Any) -> None:
    """Print how a job ended; a failure to print does not change the exit code."""
    try:
        print_json(value)
    except OSError as error:
        streams.forget(sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            note(f"the JSON object could not be printed ({error.strerror}).")


def note(text: str) -> None:
    """Print a message for a person on stderr."""
    click.echo(f"mrcore: {text}", err=True)


def usage_sentence(error: click.ClickException) -> str:
    """Return what is wrong with a command line, and where help is, as one sentence."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    place = context.command_path if isinstance(context, click.Context) else "mrcore"
    return f"{message}{' See' if message.endswith('?') else '; see'} `{place} --help`."


def here() -> Path:
    """Return the current folder; raise UsageError if it was deleted."""
    from mrcore.errors import UsageError

    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UsageError("The current folder was deleted. Change to one that exists.") from None


def folder_uri(text: str) -> str:
    """Return the URI of an output as typed, without a trailing slash."""
    from mrcore.client import request
    from mrcore.errors import UsageError
    from mrcore.storage.registry import path_of

    uri = request.folder_uri(text, here())
    if not path_of(uri):
        raise UsageError(f"{text} is a whole file system. Name the folder of an output.")
    return uri


def on_terminal() -> bool:
    """Return whether stdout is a terminal, where tables may be pretty."""
    return sys.stdout.isatty()
