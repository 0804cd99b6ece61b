"""Tokens of a cluster: how they are stored, and the check of a token that a caller shows.

A token is 256 random bits, so its plain SHA-256 says nothing of it. The cluster has one token for
each role, which those read who may read that object of the state. Of tokens that were replaced, or
given to somebody by name, only hashes are stored.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from mrcore.rpc.certificates import TlsKey
from mrcore.rpc.roles import Role
from mrcore.util.clock import SYSTEM, Clock

NEVER: Final = 0.0
"""Time of expiry of a token that does not expire."""
FORMER_MAX: Final = 32
"""Replaced tokens of a role that are valid at once; an older one ends early."""
ISSUED_MAX: Final = 256
"""Tokens that are given by name and valid at once."""
TOKEN_BYTES_MAX: Final = 512
"""Longest token that is looked at."""
KNOWN_MAX: Final = 1_024
"""Headers whose roles a table remembers: more than it has tokens."""
_SCHEME: Final = b"Bearer "
_ID_LENGTH: Final = 12


def new_token() -> str:
    """Return a new token."""
    return secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """Return what is stored of a token: its SHA-256 in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


class Accepted(msgspec.Struct, frozen=True):
    """A token that is accepted, known by its hash."""

    sha256: str
    role: Role
    created_at: float = 0.0
    """Wall-clock time, seconds since 1970."""
    expires_at: float = NEVER
    """Wall-clock time at which it ends; `NEVER` if it does not."""
    name: str = ""
    """Name that somebody gave it; empty for the cluster's own."""

    @property
    def token_id(self) -> str:
        """Return the name of a token in lists and logs, from which it cannot be guessed."""
        return self.sha256[:_ID_LENGTH]

    def is_valid(self, wall_seconds: float) -> bool:
        """Return whether it has not expired."""
        return self.expires_at == NEVER or wall_seconds < self.expires_at


class RoleToken(msgspec.Struct, frozen=True, kw_only=True):
    """The object `STATE/tokens/<role>.json`: the cluster's own token of a role."""

    role: Role
    token: str
    created_at: float
    former: tuple[Accepted, ...] = ()
    """Tokens that this one has replaced, newest first, while they are valid."""
    client_key: TlsKey | None = None
    """Certificate for callers of this role, and its key; None where no master has wanted one."""

    def accepted(self) -> tuple[Accepted, ...]:
        """Return the token and those that it has replaced, by their hashes."""
        return (Accepted(hash_of(self.token), self.role, self.created_at), *self.former)

    def rotated(self, token: str, wall_seconds: float, grace_seconds: float) -> RoleToken:
        """Return what follows: a new token, beside which the present one is valid for a while."""
        end = wall_seconds + grace_seconds
        former = tuple(
            one if one.expires_at != NEVER and one.expires_at < end else _ending(one, end)
            for one in self.accepted()
        )
        kept = tuple(one for one in former if one.is_valid(wall_seconds))[:FORMER_MAX]
        return RoleToken(
            role=self.role,
            token=token,
            created_at=wall_seconds,
            former=kept,
            client_key=self.client_key,
        )


class IssuedTokens(msgspec.Struct, frozen=True):
    """The object `STATE/tokens/issued.json`: tokens that were given to somebody by name."""

    tokens: tuple[Accepted, ...] = ()


def _ending(one: Accepted, wall_seconds: float) -> Accepted:
    return msgspec.structs.replace(one, expires_at=wall_seconds)


class _Known(msgspec.Struct, frozen=True):
    """Roles of a header that was checked, while its tokens are valid."""

    roles: frozenset[Role]
    until: float
    """Wall-clock time at which the first of its tokens ends."""


class TokenTable:
    """The tokens that a server accepts. It is replaced as a whole, from any thread."""

    def __init__(self, accepted: Iterable[Accepted] = (), clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._accepted: tuple[tuple[bytes, Accepted], ...] = ()
        self._known: dict[bytes, _Known] = {}
        """Valid headers that came before: a worker sends the same one with each call."""
        self.on_unknown: Callable[[], None] = lambda: None
        """Called for each token that is not known: it may be new in the state."""
        self.replace(accepted)

    def __bool__(self) -> bool:
        return bool(self._accepted)

    def __iter__(self) -> Iterator[Accepted]:
        """Yield the tokens that are valid now."""
        now = self._clock.wall()
        return iter([one for _, one in self._accepted if one.is_valid(now)])

    def replace(self, accepted: Iterable[Accepted]) -> None:
        """Accept these tokens from now on, and no others."""
        self._accepted = tuple((bytes.fromhex(one.sha256), one) for one in accepted)
        # A check that is under way in another thread remembers its result in the former dict.
        self._known = {}

    def roles_of(self, authorization: bytes) -> frozenset[Role]:
        """Return the roles of the header of a call; none where its token is not valid.

        Hashes of equal length are compared, and always all of them, so the time that this takes
        says nothing of any token. A header that was valid is found by Python's keyed hash of all of
        it, whose time says nothing either.
        """
        remembered = self._known
        known = remembered.get(authorization)
        now = self._clock.wall()
        if known is not None and now < known.until:
            return known.roles
        token = authorization.removeprefix(_SCHEME)
        if len(token) == len(authorization) or len(token) > TOKEN_BYTES_MAX:
            return frozenset()
        given = hashlib.sha256(token).digest()
        found = [
            one
            for digest, one in self._accepted
            if hmac.compare_digest(given, digest) and one.is_valid(now)
        ]
        roles = frozenset(one.role for one in found)
        if roles:
            if len(remembered) >= KNOWN_MAX:
                remembered.clear()
            ends = [one.expires_at for one in found if one.expires_at != NEVER]
            remembered[authorization] = _Known(roles, min(ends, default=math.inf))
        return roles
