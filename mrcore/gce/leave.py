"""What a cluster leaves in buckets, and how it goes: claims, temporaries, logs, its own objects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mrcore import claim
from mrcore.errors import NotFoundError
from mrcore.gce.record import Record, record_uri
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

    To be called when the cluster's machines are gone: what a job has published stays.
    """
    jobs = _job_ids(record.home)
    removed = 0
    for output in (uri.rstrip("/") for uri in record.outputs):
        held = claim.read_claim(output)
        if held is not None and held.state_uri == state_uri(record.home):
            jobs.add(held.job_id)
            removed += claim.force_release(output)
        for job_id in sorted(jobs):
            removed += remove_all(f"{output}/_tmp/{job_id}/") + remove_all(f"{output}/{job_id}/")
    return removed


def _job_ids(home: str) -> set[str]:
    prefix = f"{state_uri(home)}/jobs/"
    listing = storage_for(prefix).list(prefix, recursive=False)
    return {info.uri[len(prefix) :].strip("/") for info in listing}


def remove_home(home: str) -> int:
    """Delete everything below HOME, the record last; return how many objects there were."""
    last = record_uri(home)
    removed = remove_all(f"{home}/", keep=last)
    return removed + storage_for(last).delete(last)


def remove_all(prefix: str, keep: str | None = None) -> int:
    """Delete every object below a prefix, many at a time; return how many."""
    storage = storage_for(prefix)
    uris = [info.uri for info in storage.list(prefix) if info.uri != keep]
    with ThreadPoolExecutor(PARALLEL) as pool:
        return sum(pool.map(storage.delete, uris))


def logs_of(home: str) -> list[ObjectInfo]:
    """Return the logs of a cluster: those of its VMs first, then those of attempts."""
    prefixes = (f"{home}/logs/", f"{state_uri(home)}/logs/")
    return [info for prefix in prefixes for info in storage_for(prefix).list(prefix)]


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
