"""Leftovers of a state: objects of jobs that have expired, or that nobody knows any more.

An object goes for one of two reasons. The journal says that its job has ended and expired; or it
belongs to no job of the journal, and has not changed for a day. A submission writes plan and plugin
before the journal has its job, and a worker may write a log after its job is forgotten. Both take
less than a day.

Every method blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from mrcore.master.core.expiry import Needs
from mrcore.model import object_names
from mrcore.storage.base import ObjectInfo, Storage

AGE_SECONDS: Final = 86_400.0
"""Objects of no known job that changed later than this are left alone."""


class Kind(StrEnum):
    """A kind of leftovers, by what people call it."""

    PLANS = "plans"
    LOGS = "logs"
    RESULTS = "results"
    TEMPORARIES = "temporaries"
    PLUGINS = "plugins"
    OBJECTS = "stored objects"
    ENTRIES = "journal entries"
    PACKS = "journal packs"
    SNAPSHOTS = "snapshots"


class Folder(msgspec.Struct, frozen=True):
    """Leftovers of one job, of one kind."""

    kind: Kind
    uri: str
    prefix: str
    """Prefix of the folders of all jobs."""
    is_expired: bool
    """Whether the journal knows that nobody needs it any more, however new it is."""
    objects: tuple[ObjectInfo, ...]


class Leftovers:
    """Listing of what is left in one state."""

    def __init__(self, storage: Storage, state_uri: str, needs: Needs, wall_seconds: float) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._needs = needs
        self._before = wall_seconds - AGE_SECONDS

    def folders(self, *kinds: Kind) -> Iterator[Folder]:
        """Yield what jobs have left of some kinds that have a folder for each job."""
        for kind in kinds:
            prefix = _PREFIXES[kind](self._state_uri)
            for folder in list(self._storage.list(prefix, recursive=False)):
                if not folder.is_folder:
                    continue
                job_id = folder.uri[len(prefix) : -1]
                is_spent = kind is Kind.TEMPORARIES and job_id in self._needs.spent
                if job_id in self._needs.kept and not is_spent:
                    continue
                is_expired = is_spent or job_id in self._needs.expired
                infos = self._storage.list(folder.uri)
                left = tuple(info for info in infos if is_expired or self._is_old(info))
                yield Folder(kind, folder.uri, prefix, is_expired, left)

    def plugins(self) -> Iterator[ObjectInfo]:
        """Yield the plugins that no kept job names."""
        prefix = object_names.plugins_prefix(self._state_uri)
        return self._unnamed(prefix, self._needs.plugins)

    def objects(self) -> Iterator[ObjectInfo]:
        """Yield the stored objects that nobody needs; none while a session is live."""
        if not self._needs.has_sessions:
            prefix = object_names.objects_prefix(self._state_uri)
            yield from self._unnamed(prefix, self._needs.objects)

    def _unnamed(self, prefix: str, named: frozenset[str]) -> Iterator[ObjectInfo]:
        for info in list(self._storage.list(prefix)):
            if info.uri.removeprefix(prefix) not in named and self._is_old(info):
                yield info

    def _is_old(self, info: ObjectInfo) -> bool:
        return 0.0 < info.modified_seconds < self._before


_PREFIXES: Final[dict[Kind, Callable[[str], str]]] = {
    Kind.PLANS: object_names.plans_prefix,
    Kind.LOGS: object_names.logs_prefix,
    Kind.RESULTS: object_names.results_prefix,
    Kind.TEMPORARIES: lambda state_uri: f"{object_names.state_temp_uri(state_uri)}/",
}


def prune(storage: Storage, folder: Folder) -> None:
    """Remove the folder of a job where nothing is left in it."""
    if folder.is_expired:
        storage.prune(folder.uri, up_to=folder.prefix, abandoned=True)
    else:
        storage.prune(folder.uri)
