"""Find the credentials of a cluster: from a file, from the cluster's state, or on loopback.

This loads no gRPC before it must, so that a command fails fast where there is no master.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from mrcore.errors import ClusterUnreachableError, MrcoreError, NotFoundError, UsageError
from mrcore.model import object_names
from mrcore.rpc.cluster import (
    Credentials,
    Leader,
    credentials_of,
    format_address,
    is_loopback,
    load_credentials,
    loopback_file,
    parse_address,
)
from mrcore.rpc.greeting import Greeting, greet
from mrcore.rpc.roles import Role
from mrcore.rpc.tokens import RoleToken
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.decoding import UNREADABLE

REACH_SECONDS: Final = 5.0
"""Longest wait for a master that is not there; it may be starting just now."""
_RETRY_SECONDS: Final = 0.1
_GREETING_SECONDS: Final = 3.0
"""Shortest time that one connection may take: tunnels are slow at first."""
LOOK_AGAIN_SECONDS: Final = 1.0
"""Longest wait for credentials that are missing beside a master that answers."""
_LEADER_SECONDS: Final = 0.5
"""Pause between two looks for the leader of a state."""
_TAKE_OVER_SECONDS: Final = 20.0
"""Longest wait for a standby that lives to lead in place of a master that does not answer."""
_LIVE_SECONDS: Final = 15.0
"""Age of the record of a master that lives, at most, where clocks are not quite equal."""


def find_credentials(
    master: str | None,
    state_uri: str | None = None,
    credentials_file: str | None = None,
    *,
    role: Role = Role.USER,
    reach_seconds: float | None = REACH_SECONDS,
    clock: Clock = SYSTEM,
) -> Credentials:
    """Return what a caller of this role needs to call the master at `master`, or of `state_uri`.

    The first that is given counts: `credentials_file`, then the leader object of `state_uri`, then
    the file that a master of the same user leaves on loopback. A file may name several masters, of
    which the first that answers is taken. An explicit `master` replaces the addresses found there.
    Raises ClusterUnreachableError when nothing answers at the address within
    `reach_seconds` (None: do not look), before the credentials matter; UsageError otherwise.
    """
    address = greeting = None
    if master is not None:
        address = format_address(*parse_address(master))
        greeting = _reach(address, reach_seconds, clock)
    if credentials_file is not None:
        found = load_credentials(Path(credentials_file))
    elif state_uri is not None and address is None:
        return _reach_leader(state_uri, role, reach_seconds, clock)
    elif state_uri is not None:
        found = state_credentials(state_uri, role)
    elif address is not None:
        found = _loopback_credentials(address, role, reach_seconds, greeting, clock)
    else:
        raise UsageError("Which cluster? Give --master HOST:PORT or --state URI.")
    if address is None:
        found, greeting = _reach_any(found, reach_seconds, clock)
    else:
        found = msgspec.structs.replace(found, address=address, masters=())
    _check_certificate(found, greeting)
    return found


def read_leader(state_uri: str) -> Leader:
    """Return the leader object of a state; raise ClusterUnreachableError when it has none."""
    uri = object_names.leader_uri(state_uri)
    try:
        return msgspec.json.decode(storage_for(uri).read(uri), type=Leader)
    except NotFoundError:
        raise ClusterUnreachableError(
            f"No master has led the state {state_uri} yet. Start one with `mrcore master --state`, "
            "or check the URI."
        ) from None
    except UNREADABLE as error:
        raise UsageError(f"{uri} is not a leader object of mrcore: {error}.") from None


def read_role_token(state_uri: str, role: Role) -> RoleToken:
    """Return the cluster's token of a role, and its certificate, which lie in a state.

    Raises ClusterUnreachableError where there is none, PermissionDeniedError for who may not read
    it.
    """
    uri = object_names.token_uri(state_uri, role)
    try:
        return msgspec.json.decode(storage_for(uri).read(uri), type=RoleToken)
    except NotFoundError:
        raise ClusterUnreachableError(
            f"The state {state_uri} has no token of a {role}. Start a master of this version there."
        ) from None
    except UNREADABLE as error:
        raise UsageError(f"{uri} is not a token of mrcore: {error}.") from None


def state_credentials(state_uri: str, role: Role = Role.USER) -> Credentials:
    """Return how a caller of this role calls the leader that a state names."""
    return credentials_of(read_leader(state_uri), state_uri, read_role_token(state_uri, role))


def _reach_leader(state_uri: str, role: Role, seconds: float | None, clock: Clock) -> Credentials:
    """Return how to call the leader of a state.

    A master may be starting just now, or in place of the one that is named there: so each try
    reads the leader anew. Where another master lives it has time to take over.
    """
    if seconds is None:
        return state_credentials(state_uri, role)
    began = clock.monotonic()
    while True:
        try:
            found = state_credentials(state_uri, role)
            _check_certificate(found, _reach(found.address, 0.0, clock))
        except ClusterUnreachableError:
            left = began + seconds - clock.monotonic()
            if left <= _LEADER_SECONDS:
                if seconds >= _TAKE_OVER_SECONDS or not _is_standby_alive(state_uri, clock):
                    raise
                seconds = _TAKE_OVER_SECONDS
            clock.sleep(_LEADER_SECONDS)
        else:
            return found


def _is_standby_alive(state_uri: str, clock: Clock) -> bool:
    """Return whether a master lives besides the leader, as the records in a state show."""
    storage, earliest = storage_for(state_uri), clock.wall() - _LIVE_SECONDS
    try:
        leader = read_leader(state_uri).address
        infos = list(storage.list(object_names.masters_prefix(state_uri)))
        fresh = [info.uri for info in infos if info.modified_seconds > earliest]
        return any(msgspec.json.decode(storage.read(uri))["address"] != leader for uri in fresh)
    except (MrcoreError, KeyError, *UNREADABLE):
        return False  # the error of the caller says more


def _loopback_credentials(
    address: str,
    role: Role,
    reach_seconds: float | None,
    greeting: Greeting | None,
    clock: Clock,
) -> Credentials:
    host, port = parse_address(address)
    path = loopback_file(port, role)
    look_again = min(LOOK_AGAIN_SECONDS, reach_seconds or 0.0) if is_loopback(host) else 0.0
    end = clock.monotonic() + look_again
    while is_loopback(host):
        # A master that ends deletes the file, and the next one at this port writes it.
        try:
            return load_credentials(path)
        except UsageError:
            if os.path.lexists(path):
                raise
        if clock.monotonic() >= end:
            break
        clock.sleep(_RETRY_SECONDS)
    if greeting is Greeting.HTTP2:
        from mrcore.rpc.probe import serves_jobs  # loads gRPC, and this is how it ends anyway

        if not serves_jobs(address, REACH_SECONDS):
            raise _unreachable(address, "what listens there is not a master")
    if is_loopback(host) and reach_seconds is None:
        raise UsageError(
            f"No master of yours at {address} has left its credentials in {path}. Start one with "
            "`mrcore master`, check the port, or give --state URI or --credentials FILE."
        )
    if is_loopback(host):
        raise UsageError(
            f"The master at {address} is not one of yours, or has not left its credentials in "
            f"{path}. Check the port, or give --state URI or --credentials FILE."
        )
    raise UsageError(
        f"The master at {address} wants the cluster's token. Give --state URI, if you can read "
        "it, or --credentials FILE."
    )


def _unreachable(address: str, reason: str) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        f"No master answers at {address} ({reason}): is `mrcore master` running there, and is the "
        "port open?"
    )


def _check_certificate(found: Credentials, greeting: Greeting | None) -> None:
    """Raise UsageError for credentials without the certificate that a master wants."""
    if greeting is Greeting.WANTS_CERTIFICATE and found.client_key is None:
        raise UsageError(
            f"The master at {found.address} wants a client certificate. Give --state URI, or "
            "--credentials FILE with a new file of `mrcore token create`."
        )


def _reach_any(
    found: Credentials, seconds: float | None, clock: Clock
) -> tuple[Credentials, Greeting | None]:
    """Greet the masters of some credentials in turn, again until `seconds` have passed.

    Return the credentials with the address of the first that answers, and its greeting.
    """
    addresses = found.addresses
    if seconds is None or len(addresses) == 1:
        return found, _reach(found.address, seconds, clock)
    end = clock.monotonic() + seconds
    while True:
        for address in addresses:
            with contextlib.suppress(ClusterUnreachableError):
                greeting = _reach(address, 0.0, clock)
                return msgspec.structs.replace(found, address=address), greeting
        if end - clock.monotonic() <= _RETRY_SECONDS:
            raise ClusterUnreachableError(
                f"No master answers at {', '.join(addresses[:-1])} or {addresses[-1]}: is "
                "`mrcore master` running there, and is the port open?"
            )
        clock.sleep(_RETRY_SECONDS)


def _reach(address: str, seconds: float | None, clock: Clock) -> Greeting | None:
    """Greet what listens at an address, trying again until `seconds` have passed.

    Return its greeting; None where nobody is to look.
    """
    if seconds is None:
        return None
    host, port = parse_address(address)
    end = clock.monotonic() + seconds
    while True:
        try:
            greeting = greet(host, port, max(end - clock.monotonic(), _GREETING_SECONDS))
            if greeting is not Greeting.OTHER:
                return greeting
            reason = "what listens there does not speak gRPC"
        except OSError as error:
            reason = error.strerror or str(error) or "no answer"
            if isinstance(error, socket.gaierror):
                end = clock.monotonic()  # it will not resolve better by waiting
        if end - clock.monotonic() <= _RETRY_SECONDS:
            raise _unreachable(address, reason)
        clock.sleep(_RETRY_SECONDS)
