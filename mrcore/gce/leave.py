"""Objects that a cluster leaves in buckets: claims, temporaries, logs, and its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import NotFoundError, UsageError
from mrcore.gce.record import Record, read_record, record_uri
from mrcore.model.object_names import CLAIM
from mrcore.output import claim
from mrcore.storage.base import ObjectInfo
from mrcore.storage.registry import storage_for

PARALLEL: Final = 16
MAX_LOGS: Final = 2_000
"""Logs that are saved from a cluster that goes; a job may have made millions."""
MAX_LOG_BYTES: Final = 4 << 20


def state_uri(home: str) -> str:
    """Return where the master of a cluster keeps its state."""
    return f"{home}/state"


def clear_outputs(record: Record) -> int:
    """Free the outputs that jobs of this cluster hold, and delete their temporaries; count objects.

    To be called when the cluster's machines are gone: what a job has published stays. An output may
    lie anywhere below a folder that the cluster may write to.
    """
    claims, temporaries = [], []
    for folder in dict.fromkeys(f"{uri.rstrip('/')}/" for uri in record.outputs):
        for info in storage_for(folder).list(folder):
            if info.uri.endswith(f"/{CLAIM}"):
                claims.append(info.uri)
            elif "/_tmp/" in info.uri:
                temporaries.append(info.uri)
    jobs = _job_ids(record.home)
    removed = 0
    for output in (uri.removesuffix(f"/{CLAIM}") for uri in claims):
        held = claim.read_claim(output)
        if held is not None and held.state_uri == state_uri(record.home):
            jobs.add(held.job_id)
            removed += claim.force_release(output)
    own = [uri for uri in temporaries if jobs.intersection(uri.split("/"))]
    # Others may share a folder of temporaries: only names of this cluster's jobs are looked at.
    prefixes = [f"{temp.rstrip('/')}/{job}/" for temp in record.temps for job in sorted(jobs)]
    return removed + _delete(own) + sum(remove_all(prefix) for prefix in prefixes)


def _job_ids(home: str) -> set[str]:
    prefix = f"{state_uri(home)}/jobs/"
    listing = storage_for(prefix).list(prefix, recursive=False)
    return {info.uri[len(prefix) :].strip("/") for info in listing}


class Home(msgspec.Struct, frozen=True):
    """Home of a cluster, as it lies in a bucket."""

    uri: str
    expires: str
    """Wall-clock seconds since 1970; empty where no record says it."""
    owner: str
    cluster: str


def homes_in(places: Iterable[str], project: str) -> Iterator[Home]:
    """Yield the homes of clusters of a project: all in a bucket, `gs://B`, or one, `gs://B/HOME`.

    Raises StorageError for a place that cannot be read. A home without a record is recognised by
    its name.
    """
    uris: dict[str, None] = {}
    for place in (place.rstrip("/") for place in places):
        if "/" in place.removeprefix("gs://"):
            uris[place] = None
            continue
        folder = f"{place}/mrcore/"
        listing = storage_for(folder).list(folder, recursive=False)
        uris |= {info.uri.rstrip("/"): None for info in listing if info.uri.endswith("/")}
    for uri in uris:
        name = uri.rpartition("/")[2]
        try:
            found = read_record(uri)
        except UsageError:  # of another version
            yield Home(uri, "", "", name)
            continue
        if found is not None and found.project == project:
            yield Home(uri, str(found.expires_seconds), found.owner, found.name)
        elif found is None and any(storage_for(uri).list(f"{uri}/", recursive=False)):
            yield Home(uri, "", "", name)


def remove_home(home: str) -> int:
    """Delete everything below HOME, the record last; return how many objects there were."""
    last = record_uri(home)
    removed = remove_all(f"{home}/", keep=last)
    return removed + storage_for(last).delete(last)


def remove_all(prefix: str, keep: str | None = None) -> int:
    """Delete every object below a prefix, many at a time; return how many."""
    return _delete([info.uri for info in storage_for(prefix).list(prefix) if info.uri != keep])


def _delete(uris: Sequence[str]) -> int:
    if not uris:
        return 0
    with ThreadPoolExecutor(PARALLEL) as pool:
        return sum(pool.map(storage_for(uris[0]).delete, uris))


def logs_of(home: str) -> list[ObjectInfo]:
    """Return the logs of a cluster: those of its VMs first, then those of attempts."""
    prefixes = (f"{home}/logs/", f"{state_uri(home)}/logs/")
    return [info for prefix in prefixes for info in storage_for(prefix).list(prefix)]


def vms_with_logs(home: str) -> list[str]:
    """Return the names of the VMs that have written logs."""
    prefix = f"{home}/logs/"
    infos = storage_for(prefix).list(prefix)
    return sorted({info.uri[len(prefix) :].partition("/")[0] for info in infos})


def logs_of_vm(home: str, vm: str) -> str:
    """Return the logs of a VM, each under its name; nothing where there are none."""
    prefix = f"{home}/logs/{vm}/"
    texts = []
    for info in storage_for(prefix).list(prefix):
        text = read_tail(info, MAX_LOG_BYTES).decode(errors="replace")
        texts.append(f"==> {info.uri}\n{text}")
    return "".join(texts)


def save_logs(home: str, folder: Path) -> int:
    """Copy the logs of a cluster to a local folder, the end of each; return how many."""
    infos = logs_of(home)[:MAX_LOGS]
    with ThreadPoolExecutor(PARALLEL) as pool:
        return sum(pool.map(lambda info: _save(info, home, folder), infos))


def _save(info: ObjectInfo, home: str, folder: Path) -> bool:
    parts = info.uri.removeprefix(f"{home}/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return False
    place = folder.joinpath(*parts)
    try:
        content = read_tail(info, MAX_LOG_BYTES)
    except NotFoundError:  # replaced by a newer one just now
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return True


def read_tail(info: ObjectInfo, limit_bytes: int) -> bytes:
    """Return the last bytes of an object."""
    return storage_for(info.uri).read(info.uri, max(0, info.size_bytes - limit_bytes))
