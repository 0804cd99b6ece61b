"""Requests for jobs, the same from the API and the command line, and the way to a `JobSpec`.

A request becomes a draft (`prepare`), and a draft becomes a specification when its plugin has been
loaded (`Draft.with_plugin`). `prepare` makes every check that needs neither a daemon nor the user's
code, so that bad input ends with a sentence before a daemon is started or anything is written.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mrcore.client.stated import with_stated
from mrcore.client.versions import versions
from mrcore.errors import (
    OutputError,
    PluginError,
    StorageError,
    UsageError,
)
from mrcore.model import job_options, option_rules
from mrcore.model.formats import may_have_text_columns
from mrcore.model.job import Input, JobDraft, JobSpec, Plugin, complete
from mrcore.model.option_kinds import Folder
from mrcore.model.stages import Stage, stages_of
from mrcore.plugin.functions import STEP_FUNCTIONS
from mrcore.storage.places import Reach
from mrcore.storage.registry import (
    absolute_uri,
    check_scheme,
    form_problem,
    reach_of,
    shown,
    storage_for,
    without_last_slash,
)
from mrcore.util.host import MIN_SLOT_BYTES, check_slots

if TYPE_CHECKING:
    from mrcore.plugin.bundle import Bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Functions:
    """A plugin given as Python callables: lambdas and closures travel through cloudpickle."""

    given: Mapping[str, object]
    """Callables by the names that `mrcore.plugin.functions` lists."""
    name: str = "session"
    stages: tuple[Stage, ...] = ()
    """Stages of the job, where they do not follow from the steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job as a person asks for it: paths relative to `cwd`, nothing checked yet."""

    plugin: str | Functions
    inputs: tuple[str, ...]
    output: str | None
    """The folder of the output; None where the tasks of the last stage leave results."""
    cwd: Path
    groups: tuple[int, ...] = ()
    """Number of the input group of each input; empty where the names of files decide."""
    input_names: tuple[str, ...] = ()
    """Name of each input in messages, empty for the input as given; none where all are."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Values that were given, by name of the option in `mrcore.model.job_options`.

    Other options have the value that the plugin states, or their default.
    """


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that can be submitted."""

    spec: JobSpec
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that can be submitted once its plugin has been loaded."""

    job: JobDraft
    bundle: Bundle
    given: frozenset[str] = frozenset()
    """Names of the options that the request gives: the plugin cannot change them."""
    stages: tuple[Stage, ...] = ()
    """Stages that the request states."""

    def with_plugin(self, plugin: Plugin) -> Prepared:
        """Return the job with what loading the plugin has shown.

        Raises PluginError where options and functions exclude each other, and for options that the
        plugin states and that cannot be.
        """
        job = with_stated(self.job, self.given, plugin)
        _check_order(map_only=job.map_only, total_order=job.total_order)
        option_rules.check_cut(job.map_tasks, job.records_per_task)
        plugin = msgspec.structs.replace(plugin, stages=self.stages)
        last = plugin.steps[-1]  # only its run is cut in total order
        for name, role in STEP_FUNCTIONS.items():
            option = role.rival_option
            if option and getattr(last, f"has_{name}") and getattr(job, option):
                raise PluginError(
                    f"The plugin {plugin.name} has a function {name}, and {role.reason}. Leave out "
                    "one of the two."
                )
        spec = complete(job, plugin)
        _check_input_columns(spec)
        if spec.map_only and spec.reduces and len(stages_of(spec)) == 1:
            raise UsageError(
                "--map-only has no reduce tasks and writes a part for each map task, so -r has no "
                "meaning. Drop one of them."
            )
        return Prepared(spec, self.bundle)


def _check_order(*, map_only: bool, total_order: bool) -> None:
    """Raise UsageError for options that exclude each other."""
    if map_only and total_order:
        raise UsageError(
            "--map-only writes pairs unsorted, so --total-order cannot hold. Drop one of them."
        )


def _check_input_columns(spec: JobSpec) -> None:
    """Raise UsageError for types of columns that no input can have."""
    groups = range(max(1, len(spec.plugin.groups)))
    formats = {spec.input_format_of(group) for group in groups if spec.input_columns_of(group)}
    if formats and not any(map(may_have_text_columns, formats)):
        raise UsageError(
            f"Types of input columns are for csv and tsv, and the input is {formats.pop()}. Name "
            "another --input-format, or leave out --input-column."
        )


def prepare(request: JobRequest, *, look: bool = True, alone: bool = False) -> Draft:
    """Bundle the plugin, make the draft and, with `look`, check inputs and output on files.

    `alone` means that one process runs it all, and so may keep data in its memory (`mem://`).
    Raises UsageError and its children. Object stores are left to whoever runs the job: the
    caller of a remote cluster need not be able to read its buckets.
    """
    _check_combination(request)
    output_uri = "" if request.output is None else folder_uri(request.output, request.cwd)
    inputs = _inputs(request)
    bundle = _bundle(request)
    draft = JobDraft(
        name=_job_name(request.plugin),
        inputs=inputs,
        output_uri=output_uri,
        versions=versions(),
        **_draft_fields(request),
    )
    option_rules.check_cut(draft.map_tasks, draft.records_per_task)
    if not alone:
        _check_shared(draft)
    if look:
        with before_tasks():
            look_at_files(draft)
    stages = () if isinstance(request.plugin, str) else request.plugin.stages
    return Draft(draft, bundle, frozenset(request.options), stages)


def check_engine(request: JobRequest, engine: str) -> None:
    """Raise UsageError for an option that makes sense on a cluster that is up only."""
    for option in job_options.JOB_OPTIONS:
        if (
            option.cluster_only
            and request.options.get(option.name, option.default) != option.default
        ):
            raise UsageError(
                f"{option.shown_flag} {option.cluster_only}, and the {engine} engine has none. "
                "Name a cluster with --master or --state."
            )


def _draft_fields(request: JobRequest) -> dict[str, Any]:
    """Return the fields of the draft that are options."""
    fields: dict[str, Any] = {}
    for option in job_options.draft_options():
        if option.name in request.options:
            value = request.options[option.name]
            if isinstance(option.kind, Folder):
                value = folder_uri(value, request.cwd)
            fields[option.draft_field] = value
    return fields


def look_at_files(spec: JobDraft) -> None:
    """Raise UsageError for what is wrong with local inputs, output and temporaries."""
    from mrcore.output.commit import check_output
    from mrcore.records.inputs import expand

    if spec.output_uri and is_local(spec.output_uri):
        check_output(spec)
    for name, uri in (("-o", spec.output_uri), ("--temp", spec.temp_uri)):
        if uri and is_local(uri):
            _check_writable(name, uri)
    local = [given for given in spec.inputs if is_local(given.uri)]
    if local:
        expand(local, spec.input_format, skip_output=spec.output_uri or None)


def _check_shared(spec: JobDraft) -> None:
    """Raise UsageError for a place in memory, which each process has for itself."""
    places = [("input", given.uri) for given in spec.inputs]
    places += [("output", spec.output_uri), ("--temp", spec.temp_uri or "")]
    for name, uri in places:
        if uri and reach_of(uri) is Reach.PROCESS:
            raise UsageError(
                f"The {name} {uri} would lie in the memory of each process by itself, which the "
                "master and the workers do not share. Name a folder or a bucket."
            )


def _check_writable(option: str, folder_uri: str) -> None:
    """Raise OutputError unless something can be written there."""
    try:
        storage_for(folder_uri).check_writable(folder_uri)
    except StorageError as error:
        raise OutputError(f"{option} {error}") from None


@contextlib.contextmanager
def before_tasks() -> Iterator[None]:
    """Turn what a store refuses before any task has run into a UsageError: it is bad input."""
    try:
        yield
    except StorageError as error:
        if error.retryable:
            raise
        raise UsageError(str(error)) from error


def load_plugin(draft: Draft) -> Prepared:
    """Load the plugin once, in a child process; raise PluginError with the user's traceback."""
    from mrcore.plugin.precheck import check_in_child

    return draft.with_plugin(check_in_child(draft.bundle))


def is_local(uri: str) -> bool:
    """Return whether a URI names a file of this machine."""
    return reach_of(uri) is Reach.MACHINE


def local_places(spec: JobDraft) -> list[str]:
    """Return the local paths that a job on other machines would have to see."""
    uris = [*(given.uri for given in spec.inputs), spec.output_uri, spec.temp_uri or ""]
    return [shown(uri) for uri in uris if uri and is_local(uri)]


def _check_combination(request: JobRequest) -> None:
    if not request.inputs:
        raise UsageError("A job needs at least one input: a file, a folder, a glob or a prefix.")
    if request.output == "":
        raise UsageError("A job needs an output folder. Give -o OUT.")
    for option in job_options.JOB_OPTIONS:
        if option.name in request.options:
            option_rules.check(option.kind, request.options[option.name], option.shown_flag)
    _check_order(
        map_only=request.options.get("map_only", False),
        total_order=request.options.get("total_order", False),
    )
    check_slots(1, request.options.get("memory") or MIN_SLOT_BYTES)


_UNNAMEABLE = {"Cc": "a control character", "Cs": "a character that is not Unicode"}


def folder_uri(text: str, cwd: Path) -> str:
    """Return the URI of a folder that was typed, without a slash at its end."""
    uri = absolute_uri(text, str(cwd))
    check_scheme(uri)
    _check_name(uri)
    return without_last_slash(uri)


def _check_name(uri: str) -> None:
    """Raise UsageError for a place that no job can name."""
    for character in uri:
        kind = _UNNAMEABLE.get(unicodedata.category(character))
        if kind is not None:
            raise UsageError(f"{uri!a} has {kind} in its name. Rename it, or name its folder.")
    form = form_problem(uri)
    if form is not None:
        raise UsageError(f"{uri} does not name a bucket. Write {form}.")


def _job_name(plugin: str | Functions) -> str:
    """Return a short name: `wc` for `jobs/wc.py`, `wc-Job` for `jobs.wc:Job`."""
    if not isinstance(plugin, str):
        return plugin.name
    place, _, attribute = plugin.partition(":")
    stem = place.removesuffix(".py").replace("/", ".").rpartition(".")[2]
    return f"{stem}-{attribute}" if attribute else stem or "job"


def _inputs(request: JobRequest) -> tuple[Input, ...]:
    from mrcore.records.inputs import parse_input

    inputs = tuple(parse_input(text, str(request.cwd)) for text in request.inputs)
    for given in inputs:
        check_scheme(given.uri)
        _check_name(given.uri)
    if request.input_names:
        names = zip(inputs, request.input_names, strict=True)
        inputs = tuple(
            msgspec.structs.replace(given, base_given=name) if name else given
            for given, name in names
        )
    if not request.groups:
        return inputs
    pairs = zip(inputs, request.groups, strict=True)
    return tuple(msgspec.structs.replace(given, group=group) for given, group in pairs)


def _bundle(request: JobRequest) -> Bundle:
    from mrcore.plugin import bundle

    files = request.options.get("files", ())
    try:
        if isinstance(request.plugin, str):
            return bundle.build_bundle(request.plugin, files, request.cwd)
        return bundle.build_bundle_from_functions(
            request.plugin.given, files, request.cwd, request.plugin.name
        )
    except PermissionError as error:
        raise UsageError(
            f"{error.filename} cannot be read (permission denied). Check the permissions of the "
            "file and its folder."
        ) from None
