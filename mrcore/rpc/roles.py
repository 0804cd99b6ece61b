"""Roles of callers, and the one table of what each of them may call.

A method that is not in the table is refused to everybody, so a new one has to be added here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """Kind of caller that a token stands for."""

    USER = "user"
    """A person or program that submits and reads jobs."""
    WORKER = "worker"
    """A worker daemon."""


USERS: Final = frozenset({Role.USER})
WORKERS: Final = frozenset({Role.WORKER})
EVERY_ROLE: Final = frozenset(Role)

_PACKAGE: Final = "mrcore.rpc.v1"
_BY_SERVICE: Final = {
    f"{_PACKAGE}.JobService": (
        USERS,
        "Submit Resume Get List Cancel Watch ListTasks GetTask ListWorkers DrainWorker ListMasters "
        "GetFleet ReadLog",
    ),
    f"{_PACKAGE}.CallService": (
        USERS,
        "OpenSession AddCalls WatchCalls CancelCalls ReleaseCalls CloseSession PutObject "
        "ReadObject ReleaseResults",
    ),
    f"{_PACKAGE}.TokenService": (USERS, "ListTokens RotateTokens CreateToken RevokeToken"),
    f"{_PACKAGE}.WorkerService": (WORKERS, "Synchronize"),
    "grpc.health.v1.Health": (EVERY_ROLE, "Check Watch List"),
    "grpc.reflection.v1alpha.ServerReflection": (USERS, "ServerReflectionInfo"),
}
METHODS: Final = {
    f"/{service}/{method}": roles
    for service, (roles, methods) in _BY_SERVICE.items()
    for method in methods.split()
}
"""Roles that may call a method, by its full name."""

ABSENT: Final = ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",)
"""Methods that tools try before another one. Nobody may call them, and all learn that at once."""


def refusal(method: str, held: frozenset[Role]) -> str:
    """Return the sentence for a call that the caller's role does not allow."""
    wanted = " or ".join(sorted(METHODS.get(method, ())))
    name = method.rpartition("/")[2]
    return (
        f"The token of a {' or '.join(sorted(held))} does not allow {name}. "
        f"Use the credentials of a {wanted}."
    )
