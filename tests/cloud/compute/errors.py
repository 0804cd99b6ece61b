"""Errors of the APIs, in the words of the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.gcsserver.errors import ApiError

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class CloudError(ApiError):
    """A refusal of a request."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(status, reason, message)
        self.details = details

    def body(self) -> bytes:
        """Return the JSON that the API answers."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        error: dict[str, Any] = {"code": self.status, "message": self.message, "errors": [detail]}
        error["status"] = _STATUS.get(self.status, "UNKNOWN")
        if self.details:
            error["details"] = list(self.details)
        return json.dumps({"error": error}).encode()


class OperationError(Exception):
    """An operation that was accepted and came to nothing: code, sentence, and HTTP equivalent."""

    def __init__(self, code: str, message: str, http_status: int, http_message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
        self.http_message = http_message


def invalid(field: str, value: object, why: str) -> CloudError:
    """Refuse the value of a field; `why` is a sentence."""
    return CloudError(400, "invalid", f"Invalid value for field '{field}': '{value}'. {why}")


def required(field: str) -> CloudError:
    return CloudError(400, "required", f"Required field '{field}' not specified")


def not_found(path: str) -> CloudError:
    """Return the error for a missing resource; its path begins with `projects/`."""
    return CloudError(404, "notFound", f"The resource '{path}' was not found")


def already_exists(path: str) -> CloudError:
    return CloudError(409, "alreadyExists", f"The resource '{path}' already exists")


def stale(what: str) -> CloudError:
    """Refuse a change that was made from an older state than the present one."""
    return CloudError(
        412, "conditionNotMet", f"Supplied fingerprint does not match current {what} fingerprint."
    )


def in_use(path: str, by: str) -> CloudError:
    message = f"The {path.split('/')[-2]} resource '{path}' is already being used by '{by}'"
    return CloudError(400, "resourceInUseByAnotherResource", message)


def not_ready(path: str) -> CloudError:
    return CloudError(400, "resourceNotReady", f"The resource '{path}' is not ready")


def forbidden(permission: str, resource: str) -> CloudError:
    """Refuse a caller who lacks the permission on the resource."""
    return CloudError(403, "forbidden", f"Required '{permission}' permission for '{resource}'")


def service_disabled(service: str, title: str, project: str) -> CloudError:
    """Refuse a call of an API that is off in the project."""
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project}"
    message = (
        f"{title} has not been used in project {project} before or it is disabled. Enable it by "
        f"visiting {url} then retry. If you enabled this API recently, wait a few minutes for the "
        "action to propagate to our systems and retry."
    )
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": service, "consumer": f"projects/{project}"},
    }
    return CloudError(403, "accessNotConfigured", message, [detail])


def stockout(machine_type: str, zone_path: str) -> OperationError:
    """Return the error of a zone that has no machine of that type just now."""
    message = (
        f"The zone '{zone_path}' does not have enough resources available to fulfill the request. "
        f"(resource type:compute; machine type:{machine_type})"
    )
    return OperationError("ZONE_RESOURCE_POOL_EXHAUSTED", message, 503, "SERVICE UNAVAILABLE")


def quota_exceeded(metric: str, limit: float, where: str) -> OperationError:
    message = f"Quota '{metric}' exceeded.  Limit: {limit:.1f} {where}."
    return OperationError("QUOTA_EXCEEDED", message, 403, "FORBIDDEN")
