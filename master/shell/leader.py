"""Identity of the cluster and its master: the leader object and the certificate.

A restarted master finds its certificate in the state, so that its clients and workers need not look
again. Secrets on files are private to their owner.
"""

from __future__ import annotations

import secrets

import msgspec

from mrcore.errors import AlreadyExistsError, NotFoundError, PreconditionFailedError
from mrcore.master.errors import FencedError
from mrcore.master.shell.documents import (
    create_or_read,
    decode_document,
    read_document,
    write_document,
)
from mrcore.model import object_names
from mrcore.rpc.certificates import TlsKey, make_certificate
from mrcore.rpc.channel import fingerprint_of
from mrcore.rpc.cluster import Leader
from mrcore.rpc.roles import Role
from mrcore.storage.base import Storage
from mrcore.util.clock import Clock


class Cluster(msgspec.Struct, frozen=True):
    """The object `STATE/cluster.json`: drawn once, when the state is made."""

    cluster_id: str
    nonce: str
    """A worker that tells it has read the same store as its master."""


def open_cluster(storage: Storage, state_uri: str) -> Cluster:
    """Return the identity of the state's cluster, drawing it if this is a new state."""
    fresh = Cluster(secrets.token_hex(8), secrets.token_hex(16))
    return create_or_read(storage, object_names.cluster_uri(state_uri), fresh)


def open_tls(storage: Storage, state_uri: str, clock: Clock) -> TlsKey:
    """Return the cluster's key and certificate, making them at the first start with `--tls`."""
    uri = object_names.tls_uri(state_uri)
    try:
        return decode_document(storage.read(uri), TlsKey, uri)
    except NotFoundError:
        return create_or_read(storage, uri, make_certificate(clock.wall()))


def read_leader(storage: Storage, state_uri: str) -> tuple[Leader | None, str]:
    """Return the leader object, if there is one, and its generation."""
    return read_document(storage, object_names.leader_uri(state_uri), Leader)


def new_leader(cluster: Cluster, epoch: int, address: str, tls: TlsKey | None) -> Leader:
    """Return the leader object of a master that serves at an address."""
    return Leader(
        cluster_id=cluster.cluster_id,
        epoch=epoch,
        address=address,
        certificate=tls.certificate if tls is not None else "",
        fingerprint=fingerprint_of(tls.certificate) if tls is not None else "",
    )


def announce(storage: Storage, state_uri: str, leader: Leader) -> None:
    """Make this the leader object; raise FencedError when one of a higher epoch is there."""
    uri = object_names.leader_uri(state_uri)
    while True:
        found, generation = read_leader(storage, state_uri)
        if found is not None and found.epoch > leader.epoch:
            raise FencedError(
                f"A master with epoch {found.epoch} leads {state_uri}, at {found.address}: this "
                "one has stepped down."
            )
        try:
            write_document(storage, uri, leader, generation)
        except (AlreadyExistsError, PreconditionFailedError):
            continue
        return


def retire(storage: Storage, state_uri: str, leader: Leader) -> None:
    """Record in the leader object that this master has ended, unless another one leads already."""
    found, generation = read_leader(storage, state_uri)
    if found is None or found.epoch != leader.epoch:
        return
    ended = msgspec.structs.replace(leader, serving=False)
    try:
        write_document(storage, object_names.leader_uri(state_uri), ended, generation)
    except (AlreadyExistsError, PreconditionFailedError):
        return


def protect_state(storage: Storage, state_uri: str) -> bool:
    """Make the folder of a state for this user alone; return whether others can read it."""
    secrets = (
        object_names.leader_uri(state_uri),
        object_names.tls_uri(state_uri),
        object_names.issued_tokens_uri(state_uri),
        *(object_names.token_uri(state_uri, role) for role in Role),
    )
    return storage.protect(state_uri, secrets)
