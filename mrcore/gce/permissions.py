"""Which permissions on the project the person at the runner lacks: gcloud has no command for it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Final

from mrcore.errors import MrcoreError

NEEDED: Final = (
    "compute.disks.create",
    "compute.firewalls.create",
    "compute.firewalls.delete",
    "compute.instanceGroupManagers.create",
    "compute.instanceGroupManagers.delete",
    "compute.instanceTemplates.create",
    "compute.instanceTemplates.delete",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.setMetadata",
    "compute.networks.updatePolicy",
    "compute.subnetworks.use",
)
"""To make and remove a cluster."""
NEEDED_FOR_IAM: Final = (
    "iam.roles.create",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.create",
    "resourcemanager.projects.setIamPolicy",
)
"""To make its accounts as well."""
NEEDED_FOR_TUNNEL: Final = ("iap.tunnelInstances.accessViaIAP",)

_ENDPOINT: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER"
_TIMEOUT_SECONDS: Final = 30.0


def missing(project: str, token: str, wanted: Sequence[str]) -> list[str]:
    """Return those of the permissions that the bearer of a token does not have on a project.

    Raises MrcoreError when the service does not say.
    """
    base = os.environ.get(_ENDPOINT) or "https://cloudresourcemanager.googleapis.com/"
    request = urllib.request.Request(
        f"{base}v1/projects/{project}:testIamPermissions",
        data=json.dumps({"permissions": list(wanted)}).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            granted = json.load(answer).get("permissions", [])
    except (OSError, ValueError) as error:
        raise MrcoreError(f"The permissions on {project} cannot be asked for ({error}).") from error
    return [permission for permission in wanted if permission not in granted]
