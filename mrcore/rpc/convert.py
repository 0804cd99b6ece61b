"""Between the messages of `job.proto` and the values that the rest of the project uses.

`…_from_proto` is the border: what another process sent is checked there, once, against bounds
(`mrcore.rpc.bounds`), and refused with a sentence (UsageError, INVALID_ARGUMENT on the wire).
Structs whose fields have the names of the message's are passed as they are. Messages about
attempts are in `mrcore.rpc.convert_task`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from mrcore.errors import UsageError
from mrcore.model import job_options, option_rules
from mrcore.model.calls import NO_PLUGIN
from mrcore.model.columns import Columns
from mrcore.model.formats import INPUT_FORMATS
from mrcore.model.job import (
    ANY_WORKER,
    Compression,
    Input,
    InputGroup,
    JobSpec,
    Plugin,
    Resources,
    Session,
    StepFlags,
    Versions,
)
from mrcore.model.job_options import Option
from mrcore.model.option_kinds import (
    Choice,
    ColumnNames,
    ColumnTypes,
    Flag,
    Folder,
    Jobs,
    Named,
    Needs,
    Params,
    Share,
)
from mrcore.model.resources import MAX_CPUS, MAX_LABELS, check_label
from mrcore.model.task import MAX_PRINTED_BYTES, Mark, TaskFailure, TaskRef
from mrcore.plugin.functions import MAX_GROUPS, MAX_STEPS
from mrcore.rpc.bounds import (
    MAX_NAME,
    MAX_OBJECT_URI,
    MAX_URI,
    bytes_within,
    check_count,
    check_folder_uri,
    check_name,
    check_named,
    check_sha256,
    check_uri,
    number_within,
    text_within,
)
from mrcore.rpc.convert_stages import stage_to_proto, stages_from_proto
from mrcore.rpc.enums import (
    COMPRESSIONS,
    FAILURE_KINDS,
    EnumTable,
)
from mrcore.rpc.v1 import failure_pb2, job_pb2, plugin_pb2
from mrcore.util.texts import printable

MAX_INPUTS: Final = 100_000
MAX_PARAMS: Final = 1_000
MAX_PARAM_CHARS: Final = 65_536
MAX_SPEC_BYTES: Final = 16 * 2**20
MAX_MESSAGE: Final = 8_192
MAX_TRACEBACK: Final = 65_536
MAX_FINGERPRINT: Final = 100
MAX_LOST_RUNS: Final = 10_000
MAX_RETRIES: Final = 1_000

_CHOICES: Final[dict[type[enum.StrEnum], EnumTable[Any, Any]]] = {
    Compression: COMPRESSIONS,
}


def job_spec_to_proto(spec: JobSpec) -> job_pb2.JobSpec:
    """Return the message; raise UsageError where a name is not valid Unicode."""
    try:
        return job_pb2.JobSpec(
            name=spec.name,
            plugin=plugin_to_proto(spec.plugin) if spec.session is None else None,
            inputs=[job_pb2.Input(**msgspec.structs.asdict(given)) for given in spec.inputs],
            output_uri=spec.output_uri,
            versions=versions_to_proto(spec.versions),
            calls=spec.session is not None,
            retries=spec.session.retries if spec.session else 0,
            keep=spec.session is not None and spec.session.keep,
            **_options_to_proto(spec),
        )
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{printable(error.object, 200)!r} is not valid Unicode, and cannot be part of a job. "
            "Rename it."
        ) from None
    except ValueError as error:
        raise UsageError(f"A number of the job is out of bounds: {error}.") from None


def job_spec_from_proto(message: job_pb2.JobSpec) -> JobSpec:
    """Return the checked specification; raise UsageError with what is wrong with it."""
    if message.ByteSize() > MAX_SPEC_BYTES:
        raise UsageError(
            f"The job's description takes {message.ByteSize():,} bytes, and {MAX_SPEC_BYTES:,} is "
            "the limit. Give folders or patterns in place of single files."
        )
    session = session_from_proto(message)
    return JobSpec(
        name=check_name(message.name, "the job's name"),
        plugin=plugin_from_proto(message.plugin) if session is None else NO_PLUGIN,
        inputs=_inputs_from_proto(message) if session is None else (),
        output_uri=_output_from_proto(message) if session is None else "",
        versions=versions_from_proto(message.versions),
        session=session,
        **{o.draft_field: option_from_proto(o, message) for o in job_options.draft_options()},
    )


def _output_from_proto(message: job_pb2.JobSpec) -> str:
    """Return the folder of the output; empty where the tasks leave results for the caller."""
    return check_folder_uri(message.output_uri, "the output") if message.output_uri else ""


def _options_to_proto(spec: JobSpec) -> dict[str, Any]:
    """Return the fields of the message that are options."""
    return option_fields(
        (option, getattr(spec, option.draft_field)) for option in job_options.draft_options()
    )


def option_fields(values: Iterable[tuple[Option, Any]]) -> dict[str, Any]:
    """Return the fields of the message for options; a default that is None is left out."""
    fields: dict[str, Any] = {}
    for option, value in values:
        match option.kind:
            case Choice(members):
                fields[option.proto_field] = _CHOICES[members].to_proto[value]
            case Flag(sets):
                fields[option.proto_field] = value == sets
            case ColumnTypes():
                fields[option.proto_field] = _columns_to_proto(value)
            case Needs():
                fields[option.proto_field] = resources_to_proto(value)
            case Share(_, share_field) if isinstance(value, str):
                fields[share_field] = value
            case _ if value is not None:
                fields[option.proto_field] = value
    return fields


def option_from_proto(option: Option, message: job_pb2.JobSpec) -> Any:
    """Return the checked value of an option; a field that was not set has the default."""
    value = getattr(message, option.proto_field)
    match option.kind:
        case Choice(members):
            return _CHOICES[members].from_proto(value)
        case Named(table) if value:
            check_named(table, value, option.noun)
            return value
        case Flag(sets):
            return sets if value else not sets
        case Params():
            return _params_from_proto(value)
        case Share(_, share_field) if share := getattr(message, share_field):
            option_rules.check(option.kind, share, option.noun)
            return option_rules.parse(option.kind, share)
        case Folder():
            return check_folder_uri(value, option.noun) if value else option.default
        case ColumnNames():
            names = tuple(value)
            option_rules.check(option.kind, names, option.noun)
            return names
        case ColumnTypes():
            return _columns_from_proto(value, option.noun)
        case Needs():
            return resources_from_proto(value)
        case Jobs():
            ids = tuple(dict.fromkeys(value))
            option_rules.check(option.kind, ids, option.noun)
            return ids
        case _ if value:
            option_rules.check(option.kind, value, option.noun)
            return value
        case _:
            return option.default


def _inputs_from_proto(message: job_pb2.JobSpec) -> tuple[Input, ...]:
    if not message.inputs:
        raise UsageError("The job has no input. Give at least one.")
    check_count(len(message.inputs), "the number of inputs", MAX_INPUTS)
    for one in message.inputs:
        check_uri(one.uri, "an input")
        check_uri(one.base_uri, "the base of an input")
        text_within(one.base_given, "an input as given", MAX_URI)
        if one.HasField("group") and one.group >= len(message.plugin.groups):
            raise UsageError(
                f"The input {printable(one.base_given, 200)!r} is in group {one.group:,}, and the "
                f"plugin has {len(message.plugin.groups):,} groups. Count groups from 0."
            )
    return tuple(
        Input(one.uri, one.base_uri, one.base_given, one.group if one.HasField("group") else None)
        for one in message.inputs
    )


def _params_from_proto(params: Mapping[str, str]) -> dict[str, str]:
    check_count(len(params), "the number of params", MAX_PARAMS)
    for name, value in params.items():
        text_within(name, "the name of a param", MAX_NAME, required=True)
        text_within(value, f"the param {name}", MAX_PARAM_CHARS)
    return dict(params)


def plugin_to_proto(plugin: Plugin) -> plugin_pb2.Plugin:
    """Return the message."""
    steps = [plugin_pb2.Step(**msgspec.structs.asdict(step)) for step in plugin.steps]
    groups = [
        plugin_pb2.InputGroup(
            pattern=group.pattern,
            has_map=group.has_map,
            input_format=group.input_format,
            columns=_columns_to_proto(group.columns),
        )
        for group in plugin.groups
    ]
    return plugin_pb2.Plugin(
        sha256=plugin.sha256,
        name=plugin.name,
        steps=steps,
        groups=groups,
        stages=map(stage_to_proto, plugin.stages),
    )


def plugin_from_proto(message: plugin_pb2.Plugin) -> Plugin:
    """Return the plugin; raise UsageError with what is wrong with it."""
    check_sha256(message.sha256, "the plugin")
    if not message.steps:
        raise UsageError("The plugin has no step. Give at least one.")
    check_count(len(message.steps), "the number of steps", MAX_STEPS)
    return Plugin(
        sha256=message.sha256,
        name=check_name(message.name, "the plugin's name"),
        steps=tuple(
            StepFlags(
                has_map=step.has_map,
                has_reduce=step.has_reduce,
                has_combine=step.has_combine,
                has_partition=step.has_partition,
                has_sort_key=step.has_sort_key,
            )
            for step in message.steps
        ),
        groups=_groups_from_proto(message),
        stages=stages_from_proto(message),
    )


def resources_to_proto(resources: Resources) -> job_pb2.Resources | None:
    """Return the message; None where any worker will do."""
    if resources == ANY_WORKER:
        return None
    return job_pb2.Resources(
        cpus=resources.cpus, memory_bytes=resources.memory_bytes, labels=resources.labels
    )


def resources_from_proto(message: job_pb2.Resources) -> Resources:
    """Return the resources; raise UsageError for numbers and labels that cannot be."""
    return Resources(
        cpus=number_within(message.cpus, "the number of CPUs", 0.0, MAX_CPUS),
        memory_bytes=message.memory_bytes,
        labels=labels_from_proto(message.labels),
    )


def labels_from_proto(labels: Collection[str]) -> tuple[str, ...]:
    """Return labels, sorted; raise UsageError for one that cannot be, or too many."""
    check_count(len(labels), "the number of labels", MAX_LABELS)
    return tuple(sorted({check_label(label) for label in labels}))


def session_from_proto(message: job_pb2.JobSpec) -> Session | None:
    """Return the options of a session; None for a job of another kind."""
    if not message.calls:
        return None
    check_count(message.retries, "the number of retries", MAX_RETRIES)
    return Session(retries=message.retries, keep=message.keep)


def _groups_from_proto(message: plugin_pb2.Plugin) -> tuple[InputGroup, ...]:
    check_count(len(message.groups), "the number of input groups", MAX_GROUPS)
    for group in message.groups:
        text_within(group.pattern, "the pattern of an input group", MAX_URI)
        if group.input_format:
            check_named(INPUT_FORMATS, group.input_format, "the format of an input group")
    return tuple(
        InputGroup(
            one.pattern,
            one.has_map,
            one.input_format,
            _columns_from_proto(one.columns, "the columns of an input group"),
        )
        for one in message.groups
    )


def _columns_to_proto(columns: Columns) -> list[plugin_pb2.Column]:
    return [plugin_pb2.Column(name=name, type=kind) for name, kind in columns]


def _columns_from_proto(message: Iterable[plugin_pb2.Column], noun: str) -> Columns:
    columns = tuple((column.name, column.type) for column in message)
    option_rules.check_columns(columns, noun)
    return columns


def versions_to_proto(versions: Versions) -> job_pb2.Versions:
    """Return the message."""
    return job_pb2.Versions(**msgspec.structs.asdict(versions))


def versions_from_proto(message: job_pb2.Versions) -> Versions:
    """Return the versions, each at most 100 characters."""
    return Versions(
        python=text_within(message.python, "the version of Python", 100),
        mrcore=text_within(message.mrcore, "the version of mrcore", 100),
        pyarrow=text_within(message.pyarrow, "the version of pyarrow", 100),
        cloudpickle=text_within(message.cloudpickle, "the version of cloudpickle", 100),
    )


def failure_to_proto(failure: TaskFailure) -> failure_pb2.Failure:
    """Return the message; texts are cut to their bounds and made valid Unicode."""
    message = failure_pb2.Failure(
        kind=FAILURE_KINDS.to_proto[failure.kind],
        message=printable(failure.message, MAX_MESSAGE),
        traceback=printable(failure.traceback, MAX_TRACEBACK),
        lost_runs=[failure_pb2.TaskRef(stage=r.stage, index=r.index) for r in failure.lost_runs],
        died=failure.died,
        skippable=failure.skippable,
        fingerprint=failure.fingerprint,
        exception=bytes_within(failure.exception),
        printed=failure.printed[-MAX_PRINTED_BYTES:],
    )
    if failure.mark is not None:
        message.mark.CopyFrom(mark_to_proto(failure.mark))
    return message


def failure_from_proto(message: failure_pb2.Failure) -> TaskFailure:
    """Return the failure; texts and lists are cut to their bounds."""
    return TaskFailure(
        kind=FAILURE_KINDS.from_proto(message.kind),
        message=printable(message.message, MAX_MESSAGE),
        traceback=printable(message.traceback, MAX_TRACEBACK),
        lost_runs=tuple(TaskRef(r.stage, r.index) for r in message.lost_runs[:MAX_LOST_RUNS]),
        died=message.died,
        skippable=message.skippable,
        fingerprint=printable(message.fingerprint, MAX_FINGERPRINT),
        mark=mark_from_proto(message.mark) if message.HasField("mark") else None,
        exception=bytes_within(message.exception),
        printed=message.printed[-MAX_PRINTED_BYTES:],
    )


def mark_to_proto(mark: Mark) -> failure_pb2.Mark:
    """Return the message."""
    return failure_pb2.Mark(uri=mark.uri, offset=mark.offset)


def mark_from_proto(message: failure_pb2.Mark) -> Mark:
    """Return the mark; raise UsageError for an endless name."""
    return Mark(
        uri=text_within(message.uri, "the file of a record", MAX_OBJECT_URI), offset=message.offset
    )
