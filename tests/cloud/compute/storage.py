"""Access to objects: the GCS server asks this where IAM counts there, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.cloud.compute.access import TOKEN_OF, Access
from tests.gcsserver.access import Need
from tests.gcsserver.errors import ApiError
from tests.gcsserver.wire import Request

_SERVICE = "storage.googleapis.com"


class StorageAccess:
    """Knows callers by the token of an account, or by the address that they call from.

    account_at: the account for an address; None for a VM without one.
    """

    def __init__(self, access: Access, account_at: Callable[[str], str | None]) -> None:
        self._access = access
        self._account_at = account_at

    def _caller(self, request: Request) -> str | None:
        if TOKEN_OF in request.headers.get("authorization", ""):
            return self._access.caller(request)
        return self._account_at(request.source)

    def check(self, request: Request, need: Need, bindings: Sequence[Mapping[str, Any]]) -> None:
        """Raise 403, or 401 for nobody, unless the caller may do that to a bucket or an object."""
        kind = "Bucket" if need.name is None else "Object"
        attributes = {
            "resource.name": need.resource,
            "resource.service": _SERVICE,
            "resource.type": f"{_SERVICE}/{kind}",
        }
        if need.permission == "storage.objects.list":
            attributes[f"{_SERVICE}/objectListPrefix"] = need.prefix
        caller = self._caller(request)
        if caller is None:
            raise ApiError(401, "required", _refusal("Anonymous caller", need.permission, kind))
        if not self._access.allows(caller, need.permission, attributes, bindings):
            raise ApiError(403, "forbidden", _refusal(caller, need.permission, kind))


def _refusal(caller: str, permission: str, kind: str) -> str:
    return (
        f"{caller} does not have {permission} access to the Google Cloud Storage {kind.lower()}. "
        f"Permission '{permission}' denied on resource (or it may not exist)."
    )
