"""Atomic and idempotent commit of a job's output.

    check_output, claim        at submit (`mrcore.output.claim`)
    prepare                    all tasks have winners: stage the receipt, list what goes away;
                               its answer is journaled
    publish_job                publish the list of names, delete the old receipt, publish the parts,
                               delete old parts, publish the receipt, delete the list
    clean_up, release_claim    once the end of the job is journaled

Every publication is made from an object staged under `OUT/_tmp/<job>`, of a generation that the
journal names, and names the generation that it replaces; every deletion names the generation that
`prepare` has seen. So any two committers, now or later, may run any prefix of these steps: the
second one finds the step done and goes on, and one that comes after the end finds its sources gone
and stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import msgspec

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    OutputError,
    PreconditionFailedError,
)
from mrcore.model import object_names
from mrcore.model.commit_plan import CommitPlan, ObjectVersion, StagedObject
from mrcore.model.job import JobSpec
from mrcore.model.task import BadRecord, TaskOutput
from mrcore.output.claim import (
    Claim,
    HasEnded,
    check_contents,
    check_output,
    claim,
    force_release,
    holds_claim,
    read_claim,
    release_claim,
)
from mrcore.output.files import (
    PARALLEL,
    BadRecordsMissingError,
    OutputFile,
    StagedPartMissingError,
    output_files,
    with_rewritten,
)
from mrcore.output.receipt import (
    CommitList,
    Receipt,
    VerifyReport,
    has_receipt,
    make_receipt,
    read_commit,
    read_receipt,
    verify,
    visible_objects,
)
from mrcore.output.schemas import of_one_schema
from mrcore.storage.base import ABSENT, ObjectInfo, Storage
from mrcore.storage.places import Reach
from mrcore.storage.registry import storage_for

__all__ = [
    "BadRecordsMissingError",
    "Claim",
    "HasEnded",
    "OutputFile",
    "Receipt",
    "StagedPartMissingError",
    "VerifyReport",
    "check_output",
    "claim",
    "clean_up",
    "force_release",
    "holds_claim",
    "make_receipt",
    "of_one_schema",
    "output_files",
    "prepare",
    "publish_job",
    "read_claim",
    "read_receipt",
    "release_claim",
    "verify",
    "with_rewritten",
]

T = TypeVar("T")


def prepare(
    spec: JobSpec,
    job_id: str,
    files: Sequence[OutputFile],
    receipt: Receipt,
    *,
    rewritten: Mapping[int, TaskOutput] | None = None,
    bad_records: Mapping[str, Sequence[BadRecord] | ObjectInfo] | None = None,
    resumes: Sequence[str] = (),
) -> CommitPlan:
    """Stage the receipt and each task's bad records (by its name); return the plan to journal.

    Bad records that the task has stored are published as they are. Nothing else changes.
    `files` are those of the winners in order (`output_files`), `rewritten` what `of_one_schema` has
    staged in place of some of them. Parts of the jobs that this one `resumes` may be among them.
    Raises StagedPartMissingError when staged parts are not there, BadRecordsMissingError when
    stored lists are not, and OutputError when the output holds what this job may not replace.
    """
    rewritten = rewritten or {}
    output = spec.output_uri
    storage = storage_for(spec.output_uri)
    listed = {
        info.uri: info.generation
        for owner in (job_id, *resumes)
        for info in storage.list(object_names.staging_prefix(spec, owner))
    }
    missing = [
        file.task
        for file in with_rewritten(files, rewritten)
        if file.output.object is None
        or listed.get(file.output.object.uri) != file.output.object.generation
    ]
    if missing:
        raise StagedPartMissingError(list(dict.fromkeys(missing)))
    gone = [
        task
        for task, records in sorted((bad_records or {}).items())
        if isinstance(records, ObjectInfo) and listed.get(records.uri) != records.generation
    ]
    if gone:
        raise BadRecordsMissingError(gone)
    present = visible_objects(storage, output)
    check_contents(spec, present)
    names = {info.uri[len(output) + 1 :] for info in present}
    names.update(part.name for part in receipt.parts)
    success_uri, commit_uri = object_names.success_uri(output), object_names.commit_uri(output)
    for uri in (success_uri, commit_uri):
        # A listing by prefix, not a stat: the absence of these is the ordinary case.
        present += [info for info in storage.list(uri) if info.uri == uri]
    present += storage.list(object_names.bad_records_prefix(output))
    begun = msgspec.json.encode(CommitList(job_id=job_id, names=tuple(sorted(names))))
    staged = [
        _stage(spec, job_id, success_uri, receipt.encode()),
        _stage(spec, job_id, commit_uri, begun),
    ]
    for task, records in sorted((bad_records or {}).items()):
        destination = object_names.bad_records_uri(output, task)
        if isinstance(records, ObjectInfo):
            staged.append(StagedObject(_version(records), destination))
        elif records:
            content = msgspec.json.Encoder().encode_lines(records)
            staged.append(_stage(spec, job_id, destination, content))
    staged += [
        StagedObject(_version(part.object), f"{output}/{files[index].name}")
        for index, part in sorted(rewritten.items())
        if part.object is not None
    ]
    return CommitPlan(tuple(map(_version, present)), tuple(staged))


def _version(info: ObjectInfo) -> ObjectVersion:
    return ObjectVersion(info.uri, info.generation)


def _stage(spec: JobSpec, job_id: str, destination: str, content: bytes) -> StagedObject:
    """Create an object to publish from, named by its content too.

    So a former call can only have staged the same; what it staged otherwise is never published.
    """
    digest = hashlib.sha256(content).hexdigest()[:16]
    name = destination.removeprefix(f"{spec.output_uri}/").replace("/", "-")
    uri = object_names.staged_object_uri(spec, job_id, f"{name}-{digest}")
    storage = storage_for(uri)
    try:
        with storage.open_write(uri, expect=ABSENT, durable=True) as writer:
            writer.write(content)
            info = writer.commit()
    except AlreadyExistsError:
        info = storage.stat(uri)
    return StagedObject(_version(info), destination)


def publish_job(
    spec: JobSpec,
    job_id: str,
    parts: Sequence[TaskOutput | None],
    plan: CommitPlan,
    *,
    parallel: int = PARALLEL,
) -> None:
    """Publish the parts of a job, and its receipt last; may be called again after any failure.

    `plan` is what `prepare` returned when the commit began. Raises OutputError when the output
    no longer belongs to this job or somebody has written there, NotFoundError when what is staged
    is gone.
    """
    held = read_claim(spec.output_uri)
    if held is None or held.job_id != job_id:
        raise OutputError(
            f"The output {object_names.shown(spec.output_uri)} no longer belongs to job {job_id}: "
            "its claim was released, so run the job again."
        )
    _Committer(spec, job_id, plan, parallel).run(parts)


class _Committer:
    """One run through the steps of a commit. It publishes planned objects only."""

    def __init__(self, spec: JobSpec, job_id: str, plan: CommitPlan, parallel: int) -> None:
        self._spec = spec
        self._job_id = job_id
        self._parallel = parallel
        self._storage = storage_for(spec.output_uri)
        self._staged = {
            staged.destination: ObjectInfo(
                uri=staged.source.uri, size_bytes=0, generation=staged.source.generation
            )
            for staged in plan.staged
        }
        """Objects that `prepare` has staged, by their final names."""
        self._replaced = {old.uri: old.generation for old in plan.replaced}
        """Generations of what may be replaced or deleted, by name."""

    def run(self, parts: Sequence[TaskOutput | None]) -> None:
        success_uri = object_names.success_uri(self._spec.output_uri)
        commit_uri = object_names.commit_uri(self._spec.output_uri)
        receipt = self._staged.pop(success_uri)
        names = self._staged.pop(commit_uri)
        try:
            sources = self._part_sources(parts)
        except StagedPartMissingError:
            # Another committer of this job has got to the end, and has begun to clean up.
            if has_receipt(self._spec.output_uri, self._job_id):
                return
            raise
        # From here on the output is half old and half new, and whoever looks has to know.
        begun = self._publish_names(commit_uri, names)
        if success_uri in self._replaced:
            self._delete((success_uri, self._replaced[success_uri]))
        output = self._spec.output_uri
        folders = sorted({uri.rpartition("/")[0] for uri in sources})
        partitions = [folder for folder in folders if folder != output]
        if partitions:
            # All at once: a sync of the output for each of them takes half of the commit's time.
            self._storage.make_folders(partitions, below=output)
        # One after the other: a committer that comes too late stops at the first part.
        # Only what waits for a disk or a network gains from threads: a link takes microseconds.
        waits = self._storage.reach is Reach.EVERYWHERE or any(
            source.size_bytes for source in sources.values()
        )
        parallel = self._parallel if waits else 1
        _in_parallel(partial(self._publish, durable=False), sources.items(), parallel)
        _in_parallel(self._storage.sync, folders, self._parallel)
        _in_parallel(self._publish, self._staged.items(), self._parallel)
        kept = sources.keys() | self._staged.keys() | {commit_uri}
        old = [item for item in self._replaced.items() if item[0] not in kept]
        _in_parallel(self._delete, old, self._parallel)
        for folder in sorted({uri.rpartition("/")[0] for uri, _ in old}):
            if folder.startswith(f"{self._spec.output_uri}/"):
                self._storage.prune(folder, up_to=self._spec.output_uri)
        self._publish_one(receipt, success_uri, ABSENT, durable=True)
        if begun is not None:
            self._delete((commit_uri, begun.generation))

    def _publish_names(self, commit_uri: str, names: ObjectInfo) -> ObjectInfo | None:
        """Publish the list of names; return None where all of it has been published before."""
        try:
            return self._publish((commit_uri, names))
        except NotFoundError:
            # Another committer of this job has got to the end, and has begun to clean up.
            if has_receipt(self._spec.output_uri, self._job_id):
                return None
            raise

    def _part_sources(self, parts: Sequence[TaskOutput | None]) -> dict[str, ObjectInfo]:
        """Return what is to be published as what, by the name of the destination."""
        sources: dict[str, ObjectInfo] = {}
        for file in output_files(self._spec, parts):
            assert file.output.object is not None
            destination = f"{self._spec.output_uri}/{file.name}"
            sources[destination] = self._staged.pop(destination, file.output.object)
        return sources

    def _publish(self, item: tuple[str, ObjectInfo], *, durable: bool = True) -> ObjectInfo:
        destination, source = item
        expect = self._replaced.get(destination, ABSENT)
        return self._publish_one(source, destination, expect, durable=durable)

    def _publish_one(
        self, source: ObjectInfo, destination: str, expect: str, *, durable: bool
    ) -> ObjectInfo:
        def publish(expect: str) -> ObjectInfo:
            return self._storage.publish(
                source, destination, expect=expect, metadata=metadata, durable=durable
            )

        metadata = {"mrcore-job": self._job_id}
        try:
            try:
                return publish(expect)
            except PreconditionFailedError:
                # Whoever deleted the old object by hand wanted what happens now.
                return publish(ABSENT)
        except AlreadyExistsError as error:
            raise OutputError(
                f"{object_names.shown(destination)} was written by somebody else while this job "
                "was being committed. Move it away and run the job again."
            ) from error

    def _delete(self, item: tuple[str, str]) -> None:
        uri, generation = item
        self._storage.delete(uri, generation=generation)


def clean_up(spec: JobSpec, job_id: str, success: bool, resumes: Sequence[str] = ()) -> None:
    """Remove the job's temporaries once its end is journaled; may be repeated at any time.

    With a success go those of the jobs that it `resumes`.

    A job that failed or was cancelled keeps them, for those who want to resume or look.
    """
    if not spec.output_uri:
        if not success:
            return
        assert spec.temp_uri is not None
        runs = object_names.temp_prefix(spec, job_id)
        _remove_all(storage_for(runs), runs)
        storage_for(runs).prune(runs, up_to=spec.temp_uri, abandoned=True)
        return
    staging = object_names.staging_prefix(spec, job_id)
    runs = object_names.temp_prefix(spec, job_id)
    if success:
        for former in resumes:
            clean_up(spec, former, success)
        for prefix in dict.fromkeys((runs, staging)):
            _remove_all(storage_for(prefix), prefix)
        _remove_list(spec.output_uri, job_id)
    storage = storage_for(spec.output_uri)
    for folder in (staging, object_names.bad_records_prefix(spec.output_uri)):
        storage.prune(folder, up_to=spec.output_uri, abandoned=True)
    if spec.temp_uri is not None:
        storage_for(spec.temp_uri).prune(runs, up_to=spec.temp_uri, abandoned=True)


def _remove_list(output_uri: str, job_id: str) -> None:
    """Remove the list of a committer that came late, and died before it could."""
    uri = object_names.commit_uri(output_uri)
    storage = storage_for(uri)
    begun = read_commit(output_uri)
    if begun is not None and begun.job_id == job_id:
        with contextlib.suppress(NotFoundError):
            storage.delete(uri, generation=storage.stat(uri).generation)


def _remove_all(storage: Storage, prefix: str) -> None:
    objects = list(storage.list(prefix))
    if storage.reach is Reach.EVERYWHERE:
        _in_parallel(storage.delete_all, [(info,) for info in objects], PARALLEL)
    else:  # files are deleted under the lock of their folder: threads would only wait for it
        storage.delete_all(objects)


def _in_parallel(do: Callable[[T], object], items: Iterable[T], parallel: int) -> None:
    """Call `do` for each item, `parallel` at a time; the first error stops what has not begun."""
    todo = list(items)
    if parallel <= 1 or len(todo) <= 1:
        for item in todo:
            do(item)
        return
    remaining = iter(todo)  # whose next item goes to one thread
    failed = threading.Event()

    def work() -> None:
        try:
            for item in remaining:
                if failed.is_set():
                    return
                do(item)
        except BaseException:
            failed.set()
            raise

    threads = min(parallel, len(todo))
    with ThreadPoolExecutor(threads, thread_name_prefix="commit") as pool:
        futures = [pool.submit(work) for _ in range(threads)]
    for future in futures:
        future.result()
