"""Masters of a cluster: their records in the state, and what callers learn of them from replies.

A leader appends the addresses of all masters to its replies, and a standby names the leader where
it refuses a call. So a caller that was given one address finds the master that leads later.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

import msgspec

from mrcore.errors import NotFoundError, UsageError
from mrcore.model import object_names
from mrcore.model.master import MasterRole, MasterView
from mrcore.rpc.cluster import Credentials, Leader, parse_address
from mrcore.rpc.credentials import read_leader
from mrcore.storage.base import ObjectInfo, Storage
from mrcore.util.decoding import UNREADABLE

LEADER_KEY: Final = "mrcore-leader"
"""Metadata of a refusal: the address of the master that leads."""
MASTERS_KEY: Final = "mrcore-masters"
"""Metadata of a reply: the addresses of all masters, joined by commas."""
TUNNEL_VARIABLE: Final = "MRCORE_TUNNEL"
"""Variable with the address of a tunnel here that its owner keeps turned to the leader.

The addresses of masters are not reachable where such a tunnel is needed.
"""
ADDRESSES_MAX: Final = 16
"""Addresses that a caller remembers, and that a leader sends."""


class MasterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The object `STATE/masters/<id>`, which a master writes every few seconds while it lives."""

    master_id: str
    """Random token of its process."""
    address: str
    role: MasterRole
    host: str
    process_id: int
    started_at: float
    """Wall-clock time of its start, seconds since 1970."""
    epoch: int = 0
    """Newest epoch in the journal, as far as this master has read it."""
    entry: int = 0
    """Number of the newest entry that it has read."""
    behind: int = 0
    """Entries that it has yet to read."""
    beats: int = 0
    """Times that the record was written."""


def masters_of(storage: Storage, state_uri: str, wall_seconds: float) -> tuple[MasterView, ...]:
    """Return the masters of a state, the leader first, as their records show them; blocks.

    A leader that has yet to write its record is shown as the leader object has it. Raises
    ClusterUnreachableError for a state that nobody has led.
    """
    leader = read_leader(state_uri)
    infos = list(storage.list(object_names.masters_prefix(state_uri)))
    records = [(info, read_record(storage, info)) for info in infos]
    known = [(info, record) for info, record in records if record is not None]
    views = master_views(known, leader, wall_seconds)
    if not leader.serving or any(view.role is MasterRole.LEADER for view in views):
        return views
    return (_without_record(storage, state_uri, leader, wall_seconds), *views)


def _without_record(
    storage: Storage, state_uri: str, leader: Leader, wall_seconds: float
) -> MasterView:
    """Return a leader that has no record, as its leader object shows it."""
    written_at = storage.stat(object_names.leader_uri(state_uri)).modified_seconds
    return MasterView(
        master_id="",
        address=leader.address,
        role=MasterRole.LEADER,
        epoch=leader.epoch,
        started_at=written_at,
        heard_seconds=max(0.0, wall_seconds - written_at),
    )


def read_record(storage: Storage, info: ObjectInfo) -> MasterRecord | None:
    """Return the record in an object; None where it is gone, or written by another version."""
    try:
        return msgspec.json.decode(storage.read(info.uri), type=MasterRecord)
    except (NotFoundError, *UNREADABLE):
        return None


def master_views(
    records: Iterable[tuple[ObjectInfo, MasterRecord]], leader: Leader | None, wall_seconds: float
) -> tuple[MasterView, ...]:
    """Return the masters, the leader first: of those that once led, only the one that leads.

    Without a `leader` only those that stand by are returned.
    """
    listed = list(records)
    leading = _leading(listed, leader)
    views = []
    for info, record in listed:
        leads = leader is not None and record is leading
        if record.role is MasterRole.LEADER and not leads:
            continue  # it was replaced, and its record is yet to be swept
        views.append(
            MasterView(
                master_id=record.master_id,
                address=record.address,
                role=MasterRole.LEADER if leads else record.role,
                host=record.host,
                process_id=record.process_id,
                epoch=leader.epoch if leader is not None and leads else record.epoch,
                entry=record.entry,
                behind=0 if leads else record.behind,
                started_at=record.started_at,
                heard_seconds=max(0.0, wall_seconds - info.modified_seconds),
            )
        )
    views.sort(key=lambda view: (view.role is not MasterRole.LEADER, view.address, view.master_id))
    return tuple(views)


def _leading(
    records: Iterable[tuple[ObjectInfo, MasterRecord]], leader: Leader | None
) -> MasterRecord | None:
    """Return the record of the master that leads, if there is one.

    Others may have had its address before. A master that has just taken over still has the record
    of a standby.
    """
    if leader is None or not leader.serving:
        return None
    found = [
        record
        for _, record in records
        if record.address == leader.address
        and (record.role is MasterRole.STANDBY or record.epoch == leader.epoch)
    ]
    return max(found, key=lambda one: (one.role is MasterRole.LEADER, one.started_at), default=None)


class KnownMasters:
    """Addresses of the masters of a cluster, as far as replies have shown them."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        self._leader = ""
        self._found: Credentials | None = None

    def learn(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Take in the metadata of a reply or of a refusal."""
        for key, value in metadata or ():
            if key == LEADER_KEY:
                self._leader = "".join(_addresses(value)[:1])
            elif key == MASTERS_KEY:
                self.addresses = _addresses(value)[:ADDRESSES_MAX]

    def choose(self, current: Credentials, found: Credentials | None) -> Credentials:
        """Return whom to call after `current` has not answered, or has refused.

        `found` is what the state or a file says now. The leader that a standby has named comes
        first, then what was found anew, then the others in turn.
        """
        if current.address == os.environ.get(TUNNEL_VARIABLE):
            return current if found is None else found
        leader, self._leader = self._leader, ""
        is_news = found is not None and found != self._found and found != current
        self._found = found
        if leader and leader != current.address:
            return msgspec.structs.replace(current, address=leader)
        if found is not None and is_news:
            return found
        base = current if found is None else found
        circle = list(dict.fromkeys((*base.addresses, *self.addresses)))
        at = circle.index(current.address) if current.address in circle else -1
        following = circle[(at + 1) % len(circle)]
        return msgspec.structs.replace(base, address=following)


def _addresses(value: str | bytes) -> tuple[str, ...]:
    """Return the well-formed addresses of a list; whatever else it holds is ignored."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    found = []
    for one in text.split(","):
        try:
            parse_address(one)
        except UsageError:
            continue
        found.append(one)
    return tuple(found)
