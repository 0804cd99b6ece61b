"""Error answers of the API."""

from __future__ import annotations

import json


class ApiError(Exception):
    """A refusal: HTTP status, the API's word for it, and a sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def body(self) -> bytes:
        """Return the JSON that the API answers."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"code": self.status, "message": self.message, "errors": [detail]}
        return json.dumps({"error": error}).encode()


def invalid(message: str) -> ApiError:
    return ApiError(400, "invalid", message)


def required(what: str) -> ApiError:
    return ApiError(400, "required", f"Required parameter: {what}")


def no_bucket() -> ApiError:
    return ApiError(404, "notFound", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> ApiError:
    return ApiError(404, "notFound", f"No such object: {bucket}/{name}")


def condition_not_met() -> ApiError:
    message = "At least one of the pre-conditions you specified did not hold."
    return ApiError(412, "conditionNotMet", message)


def not_modified() -> ApiError:
    return ApiError(304, "notModified", "Not Modified")
