"""Settings of buckets, not obeyed, and their policies, see `access`."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from tests.gcsserver.errors import ApiError

DEFAULTS: dict[str, Any] = {
    "location": "US",
    "locationType": "multi-region",
    "storageClass": "STANDARD",
    "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
}
"""Fields that `buckets.insert` and `patch` may change, each as a whole."""
FIXED = ("kind", "id", "name", "selfLink", "projectNumber", "metageneration", "etag")


class Bucket:
    """One bucket's own resource and policy."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self._settings: dict[str, Any] = {}
        self._bindings: list[dict[str, Any]] = []
        self._changes = 0
        self.change(DEFAULTS | dict(settings or {}))

    def change(self, settings: Mapping[str, Any]) -> None:
        """Set these fields; null takes one away."""
        self._changes += 1
        for field, value in settings.items():
            if field in FIXED:
                continue
            if value is None:
                self._settings.pop(field, None)
            else:
                self._settings[field] = value

    def resource(self, name: str, base_url: str) -> dict[str, Any]:
        return {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "selfLink": f"{base_url}/storage/v1/b/{name}",
            "projectNumber": "1",
            "metageneration": str(self._changes),
            "etag": b64encode(str(self._changes).encode()).decode(),
            **self._settings,
        }

    @property
    def bindings(self) -> Sequence[Mapping[str, Any]]:
        """Those of the policy."""
        return self._bindings

    def policy(self, name: str) -> dict[str, Any]:
        content = json.dumps(self._bindings, sort_keys=True).encode()
        # Of letters: gcloud decodes and encodes it, with another alphabet above these.
        etag = b64encode(hashlib.sha256(content).hexdigest()[:12].encode()).decode()
        return {
            "kind": "storage#policy",
            "resourceId": f"projects/_/buckets/{name}",
            "version": 3,
            "etag": etag,
            "bindings": [dict(binding) for binding in self._bindings],
        }

    def set_policy(self, name: str, wanted: Mapping[str, Any]) -> None:
        """Replace the policy; raise 412 when it has changed since it was read."""
        etag = wanted.get("etag")
        if etag is not None and etag != self.policy(name)["etag"]:
            raise ApiError(412, "conditionNotMet", "The policy has changed.")
        conditional = [b for b in wanted.get("bindings", ()) if b.get("condition")]
        uniform = self._settings.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
        if conditional and not uniform.get("enabled"):
            raise ApiError(
                400, "invalid", "Conditions need uniform bucket-level access to be enabled."
            )
        if conditional and wanted.get("version") != 3:
            raise ApiError(400, "invalid", "A policy with conditions needs version 3.")
        self._bindings = [dict(binding) for binding in wanted.get("bindings", ())]
