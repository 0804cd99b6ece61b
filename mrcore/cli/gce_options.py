"""Options of `mrcore gce`, and the parser of its command lines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from mrcore.cli.base import FILE, FOLDER
from mrcore.cli.help import Command
from mrcore.cli.job_options import job_options

_Function = TypeVar("_Function", bound=Callable[..., Any])
JOB_WORDS: Final = "mrcore.gce.job_words"
"""Key of the typed words of `mrcore run` in a context."""


class GceCommand(Command):
    """A command whose options do not take the option behind them for their value.

    `--bucket --dry-run` is a value that was forgotten: it must not make VMs.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse words into parameters; keep those that make a job."""
        typed, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for parameter in self.get_params(ctx):
            taken = _texts(typed.get(parameter.name or ""))
            is_option = isinstance(parameter, click.Option) and not ctx.resilient_parsing
            if is_option and any(text.startswith("--") for text in taken):
                name = max(parameter.opts, key=len)
                raise click.BadOptionUsage(name, f"Option {name!r} requires an argument.", ctx)
        ctx.meta[JOB_WORDS] = _job_words(self, typed)
        return super().parse_args(ctx, args)


def _job_words(command: click.Command, typed: dict[str, Any]) -> list[str]:
    """Return the words that ask `mrcore run` for the job, as they were typed."""
    own, words, places = job_parameters(), list[str](), list[str]()
    for parameter in command.params:
        value = typed.get(parameter.name or "")
        if parameter.name not in own:
            continue
        if isinstance(parameter, click.Argument):
            places += _texts(value)
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words += [parameter.opts[0]] if value is True else []
        else:
            words += [word for text in _texts(value) for word in (parameter.opts[0], text)]
    if any(place.startswith("-") for place in places):
        return [*words, "--", *places]
    return [*places, *words]


def _texts(value: Any) -> list[str]:
    """Return the words that a parameter has taken: one, several or none."""
    values = value if isinstance(value, list | tuple) else [value]
    return [one for one in values if isinstance(one, str)]


def _value(name: str, metavar: str, help_text: str, **settings: Any) -> Any:
    return click.option(f"--{name}", metavar=metavar, default="", help=help_text, **settings)


def _flag(name: str, help_text: str) -> Any:
    return click.option(f"--{name}", is_flag=True, help=help_text)


_COMMON: Final = (
    _value("project", "P", "Project.  [gcloud's]"),
    _value("zone", "Z", "Zone of the workers.  [gcloud's]"),
    _value("region", "R", "Region of the workers, in place of a zone."),
    _value("name", "NAME", "Name of the cluster."),
    _value("bucket", "B", "Bucket of the cluster's home, gs://B/mrcore/NAME."),
    _value("home", "URI", "Home itself.  [found by the output, or by the cluster's VMs]"),
    _flag("dry-run", "Print every gcloud command, also those that only read, and do nothing."),
    _flag("yes", "Do not ask."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON value on stdout."),
)
_CLUSTER: Final = (
    _value("workers", "N", "Size of the group of workers at first.  [2]"),
    _value("min-workers", "N", "Workers that the fleet keeps without work.  [0]"),
    _value("max-workers", "N", "Workers that the fleet may have at most.  [--workers]"),
    _flag("spot", "Begin with spot VMs.  [default]"),
    _flag("on-demand", "Begin with VMs on demand."),
    _value("machine-type", "A,B,C", "Types of workers; with --region by rank.  [e2-standard-4]"),
    _value("masters", "N", "Masters: one leads, the others take over from it.  [1]"),
    _value("master-machine-type", "T", "Type of the master.  [e2-standard-2]"),
    _value("requirements", "FILE", "Packages for the user's code, as for pip.", type=FILE),
    _value("wheels", "gs://B/FOLDER", "Folder where wheels stay for the next cluster."),
    _value("max-run-duration", "TIME", "Age at which Compute Engine deletes each VM.  [12h]"),
    _value("idle-timeout", "TIME", "Time without a job, after which the cluster goes.  [15m]"),
    _value("deadline", "TIME", "Time that a job may take; the fleet hurries to keep it."),
    _value("max-cost", "DOLLARS", "Amount at which the fleet stops, and its jobs fail."),
    _value("input", "URI", "Prefix that jobs will read."),
    _value("connect", "iap|direct", "Through Google's tunnel, or inside the network.  [iap]"),
    _value("network", "N", "Network of the VMs.  [default]"),
    _value("subnet", "S", "Subnet of the VMs."),
    _value("image", "NAME|family/F", "Image that `mrcore gce image` has baked.  [Debian 12]"),
    _value("python", "V", "Python of the VMs; only another image has another.  [3.11]"),
    _value("disk-size", "GB", "Size of each VM's disk.  [50]"),
    _value("service-account-master", "E", "Account of the master; no permissions are changed."),
    _value("service-account-worker", "E", "Account of the workers; no permissions are changed."),
    click.option(
        "--shared-bucket",
        metavar="B",
        multiple=True,
        help="Bucket of others, whose owner has let the workers' account in; may be repeated.",
    ),
    click.option(
        "--vm-env",
        metavar="KEY=VALUE",
        multiple=True,
        help="Variable of the daemons' environment; may be repeated.",
    ),
    _flag("cross-region", "Let the bucket be elsewhere than the VMs."),
)
_OUTPUT: Final = click.option(
    *("-o", "--output"), default="", metavar="URI", type=FOLDER, help="Prefix that jobs will write."
)


COMMON_NAMES: Final = (
    *("project", "zone", "region", "name", "bucket", "home", "dry_run", "yes", "as_json", "debug"),
)


def _add(body: _Function, options: tuple[Any, ...]) -> _Function:
    for option in reversed(options):
        body = option(body)
    return body


def common_options(body: _Function) -> _Function:
    """Add what all commands take."""
    return _add(body, _COMMON)


def cluster_options(body: _Function) -> _Function:
    """Add what describes a cluster that is to be made."""
    return _add(body, (*_CLUSTER, _OUTPUT))


def job_cluster_options(body: _Function) -> _Function:
    """Add what describes a job, its output too, and a cluster for it."""
    return job_options(_add(body, _CLUSTER))


@functools.cache
def job_parameters() -> frozenset[str]:
    """Return the names of the parameters that make a job."""

    def probe(**options: Any) -> None:
        """Take the options of a job."""

    command = click.command()(job_options(probe))
    return frozenset(parameter.name or "" for parameter in command.params)


def optional(command: click.Command, names: tuple[str, ...]) -> click.Command:
    """Let parameters be left out, so that the command has its own words for that."""
    for parameter in command.params:
        if parameter.name in names:
            parameter.required = False
    return command
