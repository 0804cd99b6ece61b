"""Between the messages of `job.proto` and the values that the rest of the project uses.

`…_from_proto` is the border: what another process sent is checked there, once, against the bounds
below, and refused with a sentence (UsageError, INVALID_ARGUMENT on the wire). Structs whose fields
have the names of the message's are passed as they are. Messages about attempts are in
`mrcore.rpc.convert_task`.
"""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from mrcore.errors import UsageError
from mrcore.model.ids import is_job_id
from mrcore.model.job import (
    MAX_ATTEMPTS,
    MAX_BAD_RECORDS,
    MAX_REDUCES,
    MIN_LEASE_SECONDS,
    Input,
    JobSpec,
    Plugin,
    Versions,
)
from mrcore.model.task import Mark, TaskFailure
from mrcore.rpc.enums import COMPRESSIONS, FAILURE_KINDS, INPUT_FORMATS, OUTPUT_FORMATS
from mrcore.rpc.v1 import job_pb2
from mrcore.util.texts import one_line, printable

MAX_NAME: Final = 200
MAX_URI: Final = 4_096
MAX_OBJECT_URI: Final = 2 * MAX_URI
"""Of what lies in, or below, a place that was given."""
MAX_INPUTS: Final = 100_000
MAX_PARAMS: Final = 1_000
MAX_PARAM_CHARS: Final = 65_536
MAX_SPEC_BYTES: Final = 16 * 2**20
MAX_SECONDS: Final = 30 * 86_400.0
MAX_LEASE_SECONDS: Final = 3_600.0
MAX_MESSAGE: Final = 8_192
MAX_TRACEBACK: Final = 65_536
MAX_LOST_MAPS: Final = 10_000

_DEFAULTS: Final = JobSpec(
    name="x", plugin=Plugin("", "", has_reduce=True), inputs=(), output_uri="",
    versions=Versions("", "", "", ""),
)  # fmt: skip
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\x00-\x1f\x7f]+")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def job_spec_to_proto(spec: JobSpec) -> job_pb2.JobSpec:
    """Return the message; raise UsageError where a name is not valid Unicode."""
    try:
        return job_pb2.JobSpec(
            name=spec.name,
            plugin=_plugin_to_proto(spec.plugin),
            inputs=[
                job_pb2.Input(uri=i.uri, base_uri=i.base_uri, base_given=i.base_given)
                for i in spec.inputs
            ],
            input_format=INPUT_FORMATS.to_proto[spec.input_format],
            output_uri=spec.output_uri,
            output_format=OUTPUT_FORMATS.to_proto[spec.output_format],
            compression=COMPRESSIONS.to_proto[spec.compression],
            reduces=spec.reduces,
            map_only=spec.map_only,
            total_order=spec.total_order,
            no_combine=not spec.combine,
            params=spec.params,
            max_attempts=spec.max_attempts,
            task_timeout_seconds=spec.task_timeout_seconds or 0.0,
            lease_seconds=spec.lease_seconds,
            max_bad_records=spec.max_bad_records,
            memory_bytes=spec.memory_bytes,
            temp_uri=spec.temp_uri or "",
            overwrite=spec.overwrite,
            priority=spec.priority,
            versions=versions_to_proto(spec.versions),
        )
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{printable(error.object, 200)!r} is not valid Unicode, and cannot be part of a job: "
            "rename it."
        ) from None
    except ValueError as error:
        raise UsageError(f"A number of the job is out of bounds: {error}.") from None


def job_spec_from_proto(message: job_pb2.JobSpec) -> JobSpec:
    """Return the checked specification; raise UsageError with what is wrong with it."""
    if message.ByteSize() > MAX_SPEC_BYTES:
        raise UsageError(
            f"The job's description takes {message.ByteSize():,} bytes, and {MAX_SPEC_BYTES:,} is "
            "the limit: give folders or patterns in place of single files."
        )
    return JobSpec(
        name=_name(message.name, "the job's name"),
        plugin=_plugin_from_proto(message.plugin),
        inputs=_inputs_from_proto(message),
        input_format=INPUT_FORMATS.from_proto(message.input_format),
        output_uri=_folder_uri(message.output_uri, "the output"),
        output_format=OUTPUT_FORMATS.from_proto(message.output_format),
        compression=COMPRESSIONS.from_proto(message.compression),
        reduces=_number_within(message.reduces, "the number of reduce tasks", 0, MAX_REDUCES),
        map_only=message.map_only,
        total_order=message.total_order,
        combine=not message.no_combine,
        params=_params_from_proto(message),
        max_attempts=_number_within(
            message.max_attempts or _DEFAULTS.max_attempts,
            "the number of attempts",
            1,
            MAX_ATTEMPTS,
        ),
        task_timeout_seconds=seconds_within(
            message.task_timeout_seconds, "the task time limit", 0.0, MAX_SECONDS
        )
        or None,
        lease_seconds=seconds_within(
            message.lease_seconds or _DEFAULTS.lease_seconds,
            "the lease",
            MIN_LEASE_SECONDS,
            MAX_LEASE_SECONDS,
        ),
        max_bad_records=_number_within(
            message.max_bad_records, "the number of bad records", 0, MAX_BAD_RECORDS
        ),
        memory_bytes=message.memory_bytes,
        temp_uri=_folder_uri(message.temp_uri, "the temp folder") if message.temp_uri else None,
        overwrite=message.overwrite,
        priority=message.priority,
        versions=versions_from_proto(message.versions),
    )


def _inputs_from_proto(message: job_pb2.JobSpec) -> tuple[Input, ...]:
    if not message.inputs:
        raise UsageError("The job has no input: give at least one.")
    _number_within(len(message.inputs), "the number of inputs", 1, MAX_INPUTS)
    for one in message.inputs:
        check_uri(one.uri, "an input")
        check_uri(one.base_uri, "the base of an input")
        text_within(one.base_given, "an input as given", MAX_URI)
    return tuple(Input(one.uri, one.base_uri, one.base_given) for one in message.inputs)


def _params_from_proto(message: job_pb2.JobSpec) -> dict[str, str]:
    _number_within(len(message.params), "the number of params", 0, MAX_PARAMS)
    for name, value in message.params.items():
        text_within(name, "the name of a param", MAX_NAME, required=True)
        text_within(value, f"the param {name}", MAX_PARAM_CHARS)
    return dict(message.params)


def _plugin_to_proto(plugin: Plugin) -> job_pb2.Plugin:
    return job_pb2.Plugin(**msgspec.structs.asdict(plugin))


def _plugin_from_proto(message: job_pb2.Plugin) -> Plugin:
    if _SHA256.fullmatch(message.sha256) is None:
        raise UsageError("The plugin's SHA-256 must be 64 hexadecimal digits in lower case.")
    return Plugin(
        sha256=message.sha256,
        name=_name(message.name, "the plugin's name"),
        has_reduce=message.has_reduce,
        has_combine=message.has_combine,
        has_partition=message.has_partition,
        has_sort_key=message.has_sort_key,
    )


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


def failure_to_proto(failure: TaskFailure) -> job_pb2.Failure:
    """Return the message; texts are cut to their bounds and made valid Unicode."""
    message = job_pb2.Failure(
        kind=FAILURE_KINDS.to_proto[failure.kind],
        message=printable(failure.message, MAX_MESSAGE),
        traceback=printable(failure.traceback, MAX_TRACEBACK),
        lost_maps=failure.lost_maps,
        died=failure.died,
    )
    if failure.mark is not None:
        message.mark.CopyFrom(mark_to_proto(failure.mark))
    return message


def failure_from_proto(message: job_pb2.Failure) -> TaskFailure:
    """Return the failure; texts and lists are cut to their bounds."""
    return TaskFailure(
        kind=FAILURE_KINDS.from_proto(message.kind),
        message=printable(message.message, MAX_MESSAGE),
        traceback=printable(message.traceback, MAX_TRACEBACK),
        lost_maps=tuple(message.lost_maps[:MAX_LOST_MAPS]),
        died=message.died,
        mark=mark_from_proto(message.mark) if message.HasField("mark") else None,
    )


def mark_to_proto(mark: Mark) -> job_pb2.Mark:
    """Return the message."""
    return job_pb2.Mark(uri=mark.uri, offset=mark.offset)


def mark_from_proto(message: job_pb2.Mark) -> Mark:
    """Return the mark; raise UsageError for an endless name."""
    return Mark(
        uri=text_within(message.uri, "the file of a record", MAX_OBJECT_URI), offset=message.offset
    )


def check_job_id(text: str) -> str:
    """Return `text` if it may name a job, and so be part of an object name; raise UsageError."""
    if not is_job_id(text):
        raise UsageError(
            f"{printable(text, 80)!r} is not a job id: they are lower-case letters, digits and "
            "hyphens, as `mrcore jobs` shows them."
        )
    return text


def check_uri(uri: str, what: str) -> str:
    """Return `uri` if it is absolute, bounded and free of tricks; raise UsageError."""
    text_within(uri, f"the URI of {what}", MAX_URI, required=True)
    if _URI.fullmatch(uri) is None:
        raise UsageError(
            f"{printable(uri, 200)!r} is no URI for {what}: write SCHEME://… without control "
            "characters."
        )
    if uri.startswith("file://") != uri.partition("://")[2].startswith("/"):
        kind = "file:// and an absolute path" if uri.startswith("file://") else "SCHEME://BUCKET/…"
        raise UsageError(
            f"{printable(uri, 200)!r} names nothing that could be {what}: write {kind}."
        )
    if any(step in ("..", ".") for step in uri.partition("://")[2].split("/")):
        raise UsageError(f"{printable(uri, 200)!r}: write {what} without `.` and `..` steps.")
    return uri


def _folder_uri(uri: str, what: str) -> str:
    check_uri(uri, what)
    if uri.endswith("/") or "//" in uri.partition("://")[2]:
        raise UsageError(f"{printable(uri, 200)!r}: write {what} without empty steps.")
    return uri


def _name(text: str, what: str) -> str:
    if one_line(text_within(text, what, MAX_NAME, required=True)) != text:
        raise UsageError(f"{_capital(what)}, {text!a}, has a control character: leave it out.")
    return text


def text_within(text: str, what: str, limit: int, *, required: bool = False) -> str:
    """Return `text` if it is at most `limit` characters long; raise UsageError."""
    if len(text) > limit:
        raise UsageError(
            f"{_capital(what)} is {len(text):,} characters long, and {limit:,} is the limit."
        )
    if required and not text:
        raise UsageError(f"{_capital(what)} is missing.")
    return text


def _number_within(number: int, what: str, low: int, high: int) -> int:
    if not low <= number <= high:
        raise UsageError(f"{_capital(what)} is {number:,}; it must be from {low:,} to {high:,}.")
    return number


def seconds_within(seconds: float, what: str, low: float, high: float) -> float:
    """Return `seconds` if it is a number from `low` to `high`; raise UsageError."""
    if not math.isfinite(seconds) or not low <= seconds <= high:
        raise UsageError(
            f"{_capital(what)} is {seconds} seconds; it must be from {low:g} to {high:g}."
        )
    return seconds


def _capital(what: str) -> str:
    return what[:1].upper() + what[1:]
