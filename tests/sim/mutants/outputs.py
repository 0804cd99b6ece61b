"""Mutants of claims, of the publication of an output, and of results that callers read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mrcore.errors import NotFoundError, OutputError
from mrcore.master.core import cluster, durable, ended, reports
from mrcore.master.core.cluster import Cluster
from mrcore.master.core.limits import Limits
from mrcore.master.core.records import JobRecord
from mrcore.master.shell.claimants import has_ended
from mrcore.model import object_names
from mrcore.model.task import TaskOutput
from mrcore.output import claim, commit
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for
from tests.sim.mutants.mutant import Mutant
from tests.sim.world import submitting
from tests.sim.world.submitting import Submitting

_Committer = commit._Committer


def _keeps_claim(output_uri: str, generation: str) -> bool:
    """Leave the claim of a job that has ended where it is."""
    return True


def _delete_any_claim(output_uri: str, generation: str) -> bool:
    """Release the claim of whoever has it now."""
    uri = object_names.claim_uri(output_uri)
    return storage_for(uri).delete(uri)


def _has_ended_in_memory(
    live: Cluster, job_id: str, wait_flushed: object, is_fenced: Callable[[], bool]
) -> bool:
    """Take a claim over as soon as the machine knows that its job has ended."""
    return has_ended(live, job_id, lambda: None, is_fenced)


class ReceiptFirst(_Committer):
    """Publishes the receipt before the parts."""

    def run(self, parts: Sequence[TaskOutput | None]) -> None:
        """Publish the receipt, and then the rest."""
        success_uri = object_names.success_uri(self._spec.output_uri)
        if success_uri not in self._replaced:
            self._publish_one(self._staged[success_uri], success_uri, "", durable=True)
        super().run(parts)


class ListForgotten(_Committer):
    """Does not show that a commit is in progress."""

    def _publish_names(self, commit_uri: str, names: ObjectInfo) -> ObjectInfo | None:
        return None


class OldPartsStay(_Committer):
    """Leaves parts of the former job there that it does not replace."""

    def _delete(self, item: tuple[str, str]) -> None:
        if "/part-" not in item[0]:
            super()._delete(item)


class StopsAtItsOwn(_Committer):
    """Takes a part that an interrupted commit has published for a stranger's."""

    def _publish(self, item: tuple[str, ObjectInfo], *, durable: bool = True) -> ObjectInfo:
        destination, _ = item
        if destination not in self._replaced:
            try:
                self._storage.stat(destination)
            except NotFoundError:
                pass
            else:
                raise OutputError(f"{destination} was written by somebody else.")
        return super()._publish(item, durable=durable)


class OnePartTwice(_Committer):
    """Publishes the first part under every name."""

    def _part_sources(self, parts: Sequence[TaskOutput | None]) -> dict[str, ObjectInfo]:
        sources = super()._part_sources(parts)
        first = next(iter(sources.values()), None)
        return dict.fromkeys(sources, first) if first is not None else {}


_prepare = commit.prepare


def _prepare_unverified(spec: Any, job_id: str, files: Any, *given: Any, **named: Any) -> Any:
    """Begin a commit without a look at the staged parts."""
    return _prepare(spec, job_id, (), *given, **named)


_lighten: Callable[[JobRecord, Limits], None] = ended.lighten


def _forget_results(job: JobRecord, limits: Limits) -> None:
    """Forget the results of a job that has ended, before anybody has read them."""
    _lighten(job, limits)
    for stage in job.stages:
        for task in stage.tasks:
            if task.output is not None:
                task.output = msgspec.structs.replace(task.output, result=b"")


def _order_backwards(job: JobRecord) -> tuple[TaskOutput, ...]:
    """Return the results of the last task first."""
    return tuple(reversed(_results.__get__(job)))


_results: property = vars(JobRecord)["results"]


def _patched(name: str, target: Any, attribute: str, value: Any) -> Mutant:
    return Mutant(name, patches=((target, attribute, value),))


CLAIMS = (
    _patched("ClaimsIgnored", claim, "is_free", lambda held, has_ended=None: True),
    _patched("ClaimsKept", commit, "release_claim", _keeps_claim),
    _patched("AnyClaimReleased", commit, "release_claim", _delete_any_claim),
    _patched("LiveJobsHaveEnded", Submitting, "_has_ended", lambda *given: True),
    _patched("UnjournaledEndsCount", submitting, "has_ended", _has_ended_in_memory),
)
PUBLICATIONS = (
    *(
        _patched(mutant.__name__, commit, "_Committer", mutant)
        for mutant in (
            ReceiptFirst,
            ListForgotten,
            OldPartsStay,
            StopsAtItsOwn,
            OnePartTwice,
        )
    ),
    _patched("PreparesUnverified", commit, "prepare", _prepare_unverified),
)
RESULTS = (
    _patched("ResultsForgotten", durable, "lighten", _forget_results),
    _patched("ResultsBackwards", JobRecord, "results", property(_order_backwards)),
)
LATE_WRITERS = (
    Mutant(
        "LateWritersForgotten",
        patches=tuple(
            (module, "clean_up_after", lambda cluster, before, now: None)
            for module in (cluster, reports)
        ),
    ),
)
OUTPUTS = (*CLAIMS, *PUBLICATIONS, *RESULTS, *LATE_WRITERS)
