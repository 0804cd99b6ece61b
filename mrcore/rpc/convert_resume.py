"""Between the message `ResumeRequest` and what a client asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mrcore.errors import UsageError
from mrcore.model import job_options, option_rules
from mrcore.model.job import Plugin, Versions
from mrcore.rpc.bounds import check_count, check_job_id, text_within
from mrcore.rpc.convert import (
    option_fields,
    option_from_proto,
    plugin_from_proto,
    plugin_to_proto,
    versions_from_proto,
    versions_to_proto,
)
from mrcore.rpc.v1 import job_pb2
from mrcore.rpc.v1 import job_service_pb2 as pb
from mrcore.util.texts import printable

ALL_STAGES = "all"
_MAX_STAGES = 1_000


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A job to go on with, and how."""

    job_id: str
    plugin: Plugin | None = None
    """Code in place of the job's; None where it is the same."""
    versions: Versions | None = None
    """Versions of the client, where it brings code."""
    keep_results: tuple[str, ...] = ()
    """Stages whose results are kept though the code has changed."""
    changes: dict[str, Any] = {}
    """Values of options, by the field of the job's specification."""


def wanted_to_proto(wanted: Wanted, request_id: str, bundle: bytes) -> pb.ResumeRequest:
    """Return the message; raise UsageError for a value that cannot be."""
    changed = [o for o in job_options.resumed_options() if o.draft_field in wanted.changes]
    values = [(option, wanted.changes[option.draft_field]) for option in changed]
    for option, value in values:
        option_rules.check(option.kind, value, option.shown_flag)
    return pb.ResumeRequest(
        request_id=request_id,
        job_id=wanted.job_id,
        plugin=None if wanted.plugin is None else plugin_to_proto(wanted.plugin),
        plugin_bundle=bundle,
        versions=None if wanted.versions is None else versions_to_proto(wanted.versions),
        keep_results=wanted.keep_results,
        changes=job_pb2.JobSpec(**option_fields(values)),
        changed=[option.name for option in changed],
    )


def wanted_from_proto(message: pb.ResumeRequest) -> Wanted:
    """Return what is asked for; raise UsageError with what is wrong with it."""
    check_count(len(message.keep_results), "the number of stages", _MAX_STAGES)
    known = {option.name: option for option in job_options.resumed_options()}
    changes = {}
    for name in message.changed:
        option = known.get(name)
        if option is None:
            raise UsageError(
                f"A job that goes on cannot change {printable(name, 100)!r}. Change "
                f"{', '.join(known)}, or run it as a new job."
            )
        changes[option.draft_field] = option_from_proto(option, message.changes)
    has_plugin = message.HasField("plugin")
    return Wanted(
        job_id=check_job_id(message.job_id),
        plugin=plugin_from_proto(message.plugin) if has_plugin else None,
        versions=versions_from_proto(message.versions) if has_plugin else None,
        keep_results=tuple(
            text_within(name, "the name of a stage", 100) for name in message.keep_results
        ),
        changes=changes,
    )


def values_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by the field of the job's specification, given by their names.

    Raises UsageError for one that a job which goes on cannot change.
    """
    known = {option.name: option.draft_field for option in job_options.resumed_options()}
    for name in options:
        if name not in known:
            raise UsageError(
                f"A job that goes on cannot change {name!r}. Change {', '.join(known)}, or run it "
                "as a new job."
            )
    return {known[name]: value for name, value in options.items()}
