"""Claims on outputs: the rules of where an output may lie, and the claim that one job holds.

`OUT/_claim` is created by the submit of a job and deleted when the job has ended. It is free to be
taken over when the journal of its cluster has the end of the job, or when that cluster keeps its
state in files of this machine and no master holds their lock. Any other claim is somebody's until a
person frees it (`mrcore gc OUT --release`). Nothing is ever changed under a claim's protection
alone: every step of a commit names generations too. So if a claim is freed too early, no job
replaces or deletes what another has published since. But both may then fail, each with a sentence
that says so, and the output may hold parts of both.
"""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    OutputError,
    PreconditionFailedError,
    StorageError,
    UnavailableError,
    UsageError,
)
from mrcore.model import object_names
from mrcore.model.job import Input, JobDraft, JobSpec
from mrcore.output.receipt import read_commit, read_receipt, visible_objects
from mrcore.storage.base import ABSENT, ObjectInfo
from mrcore.storage.places import NameKind, Reach
from mrcore.storage.registry import reach_of, storage_for, uri_of_path
from mrcore.util.decoding import UNREADABLE

_TRIES: Final = 20

HasEnded = Callable[[str, str], bool]
"""Given the state's URI and a job's id: is it known for certain that this job has ended?"""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `_claim`."""

    job_id: str
    request_id: str
    state_uri: str
    leader: str
    """Address of the master that made it; for people."""
    host: str
    """Machine of that master: its file locks mean nothing on any other."""


def this_host() -> str:
    """Return a name of this machine that no other is likely to have."""
    return f"{socket.gethostname()}/{_machine_id()}"


@functools.cache
def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def check_output(spec: JobDraft) -> None:
    """Raise OutputError unless a job may write to this output; changes nothing.

    The output may not be a file, the root of a file system or bucket, the current folder or one
    above it, inside an input or around one; and it must be empty but for names that begin with `_`.
    With `overwrite` it may also hold what the receipt of a former job names, and nothing else.
    """
    _check_places(spec)
    check_contents(spec, visible_objects(storage_for(spec.output_uri), spec.output_uri))


def check_contents(spec: JobDraft, present: Collection[ObjectInfo]) -> None:
    """Raise OutputError if the output holds what this job may not replace."""
    if not present:
        return
    prefix = f"{spec.output_uri}/"
    names = [info.uri[len(prefix) :] for info in present]
    where = object_names.shown(spec.output_uri)
    if not spec.overwrite:
        raise OutputError(_not_empty(spec.output_uri, where, names[0]))
    named: set[str] = set()
    with contextlib.suppress(UsageError):
        named.update(part.name for part in read_receipt(spec.output_uri).parts)
    begun = read_commit(spec.output_uri)
    named.update(begun.names if begun is not None else ())
    foreign = next((name for name in names if name not in named), None)
    if foreign is not None:
        raise OutputError(
            f"The output {where} holds {foreign}, which no receipt there names, so --overwrite "
            "does not touch it. Move it away, or choose another output."
        )


def _not_empty(output_uri: str, where: str, name: str) -> str:
    begun = read_commit(output_uri)
    if begun is not None:
        held = read_claim(output_uri)
        finish = ""
        if held is not None and held.job_id == begun.job_id and may_finish(held):
            finish = (
                "run that job's own command again, or start a master on its state, "
                f"{object_names.shown(held.state_uri)}, to finish it; or "
            )
        return (
            f"The output {where} holds what job {begun.job_id} had published when its commit was "
            f"interrupted: {finish}choose another output, or add --overwrite to replace it."
        )
    return (
        f"The output {where} is not empty ({name} is there). Choose another one, delete it, or add "
        "--overwrite to replace what a former job has written there."
    )


def _check_places(spec: JobDraft) -> None:
    """Raise OutputError for what is wrong whatever the output holds."""
    check_place(spec.output_uri)
    _check_inputs(spec)
    _check_temp(spec)


def check_place(output_uri: str) -> None:
    """Raise OutputError for an output that is not a folder of its own."""
    where = object_names.shown(output_uri)
    storage = storage_for(output_uri)
    whole = storage.whole(output_uri)
    if whole is not None:
        raise OutputError(f"The output {where} is a whole {whole}. Name a folder in it.")
    place = storage.resolved(output_uri)
    try:
        here = uri_of_path(Path.cwd())
    except FileNotFoundError:  # somebody has deleted it
        here = ""
    if f"{here}/".startswith(f"{place}/"):
        raise OutputError(
            f"The output {where} is the current folder, or above it. Name a new folder, as in "
            "-o out."
        )
    if storage.kind(place) in (NameKind.OBJECT, NameKind.OTHER):
        raise OutputError(f"The output {where} is a file. Name a folder that is new or empty.")


def _check_inputs(spec: JobDraft) -> None:
    from mrcore.records.inputs import covers

    output = _resolved(spec.output_uri)
    for given in spec.inputs:
        base = _resolved(given.base_uri)
        rest = given.uri[len(given.base_uri) :]
        resolved = Input(uri=base + rest, base_uri=base, base_given=given.base_given)
        typed = given.base_given + rest  # wildcards are shown as they were typed
        around = f"{resolved.uri.rstrip('/')}/".startswith(f"{output}/")
        if around or covers(resolved, output):
            relation = "contains" if around else "lies inside"
            raise OutputError(
                f"The output {object_names.shown(spec.output_uri)} {relation} the input {typed}: a "
                "job would read what it writes, so choose another output."
            )
        if spec.temp_uri is not None and covers(resolved, _resolved(spec.temp_uri)):
            raise OutputError(
                f"--temp {object_names.shown(spec.temp_uri)} lies inside the input {typed}: a "
                "later job would read what this one leaves there, so choose another place."
            )


def _check_temp(spec: JobDraft) -> None:
    if spec.temp_uri is None:
        return
    output, temp = _resolved(spec.output_uri), _resolved(spec.temp_uri)
    inside = f"{temp}/".startswith(f"{output}/")
    if inside and not temp.removeprefix(output).startswith("/_"):
        raise OutputError(
            f"--temp {object_names.shown(spec.temp_uri)} lies in the output, which may hold "
            "nothing but the result. Name another place, or leave out --temp for OUT/_tmp."
        )


def _resolved(uri: str) -> str:
    return storage_for(uri).resolved(uri)


def claim(
    spec: JobSpec,
    job_id: str,
    request_id: str,
    state_uri: str,
    leader: str,
    *,
    has_ended: HasEnded | None = None,
) -> str:
    """Take the output for a job and check it (`check_output`); return the claim's generation.

    Repeating the call is safe: a claim of this job, or one made for the same request and state, is
    ours. Raises OutputError, and leaves nothing, when another job holds the output or it is not
    fit. `has_ended` answers for the jobs of this cluster.
    """
    _check_places(spec)
    mine = Claim(
        job_id=job_id,
        request_id=request_id,
        state_uri=state_uri,
        leader=leader,
        host=this_host(),
    )
    try:
        generation, is_new = _acquire(spec.output_uri, mine, has_ended)
    except StorageError:  # a full disk lets one make a folder, and nothing in it
        _remove_if_empty(spec.output_uri)
        raise
    if is_new:
        # Looked at under the claim, since another job may just have finished here.
        try:
            check_contents(spec, visible_objects(storage_for(spec.output_uri), spec.output_uri))
        except OutputError:
            release_claim(spec.output_uri, generation)
            raise
    return generation


def _acquire(output_uri: str, mine: Claim, has_ended: HasEnded | None) -> tuple[str, bool]:
    """Return the generation of the claim, and whether it was made by this call."""
    storage = storage_for(output_uri)
    uri = object_names.claim_uri(output_uri)
    for _ in range(_TRIES):
        expect = ABSENT
        try:
            info = storage.stat(uri)
            held = _decode(storage.read(uri, generation=info.generation))
        except NotFoundError:
            pass
        else:
            if held is not None and _same(held, mine) and held.job_id == mine.job_id:
                return info.generation, False
            if held is None or not (_same(held, mine) or is_free(held, has_ended)):
                raise _taken(output_uri, held)
            expect = info.generation
        try:
            with storage.open_write(uri, expect=expect, durable=True) as writer:
                writer.write(msgspec.json.encode(mine))
                return writer.commit().generation, True
        except (AlreadyExistsError, PreconditionFailedError):
            continue
    raise UnavailableError(f"{object_names.shown(uri)} changes all the time. Try again later.")


def _same(held: Claim, mine: Claim) -> bool:
    """Return whether two claims are for one submission, whose first answer may have been lost."""
    return held.state_uri == mine.state_uri and held.request_id == mine.request_id


def is_free(held: Claim, has_ended: HasEnded | None = None) -> bool:
    """Return whether a claim may be taken over: its job has ended, or its cluster is gone."""
    if has_ended is not None and has_ended(held.state_uri, held.job_id):
        return True
    if not _is_here(held):
        return False
    lock_uri = object_names.lock_uri(held.state_uri)
    return not storage_for(lock_uri).is_locked(lock_uri)


def _is_here(held: Claim) -> bool:
    """Return whether the state of the claim's cluster lies in files of this machine."""
    return reach_of(held.state_uri) is Reach.MACHINE and held.host == this_host()


def may_finish(held: Claim) -> bool:
    """Return whether a master on the claim's state could go on with its job.

    The inline engine keeps no journal, and old runs are swept.
    """
    if not _is_here(held):
        return True
    journal = object_names.journal_prefix(held.state_uri)
    return storage_for(journal).kind(journal) is NameKind.FOLDER


def _taken(output_uri: str, held: Claim | None) -> OutputError:
    where = object_names.shown(output_uri)
    if held is None:
        who = "a claim that cannot be read"
    else:
        cluster = held.leader or object_names.shown(held.state_uri)
        who = f"job {held.job_id} of the cluster at {cluster}"
    return OutputError(
        f"The output {where} is taken by {who}. Choose another one, or, when you are sure that "
        f"nothing writes there any more, free it with `mrcore gc {where} --release`."
    )


def _decode(content: bytes) -> Claim | None:
    try:
        return msgspec.json.decode(content, type=Claim)
    except UNREADABLE:
        return None


def read_claim(output_uri: str) -> Claim | None:
    """Return the claim on an output; None when there is none, or none that can be read."""
    uri = object_names.claim_uri(output_uri.rstrip("/"))
    try:
        return _decode(storage_for(uri).read(uri))
    except NotFoundError:
        return None


def holds_claim(spec: JobSpec, generation: str) -> bool:
    """Return whether the claim on the output is still the one of this generation."""
    uri = object_names.claim_uri(spec.output_uri)
    try:
        return storage_for(uri).stat(uri).generation == generation
    except NotFoundError:
        return False


def release_claim(output_uri: str, generation: str) -> bool:
    """End a claim; return False when it was no longer there. Repeating the call is safe.

    The object is deleted, not marked: its generation never comes back, so who still holds the old
    one can change nothing, and the output holds only what its reader wants. On files an output that
    is empty then goes as well.
    """
    return _delete_claim(output_uri, generation)


def force_release(output_uri: str) -> bool:
    """Free an output whatever its claim says; return False when nobody had claimed it."""
    return _delete_claim(output_uri.rstrip("/"), None)


def _delete_claim(output_uri: str, generation: str | None) -> bool:
    uri = object_names.claim_uri(output_uri)
    deleted = storage_for(uri).delete(uri, generation=generation)
    _remove_if_empty(output_uri)
    return deleted


def _remove_if_empty(output_uri: str) -> None:
    storage_for(output_uri).prune(output_uri)
