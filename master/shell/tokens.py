"""The tokens of a cluster, as a master keeps them in the state and accepts them.

A new token is accepted before anybody can read it, and is shown in the state before the former one
ends. So a reader of the state always finds a token that the master accepts. A master that is
shown a token that it does not know reads the state again: another one may have led meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec

from mrcore.errors import (
    AlreadyExistsError,
    LimitError,
    MrcoreError,
    PreconditionFailedError,
    UsageError,
)
from mrcore.master.shell.documents import (
    create_or_read,
    find_document,
    read_document,
    write_document,
)
from mrcore.model import object_names
from mrcore.rpc.certificates import TlsKey, is_issued_by, issue_certificate
from mrcore.rpc.cluster import Credentials, loopback_file, save_credentials
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import (
    ISSUED_MAX,
    NEVER,
    Accepted,
    IssuedTokens,
    RoleToken,
    TokenTable,
    hash_of,
    new_token,
)
from mrcore.storage.base import Storage
from mrcore.util.clock import Clock

log = logging.getLogger("mrcore.master")

LOOK_AGAIN_SECONDS: Final = 5.0
"""Time between two readings of the state because of tokens that are not known: strangers cause
them, and they cost money on a bucket."""


class Tokens:
    """Owner of the tokens. Its methods block; `run` is for the event loop."""

    def __init__(self, storage: Storage, state_uri: str, clock: Clock) -> None:
        self.table = TokenTable(clock=clock)
        """Tokens that a server accepts."""
        self.on_change: Callable[[], None] = lambda: None
        """Called in some thread when a token of the cluster was replaced."""
        self._storage = storage
        self._state_uri = state_uri
        self._clock = clock
        self._lock = threading.Lock()
        self._own: dict[Role, RoleToken] = {}
        self._unknown: asyncio.Event | None = None

    def open(self, issuer: TlsKey | None = None) -> None:
        """Make the tokens that a new state lacks, and accept all that there are.

        Give each role a certificate of `issuer`, unless it has one.
        """
        with self._lock:
            own = {}
            for role in Role:
                fresh = RoleToken(role=role, token=new_token(), created_at=self._clock.wall())
                own[role] = create_or_read(self._storage, self._uri(role), fresh)
                if issuer is not None:
                    own[role] = self._certified(own[role], issuer)
            self._accept(own)

    def _certified(self, own: RoleToken, issuer: TlsKey) -> RoleToken:
        """Return a token of the state with a certificate of `issuer`, which callers then find."""
        uri = self._uri(own.role)
        while True:
            found, generation = read_document(self._storage, uri, RoleToken)
            own = found or own
            if own.client_key is not None and is_issued_by(own.client_key, issuer):
                return own
            issued = issue_certificate(issuer, f"mrcore-{own.role}")
            own = msgspec.structs.replace(own, client_key=issued)
            try:
                write_document(self._storage, uri, own, generation)
            except (AlreadyExistsError, PreconditionFailedError):
                continue
            return own

    def load(self) -> None:
        """Accept the tokens that the state has now; a state that nobody led has none."""
        with self._lock:
            self._load()

    def token(self, role: Role) -> str:
        """Return the cluster's own token of a role, as it was read last; empty without one."""
        own = self._own.get(role)
        return "" if own is None else own.token

    def own(self, role: Role) -> RoleToken | None:
        """Return the same with the certificate of the role; None without one."""
        return self._own.get(role)

    def read_own(self, role: Role) -> RoleToken | None:
        """Return the cluster's own token of a role from the state, if it has one."""
        return find_document(self._storage, self._uri(role), RoleToken)

    def listed(self) -> tuple[Accepted, ...]:
        """Return the tokens that are valid now: those of the cluster first."""
        return tuple(self.table)

    def is_current(self, one: Accepted) -> bool:
        """Return whether this is the cluster's own token of its role now."""
        own = self._own.get(one.role)
        return own is not None and hash_of(own.token) == one.sha256

    def rotate(self, roles: Collection[Role], grace_seconds: float) -> None:
        """Replace the cluster's own tokens of these roles; former ones end after the grace."""
        with self._lock, self._all_or_reloaded():
            for role in roles:
                self._swap(role, grace_seconds)

    def _swap(self, role: Role, grace_seconds: float) -> None:
        token = new_token()
        while True:
            found, generation = read_document(self._storage, self._uri(role), RoleToken)
            now = self._clock.wall()
            fresh = RoleToken(role=role, token=token, created_at=now)
            if found is not None:
                fresh = found.rotated(token, now, grace_seconds)
            elif role in self._own:  # somebody has deleted it
                fresh = msgspec.structs.replace(fresh, client_key=self._own[role].client_key)
            # A reader must be able to use it at once.
            self.table.replace((*self.table, Accepted(hash_of(token), role, now)))
            try:
                write_document(self._storage, self._uri(role), fresh, generation)
            except (AlreadyExistsError, PreconditionFailedError):
                continue
            return

    def create(self, role: Role, name: str, lifetime_seconds: float) -> tuple[str, Accepted]:
        """Return a new token for somebody; the state keeps its hash alone. 0: it does not end."""
        now = self._clock.wall()
        end = now + lifetime_seconds if lifetime_seconds else NEVER
        token = new_token()
        made = Accepted(hash_of(token), role, now, end, name)
        with self._lock, self._all_or_reloaded():
            self._change(lambda tokens: (*tokens, made))
        return token, made

    def revoke(self, name_or_id: str) -> Accepted:
        """End a token that was given by name, or replaced; raise UsageError for any other."""
        with self._lock, self._all_or_reloaded():
            self._load()
            one = self._find(name_or_id)
            if self.is_current(one):
                raise UsageError(
                    f"{one.token_id} is the cluster's own token of a {one.role}. Replace it with "
                    "`mrcore token rotate --grace 0s`."
                )
            self._remove(one)
        return one

    def _find(self, name_or_id: str) -> Accepted:
        """Return the valid token with this id, or else the only one with this name."""
        valid = self.listed()
        found = [one for one in valid if one.token_id == name_or_id]
        found = found or [one for one in valid if one.name == name_or_id]
        if len(found) > 1:
            ids = ", ".join(one.token_id for one in found)
            raise UsageError(
                f"{len(found)} tokens have the name {name_or_id!r}: {ids}. Revoke each by its id."
            )
        if not found:
            raise UsageError(
                f"No token has the name or id {name_or_id!r}. `mrcore token list` shows them."
            )
        return found[0]

    def _remove(self, one: Accepted) -> None:
        if one.name:
            self._change(lambda tokens: tuple(t for t in tokens if t.sha256 != one.sha256))
            return
        while True:
            own, generation = read_document(self._storage, self._uri(one.role), RoleToken)
            assert own is not None, "a former token has a successor"
            former = tuple(t for t in own.former if t.sha256 != one.sha256)
            fresh = msgspec.structs.replace(own, former=former)
            try:
                write_document(self._storage, self._uri(one.role), fresh, generation)
            except (AlreadyExistsError, PreconditionFailedError):
                continue
            return

    def _change(self, change: Callable[[tuple[Accepted, ...]], tuple[Accepted, ...]]) -> None:
        """Replace the list of tokens that were given by name; raise LimitError if it is full."""
        uri = object_names.issued_tokens_uri(self._state_uri)
        while True:
            found, generation = read_document(self._storage, uri, IssuedTokens)
            now = self._clock.wall()
            valid = tuple(t for t in (found.tokens if found else ()) if t.is_valid(now))
            wanted = change(valid)
            if len(wanted) > ISSUED_MAX:
                raise LimitError(
                    f"The cluster has {ISSUED_MAX} tokens that were given by name, which is the "
                    "limit. Revoke some with `mrcore token revoke ID`."
                )
            try:
                write_document(self._storage, uri, IssuedTokens(wanted), generation)
            except (AlreadyExistsError, PreconditionFailedError):
                continue
            return

    @contextlib.contextmanager
    def _all_or_reloaded(self) -> Iterator[None]:
        """Accept what the state has, however a change of it has ended."""
        try:
            yield
        finally:
            self._load()

    def _load(self) -> None:
        own = {}
        for role in Role:
            found = find_document(self._storage, self._uri(role), RoleToken)
            if found is not None:
                own[role] = found
        self._accept(own)

    def _accept(self, own: dict[Role, RoleToken]) -> None:
        """Accept these tokens of the cluster, and those that were given by name."""
        uri = object_names.issued_tokens_uri(self._state_uri)
        issued = find_document(self._storage, uri, IssuedTokens)
        changed = _shown(own) != _shown(self._own)
        self._own = own
        named = issued.tokens if issued is not None else ()
        self.table.replace((*(one for token in own.values() for one in token.accepted()), *named))
        if changed:
            self.on_change()

    def _uri(self, role: Role) -> str:
        return object_names.token_uri(self._state_uri, role)

    async def run(self) -> None:
        """Read the tokens again where callers show one that is not known."""
        self._unknown = asyncio.Event()
        self.table.on_unknown = self._unknown.set
        while True:
            await self._unknown.wait()
            self._unknown.clear()
            try:
                await asyncio.to_thread(self.load)
            except MrcoreError as error:
                log.warning("the tokens cannot be read", extra={"error": str(error)})
            await asyncio.sleep(LOOK_AGAIN_SECONDS)


def _shown(own: Mapping[Role, RoleToken]) -> dict[Role, tuple[str, TlsKey | None]]:
    """Return what callers show of the tokens of each role."""
    return {role: (one.token, one.client_key) for role, one in own.items()}


@contextlib.contextmanager
def found_on_loopback(credentials: Credentials, tokens: Tokens, *, wanted: bool) -> Iterator[None]:
    """Leave credentials where other processes of this user look for them, if that is wanted.

    There is a file for each role. The files follow the tokens.
    """
    if not wanted:
        yield
        return
    port = int(credentials.address.rpartition(":")[2])
    inodes: dict[Role, int] = {}

    def save() -> None:
        for role in Role:
            path = loopback_file(port, role)
            save_credentials(credentials.of(tokens.own(role)), path)
            inodes[role] = path.stat().st_ino

    def save_again() -> None:
        try:
            save()
        except (UsageError, OSError) as error:
            log.warning("the credentials on loopback are out of date", extra={"error": str(error)})

    save()
    tokens.on_change = save_again
    try:
        yield
    finally:
        tokens.on_change = lambda: None
        for role, inode in inodes.items():
            # The port is free by now, and the next master there may have left its own.
            path = loopback_file(port, role)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()
