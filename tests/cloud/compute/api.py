"""The API as a test speaks it by hand: paths below the project, JSON in and out."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.cloud.compute.threaded import ThreadedCloud

ZONE = "us-central1-a"
REGION = "us-central1"
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"


class RefusedError(Exception):
    """The API has refused: `status` of HTTP, and its `reason` and `message`."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"{status}: {error['message']}")
        self.status = status
        self.reason = error["errors"][0]["reason"]
        self.message = error["message"]
        self.details = error.get("details", [])


@dataclass(frozen=True, slots=True)
class Api:
    """Requests to a cloud, as one caller."""

    cloud: ThreadedCloud
    token: str = "owner"

    def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> bytes:
        """Return the body of the answer; raise RefusedError for any but 2xx."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        request = urllib.request.Request(
            f"{self.cloud.url}{path}", data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request) as response:
                answer: bytes = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, json.loads(error.read())["error"]) from None
        return answer

    def compute(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        """Call the Compute API with a path below the project, as `zones/Z/instances`."""
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        project = self.cloud.server.core.store.project
        slash = "/" if path else ""
        answer = self.send(method, f"/compute/v1/projects/{project}{slash}{path}{query}", body)
        return dict(json.loads(answer))

    def rest(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call one of the other APIs with a whole path."""
        return dict(json.loads(self.send(method, path, body)))

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self.compute("GET", path, **params)

    def do(self, method: str, path: str, body: Any = None, **params: Any) -> dict[str, Any]:
        """Make a change and wait for its end; return the operation."""
        operation = self.compute(method, path, body, **params)
        scope = self.cloud.server.core.store.path_of(operation["selfLink"])
        while operation["status"] != "DONE":
            operation = self.compute("POST", f"{scope}/wait")
        return operation

    def exists(self, path: str) -> bool:
        return self.cloud.resource(path) is not None


def instance_body(name: str, **fields: Any) -> dict[str, Any]:
    """Return the least that makes an instance."""
    return {
        "name": name,
        "machineType": f"zones/{ZONE}/machineTypes/e2-medium",
        "disks": disks_from(DEBIAN),
        **fields,
    }


def disks_from(image: str) -> list[dict[str, Any]]:
    """Return the disks of an instance that boots from an image and keeps none of them."""
    return [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}]


def template_body(name: str, **properties: Any) -> dict[str, Any]:
    """Return a template of spot VMs which are deleted when they are taken away."""
    scheduling = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}
    whole = instance_body("", machineType="n2-standard-4", scheduling=scheduling) | properties
    del whole["name"]
    return {"name": name, "properties": whole}
