"""Options that a plugin states: they hold where the command line, or the caller, gives no other."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from mrcore.client.option_values import value_of
from mrcore.errors import PluginError, UsageError
from mrcore.model import job_options, option_rules
from mrcore.model.job import JobDraft, Plugin
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import Params
from mrcore.util.texts import nearest


def with_stated(draft: JobDraft, given: Collection[str], plugin: Plugin) -> JobDraft:
    """Return a draft with what its plugin states; `given` are the options of the request.

    Parameters are joined by name. Raises PluginError for an option that no plugin may state, and
    for a value that cannot be.
    """
    fields: dict[str, Any] = {}
    for name, stated in plugin.stated.items():
        option = _option(name, plugin.name)
        value = _value(option, stated, plugin.name)
        if isinstance(option.kind, Params):
            fields[option.draft_field] = {**value, **getattr(draft, option.draft_field)}
        elif name not in given and value is not None:
            fields[option.draft_field] = value
    return msgspec.structs.replace(draft, **fields)


def _option(name: str, plugin: str) -> Option:
    option = job_options.by_name().get(name)
    if option is None:
        known = [each.name for each in job_options.JOB_OPTIONS if each.by_plugin]
        raise PluginError(
            f"{plugin} states the option {name!r}, which a job does not have.{nearest(name, known)}"
        )
    if not option.by_plugin:
        raise PluginError(
            f"{plugin} states {name}, which a plugin cannot. Give {option.shown_flag} where "
            "you run it."
        )
    return option


def _value(option: Option, stated: object, plugin: str) -> Any:
    try:
        value = value_of(option, stated)
        if value is not None:
            option_rules.check(option.kind, value, option.name)
    except UsageError as error:
        raise PluginError(f"An option that {plugin} states cannot be. {error}") from None
    return value
