"""Record of a cluster, `HOME/cluster.json`: what was asked for, so that later commands go on.

The record is made before anything else and removed last. What really exists is what the cloud says;
the record says what should. It is replaced by compare-and-swap, so that two runners at once do not
undo each other's words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from mrcore.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    UnavailableError,
    UsageError,
)
from mrcore.storage.base import ABSENT
from mrcore.storage.registry import storage_for
from mrcore.util.decoding import UNREADABLE

_TRIES: Final = 20
_NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as it was asked for."""

    name: str
    home: str
    project: str
    location: str
    """`zones/ZONE` or `regions/REGION`: where the groups of workers are."""
    master_zone: str
    owner: str
    created_seconds: int
    """Wall-clock time, seconds since 1970."""
    expires_seconds: int
    """Wall-clock time after which `gc` may remove everything of this cluster."""
    machine_types: tuple[str, ...]
    """Machine types of workers; in a region by rank, the first is wanted most."""
    master_machine_type: str
    provisioning: str
    """`spot` or `standard`: the group that the workers are in at first."""
    workers: int
    """Size of that group when it is made."""
    max_workers: int
    network: str
    subnet: str
    image: str
    """`projects/P/global/images/…`, or `…/images/family/F`."""
    disk_gib: int
    connect: str
    """`iap` or `direct`: how people reach the master."""
    max_run_seconds: int
    """Age at which Compute Engine deletes each VM of the cluster."""
    idle_timeout: str
    """Time without a job, such as `15m`, after which a master removes the cluster."""
    masters: int = 1
    """Number of masters: one leads, the others stand by."""
    master_zones: tuple[str, ...] = ()
    """Zones of the masters, in turn; empty: all are in `master_zone`."""
    min_workers: int = 0
    deadline: str = ""
    """Longest time of a job from its submission, such as `2h`; empty: as long as it does."""
    max_cost: str = ""
    """Dollars that may be spent; empty: no limit."""
    master_account: str = ""
    worker_account: str = ""
    manage_iam: bool = True
    """The runner makes accounts, roles and bindings; not where accounts were given."""
    vm_env: tuple[str, ...] = ()
    """`KEY=VALUE` for the daemons' environment."""
    kept: bool = False
    """Made to stay: a run that has used it leaves it up, however it ends."""
    payload_sha256: str = ""
    """Digest of the units, scripts and list of wheels for the VMs; empty: not made yet."""
    inputs: tuple[str, ...] = ()
    """`gs://` prefixes that the workers may read."""
    outputs: tuple[str, ...] = ()
    """`gs://` folders that jobs write to; workers may make temporaries in `_tmp/` below them."""
    temps: tuple[str, ...] = ()
    """`gs://` folders for the temporaries of jobs that want them elsewhere."""


FIXED: Final = ("project", "location", "network", "subnet", "connect")
"""Fields that cannot change while a cluster lives."""
GROWING: Final = ("inputs", "outputs", "temps")
"""Fields that each run adds to."""
LIFE: Final = ("created_seconds", "expires_seconds")
"""Fields that begin anew with another master."""


def check_name(name: str) -> str:
    """Return the name of a cluster; raise UsageError if resources cannot have it."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a cluster. Use at most 31 lower-case letters, digits and "
            "hyphens, with a letter first and no hyphen last."
        )
    return name


def check_outputs(home: str, outputs: Iterable[str]) -> None:
    """Raise UsageError for a folder of outputs that the home lies in, or the other way round.

    Workers may make temporaries there, and must not write to the journal.
    """
    for output in outputs:
        folder = f"{output.rstrip('/')}/"
        if f"{home}/".startswith(folder) or folder.startswith(f"{home}/"):
            raise UsageError(
                f"The output {output.rstrip('/')} and the cluster's home, {home}, lie one in the "
                "other. Name another folder for the output, or another --home."
            )


def check(record: Record) -> None:
    """Raise UsageError for a record that no cluster can have."""
    check_name(record.name)
    check_outputs(record.home, (*record.outputs, *record.temps))


def record_uri(home: str) -> str:
    """Return where the record of a cluster lies."""
    return f"{home.rstrip('/')}/cluster.json"


def read_record(home: str) -> Record | None:
    """Return the record of a cluster; None where there is none."""
    return _read(record_uri(home))[0]


def open_record(fresh: Record, given: frozenset[str]) -> Record:
    """Make the record of a cluster, or go on with the one that is there; return what holds.

    `given` names the fields that the user has spelt out: they replace what is recorded, except
    those of FIXED, which raise UsageError when they differ. What was made to stay stays.
    """

    def merge(found: Record | None) -> Record:
        return fresh if found is None else _merged(found, fresh, given)

    return update_record(fresh.home, merge)


def update_record(home: str, change: Callable[[Record | None], Record]) -> Record:
    """Replace the record by what `change` makes of it; return the new one."""
    uri = record_uri(home)
    storage = storage_for(uri)
    for _ in range(_TRIES):
        found, generation = _read(uri)
        wanted = change(found)
        if wanted == found:
            return wanted
        try:
            with storage.open_write(uri, expect=generation) as writer:
                writer.write(msgspec.json.format(msgspec.json.encode(wanted)) + b"\n")
                writer.commit()
        except (AlreadyExistsError, PreconditionFailedError):
            continue
        return wanted
    raise UnavailableError(
        f"{uri} changes all the time. Wait for the other runner there, then run the command again."
    )


def change_record(home: str, **changes: Any) -> Record:
    """Change fields of the record that is there; return the new one."""

    def change(found: Record | None) -> Record:
        if found is None:
            raise UsageError(f"No cluster has its home at {home}: see `mrcore gce audit`.")
        return msgspec.structs.replace(found, **changes)

    return update_record(home, change)


def _merged(found: Record, fresh: Record, given: frozenset[str]) -> Record:
    for field in FIXED:
        was, wanted = getattr(found, field), getattr(fresh, field)
        if field in given and was != wanted:
            raise UsageError(
                f"The cluster {found.name} is there with {field} {was}, not {wanted}. Leave that "
                "option out, take the cluster down first, or choose another --name."
            )
    changes = {field: getattr(fresh, field) for field in given if field not in GROWING}
    if _lives_on(found, fresh.created_seconds, changes.get("max_run_seconds")):
        changes = {field: value for field, value in changes.items() if field not in LIFE}
    changes["kept"] = found.kept or fresh.kept
    for field in GROWING:
        new = dict.fromkeys((*getattr(found, field), *getattr(fresh, field)))
        changes[field] = tuple(new)
    return msgspec.structs.replace(found, **changes)


def _lives_on(found: Record, now: int, max_run_seconds: int | None) -> bool:
    """Return whether a VM that is made now is gone before the recorded life ends.

    Then that life goes on. Templates name its end, so an interrupted `up` is finished with those
    that it has made, and leaves no others behind.
    """
    if max_run_seconds not in (None, found.max_run_seconds):
        return False
    return now + found.max_run_seconds <= found.expires_seconds


def _read(uri: str) -> tuple[Record | None, str]:
    storage = storage_for(uri)
    try:
        info = storage.stat(uri)
        content = storage.read(uri, generation=info.generation)
    except NotFoundError:
        return None, ABSENT
    try:
        return msgspec.json.decode(content, type=Record), info.generation
    except UNREADABLE as error:
        raise UsageError(
            f"{uri} is not a record of this version of mrcore ({error}). Use the version that made "
            "the cluster, or delete the object when nothing of it runs any more."
        ) from None
