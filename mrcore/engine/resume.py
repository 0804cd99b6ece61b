"""Interrupted embedded runs: find the one that still holds an output, and judge whether it goes on.

A run whose processes were killed leaves its state, the claim on its output and all that its tasks
had finished. A master on that state continues. The same command does so by itself where code,
options and input are what they were; and a commit that has begun is finished in any case, since
nothing else brings the output out of its half-published state.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from mrcore.engine import history
from mrcore.errors import MrcoreError, StorageError
from mrcore.model import object_names
from mrcore.model.job import JobSpec, Plugin
from mrcore.model.snapshots import JobView
from mrcore.output.claim import check_place, may_finish, read_claim
from mrcore.output.receipt import is_torn
from mrcore.records.inputs import expand
from mrcore.storage.registry import storage_for
from mrcore.tasks import plan


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that was killed before its job had ended."""

    path: Path
    """The run's folder."""
    job: JobView
    """The job as last recorded."""
    spec: JobSpec | None
    is_same: bool
    """The job is the one asked for now, and its input has not changed."""
    is_torn: bool
    """The job has published a part of its output."""


def find_interrupted(spec: JobSpec) -> Interrupted | None:
    """Return the run of this user that was killed and still holds the output of `spec`.

    Raises OutputError where no run can hold it, such as a whole file system.
    """
    check_place(spec.output_uri)
    try:
        return _find(spec)
    except StorageError:
        return None  # what cannot be read is reported by whoever needs it


def _find(spec: JobSpec) -> Interrupted | None:
    if spec.output_uri.startswith("file://") and read_claim(spec.output_uri) is None:
        return None  # the ordinary case, without a look at every run
    for record in history.past_runs():
        if record.job.output_uri != spec.output_uri:
            continue
        if record.job.state.final:
            return None  # the output was free by then, so no earlier run holds it
        held = read_claim(spec.output_uri)
        if held is None or held.job_id != record.job.job_id or held.state_uri != record.state_uri:
            continue
        if not may_finish(held):
            return None
        return Interrupted(
            path=Path(record.state_uri.removeprefix("file://")).parent,
            job=record.job,
            spec=record.spec,
            is_same=_is_same(record, spec),
            is_torn=is_torn(spec.output_uri, record.job.job_id),
        )
    return None


def _is_same(record: history.RunRecord, spec: JobSpec) -> bool:
    former = record.spec
    if former is None or _comparable(former, spec.overwrite) != _comparable(spec, spec.overwrite):
        return False
    if former.overwrite and not spec.overwrite:
        return False  # what the former command was allowed to replace, this one is not
    try:
        return _input_then(record) == _input_now(former)
    except MrcoreError:
        return False  # the plan is gone, or an input: the job is planned anew, or refused


def _comparable(spec: JobSpec, overwrite: bool) -> JobSpec:
    """Return the spec without what loading the plugin tells, which is known later."""
    plugin = Plugin(sha256=spec.plugin.sha256, name=spec.plugin.name, has_reduce=True)
    return msgspec.structs.replace(spec, plugin=plugin, overwrite=overwrite)


def _input_then(record: history.RunRecord) -> set[tuple[str, str]]:
    uri = object_names.plan_uri(record.state_uri, record.job.job_id)
    planned = plan.decode(storage_for(uri).read(uri))
    return {(piece.uri, piece.generation) for split in planned.splits for piece in split.pieces}


def _input_now(spec: JobSpec) -> set[tuple[str, str]]:
    # Empty files are in no split.
    listed = expand(spec.inputs, spec.output_uri)
    return {(file.uri, file.generation) for file in listed if file.size_bytes}
