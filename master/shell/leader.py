"""Identity of the cluster and its master: the leader object, the token and the certificate.

Secrets lie in the state: whoever can read them can join the cluster. Local files are private to
their owner.
A restarted master finds its token and certificate there, so that its clients and workers need not
look again.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from mrcore.errors import (
    AlreadyExistsError,
    MrcoreError,
    NotFoundError,
    PreconditionFailedError,
)
from mrcore.master.errors import FencedError
from mrcore.model import object_names
from mrcore.rpc.channel import CERTIFICATE_NAME, fingerprint_of
from mrcore.rpc.cluster import Credentials, Leader, loopback_file, save_credentials
from mrcore.rpc.server import TlsKey
from mrcore.storage.base import ABSENT, Storage
from mrcore.util.clock import Clock
from mrcore.util.decoding import UNREADABLE

_CERTIFICATE_DAYS: Final = 3_650

_Document = TypeVar("_Document", bound=msgspec.Struct)


class Cluster(msgspec.Struct, frozen=True):
    """The object `STATE/cluster.json`: drawn once, when the state is made."""

    cluster_id: str
    nonce: str
    """A worker that tells it has read the same store as its master."""


def open_cluster(storage: Storage, state_uri: str) -> Cluster:
    """Return the identity of the state's cluster, drawing it if this is a new state."""
    fresh = Cluster(secrets.token_hex(8), secrets.token_hex(16))
    return _create_or_read(storage, object_names.cluster_uri(state_uri), fresh)


def open_tls(storage: Storage, state_uri: str, clock: Clock) -> TlsKey:
    """Return the cluster's key and certificate, making them at the first start with `--tls`."""
    uri = object_names.tls_uri(state_uri)
    try:
        return _decode(storage.read(uri), TlsKey, uri)
    except NotFoundError:
        return _create_or_read(storage, uri, make_certificate(clock.wall()))


def new_token() -> str:
    """Return a token for a new cluster."""
    return secrets.token_urlsafe(32)


def make_certificate(wall_seconds: float) -> TlsKey:
    """Return a new key (P-256) with a self-signed certificate, good for ten years."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, CERTIFICATE_NAME)])
    now = datetime.fromtimestamp(wall_seconds, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks differ
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(CERTIFICATE_NAME)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return TlsKey(
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
    )


def read_leader(storage: Storage, state_uri: str) -> tuple[Leader | None, str]:
    """Return the leader object, if there is one, and its generation."""
    uri = object_names.leader_uri(state_uri)
    while True:
        try:
            info = storage.stat(uri)
        except NotFoundError:
            return None, ABSENT
        try:
            content = storage.read(uri, generation=info.generation)
        except NotFoundError:
            continue  # replaced between the two calls
        return _decode(content, Leader, uri), info.generation


def new_leader(
    cluster: Cluster, epoch: int, address: str, token: str, tls: TlsKey | None
) -> Leader:
    """Return the leader object of a master that serves at an address."""
    return Leader(
        cluster_id=cluster.cluster_id,
        epoch=epoch,
        address=address,
        token=token,
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
            _write(storage, uri, leader, generation)
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
        _write(storage, object_names.leader_uri(state_uri), ended, generation)
    except (AlreadyExistsError, PreconditionFailedError):
        return


def protect_state(storage: Storage, state_uri: str) -> bool:
    """Make the folder of a state for this user alone; return whether others can read it."""
    secrets = (object_names.leader_uri(state_uri), object_names.tls_uri(state_uri))
    return storage.protect(state_uri, secrets)


def _create_or_read(storage: Storage, uri: str, fresh: _Document) -> _Document:
    try:
        return _decode(storage.read(uri), type(fresh), uri)
    except NotFoundError:
        pass
    try:
        _write(storage, uri, fresh, ABSENT)
    except AlreadyExistsError:  # another master was first
        return _decode(storage.read(uri), type(fresh), uri)
    return fresh


def _write(storage: Storage, uri: str, document: msgspec.Struct, expect: str) -> None:
    with storage.open_write(uri, expect=expect, durable=True, private=True) as writer:
        writer.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
        writer.commit()


def _decode(content: bytes, kind: type[_Document], uri: str) -> _Document:
    try:
        return msgspec.json.decode(content, type=kind)
    except UNREADABLE as error:
        raise MrcoreError(
            f"{uri} cannot be read ({error}). Restore it, or start a new --state."
        ) from None


@contextlib.contextmanager
def found_on_loopback(credentials: Credentials, *, wanted: bool) -> Iterator[None]:
    """Leave the credentials where other processes of this user look for them, if that is wanted."""
    if not wanted:
        yield
        return
    path = loopback_file(int(credentials.address.rpartition(":")[2]))
    save_credentials(credentials, path)
    inode = path.stat().st_ino
    try:
        yield
    finally:
        # The port is free by now, and the next master there may have left its own.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == inode:
                path.unlink()
