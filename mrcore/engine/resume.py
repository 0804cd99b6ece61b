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

from mrcore.client.request import Draft
from mrcore.client.stated import with_stated
from mrcore.engine import history
from mrcore.errors import MrcoreError, StorageError
from mrcore.model import object_names
from mrcore.model.job import JobSpec, complete
from mrcore.model.snapshots import JobView
from mrcore.output.claim import check_place, may_finish, read_claim
from mrcore.output.receipt import is_torn
from mrcore.records.inputs import expand
from mrcore.storage.places import Reach
from mrcore.storage.registry import reach_of, storage_for
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


def find_interrupted(draft: Draft) -> Interrupted | None:
    """Return the run of this user that was killed and still holds the output of a job.

    Raises OutputError where no run can hold it, such as a whole file system.
    """
    if not draft.job.output_uri:
        return None
    check_place(draft.job.output_uri)
    try:
        return _find(draft)
    except StorageError:
        return None  # what cannot be read is reported by whoever needs it


def _find(draft: Draft) -> Interrupted | None:
    output_uri = draft.job.output_uri
    if reach_of(output_uri) is Reach.MACHINE and read_claim(output_uri) is None:
        return None  # the ordinary case, without a look at every run
    for record in history.past_runs():
        if record.job.output_uri != output_uri:
            continue
        if record.job.state.final:
            return None  # the output was free by then, so no earlier run holds it
        held = read_claim(output_uri)
        if held is None or held.job_id != record.job.job_id or held.state_uri != record.state_uri:
            continue
        if not may_finish(held):
            return None
        return Interrupted(
            path=history.folder_of(record),
            job=record.job,
            spec=record.spec,
            is_same=_is_same(record, draft),
            is_torn=is_torn(output_uri, record.job.job_id),
        )
    return None


def _is_same(record: history.RunRecord, draft: Draft) -> bool:
    former = record.spec
    if former is None or former.plugin.sha256 != draft.bundle.sha256:
        return False
    if former.overwrite and not draft.job.overwrite:
        return False  # what the former command was allowed to replace, this one is not
    # The command may have got --overwrite since, to be let into what it has published itself.
    overwrite = draft.job.overwrite
    asked = complete(with_stated(draft.job, draft.given, former.plugin), former.plugin)
    if asked != msgspec.structs.replace(former, overwrite=overwrite):
        return False
    try:
        return _input_then(record) == _input_now(former)
    except MrcoreError:
        return False  # the plan is gone, or an input: the job is planned anew, or refused


def _input_then(record: history.RunRecord) -> set[tuple[str, str]]:
    uri = object_names.plan_uri(record.state_uri, record.job.job_id)
    planned = plan.decode(storage_for(uri).read(uri))
    return {(piece.uri, piece.generation) for split in planned.splits for piece in split.pieces}


def _input_now(spec: JobSpec) -> set[tuple[str, str]]:
    # Empty files are in no split.
    listed = expand(
        spec.inputs, spec.input_format, groups=spec.plugin.groups, skip_output=spec.output_uri
    )
    return {(file.uri, file.generation) for file in listed if file.size_bytes}
