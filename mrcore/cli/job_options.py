"""The click options of `run` and `submit`, made from the table of job options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from mrcore.cli.base import DURATION, FILE, FOLDER, SIZE, here
from mrcore.client.request import JobRequest
from mrcore.model import job_options as table
from mrcore.model import option_rules
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import (
    REPEATED,
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

_Function = TypeVar("_Function", bound=Callable[..., Any])


_OUTPUT: Final = ("-o", "--output")
_OUTPUT_IS: Final[dict[str, Any]] = {
    "type": FOLDER,
    "metavar": "OUT",
    "help": "Folder of the output.",
}


class KindType(click.ParamType[Any]):
    """A kind of option that click itself does not have."""

    def __init__(self, kind: Kind, name: str) -> None:
        self.name = name
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a text; what is not a text has been converted already."""
        if not isinstance(value, str):
            return value
        try:
            return option_rules.parse(self._kind, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _click_type(option: Option) -> click.ParamType[Any] | None:
    """Return the type of an option's value; None for a flag."""
    match option.kind:
        case Whole(low, high, zero):
            return KindType(option.kind, f"n|{zero}") if zero else click.IntRange(low, high)
        case Seconds():
            return DURATION
        case Bytes():
            return SIZE
        case Choice(members):
            return click.Choice([member.value for member in members])
        case Named(entries):
            return click.Choice(entries.names())
        case Params() | ColumnTypes() | Needs() | Share():
            return KindType(option.kind, option.metavar.lower())
        case Folder():
            return FOLDER
        case Files():
            return FILE
        case Jobs() | ColumnNames():
            return click.STRING
        case Flag():
            return None


def _click_option(option: Option, *, with_default: bool = True) -> Callable[[_Function], _Function]:
    """Return the decorator that adds an option of the table."""
    names = [name for name in (option.short, option.long_flag, option.name) if name]
    unset = option.unset if with_default else "that of the job"
    help_text = f"{option.help}  [{unset}]" if unset else option.help
    if isinstance(option.kind, Flag):
        return click.option(*names, is_flag=True, help=help_text)
    repeated = isinstance(option.kind, REPEATED)
    shown = with_default and not repeated and not option.unset
    return click.option(
        *names,
        type=_click_type(option),
        metavar=option.metavar or None,
        multiple=repeated,
        # A text, so that the help shows it with its unit.
        default=option_rules.show(option.kind, option.default) if shown else None,
        show_default=shown,
        help=help_text,
    )


def job_options(body: _Function) -> _Function:
    """Add PLUGIN, INPUT… and all options of a job."""
    return _job_options(body, click.option(*_OUTPUT, **_OUTPUT_IS, required=True))


def rehearsed_options(body: _Function) -> _Function:
    """Add the same for a job whose outputs are temporary, unless a folder is named."""
    return _job_options(body, click.option(*_OUTPUT, **_OUTPUT_IS))


def _job_options(body: _Function, output: Callable[[_Function], _Function]) -> _Function:
    for option in reversed(table.JOB_OPTIONS):
        body = _click_option(option)(body)
    for argument in (
        output,
        click.argument("inputs", metavar="INPUT...", type=FILE, nargs=-1, required=True),
        click.argument("plugin", type=FILE),
    ):
        body = argument(body)
    return body


def resumed_options(body: _Function) -> _Function:
    """Add the options that a job may change when it goes on."""
    for option in reversed(table.resumed_options()):
        body = _click_option(option, with_default=False)(body)
    return body


def take_changes(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the values of `resumed_options` from `options` and return those that were given."""
    values = [(option, options.pop(option.name)) for option in table.resumed_options()]
    return {o.name: _value(o, value) for o, value in values if value is not None}


def take_request(options: dict[str, Any]) -> JobRequest:
    """Remove the values of `job_options` from `options` and return them as a request."""
    source = click.get_current_context().get_parameter_source
    values: dict[str, Any] = {}
    for option in table.JOB_OPTIONS:
        value = options.pop(option.name)
        if source(option.name) not in (None, ParameterSource.DEFAULT):
            values[option.name] = _value(option, value)
    return JobRequest(
        plugin=options.pop("plugin"),
        inputs=options.pop("inputs"),
        output=options.pop("output"),
        cwd=here(),
        options=values,
    )


def _value(option: Option, value: Any) -> Any:
    """Return the value of an option from what click has made of it."""
    match option.kind:
        case Flag(sets):
            return sets if value else not sets
        case _ if value is None:
            return option.default
        case Choice(members):
            return members(value)
        case Params():
            return dict(value)
        case Jobs():
            return tuple(dict.fromkeys(value))
        case ColumnTypes() | ColumnNames():
            return tuple(value)
        case _:
            return value


def note_doubles(request: JobRequest, note: Callable[[str], None]) -> None:
    """Note inputs that are named twice: their records count twice, which is rarely intended."""
    from mrcore.records.inputs import named_twice, parse_input

    twice = named_twice([parse_input(text, str(request.cwd)) for text in request.inputs])
    if twice:
        more = f" (and {len(twice) - 1:,} more)" if len(twice) > 1 else ""
        note(f"the input {twice[0]}{more} is named more than once and will be read more than once.")
