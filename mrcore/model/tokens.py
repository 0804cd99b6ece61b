"""Description of a token: everything but its secret."""

from __future__ import annotations

import msgspec


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is valid."""

    token_id: str
    """Name for lists and for its revocation, from which it cannot be guessed."""
    role: str
    """`user` or `worker`."""
    name: str
    """Name that was given with it; empty for the cluster's own."""
    created_at: float
    """Wall-clock time, seconds since 1970."""
    expires_at: float
    """Wall-clock time at which it ends; 0 if it does not."""
    current: bool
    """Whether this is the cluster's own token of its role, and was not replaced."""
