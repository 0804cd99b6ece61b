"""Permissions that the person at the runner lacks: gcloud has no command for that question."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
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
    "compute.instances.list",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setServiceAccount",
    "compute.instances.setTags",
    "compute.networks.updatePolicy",
    "compute.subnetworks.use",
)
"""Permissions to make and remove a cluster."""
NEEDED_FOR_IAM: Final = (
    "iam.roles.create",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.list",
    "resourcemanager.projects.getIamPolicy",
    "resourcemanager.projects.setIamPolicy",
)
"""Permissions to make its accounts as well, and to grant them rights."""
NEEDED_ON_BUCKET: Final = (
    "storage.objects.create",
    "storage.objects.delete",
    "storage.objects.get",
    "storage.objects.list",
)
"""Permissions to keep a cluster's home, with its record, wheels and logs."""
NEEDED_ON_BUCKET_FOR_IAM: Final = ("storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy")
NEEDED_FOR_TUNNEL: Final = ("iap.tunnelInstances.accessViaIAP",)

_ENDPOINT: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER"
_STORAGE_ENDPOINT: Final = "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"
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
    return _lacking(request, project, wanted)


def missing_on_bucket(bucket_uri: str, token: str | None, wanted: Sequence[str]) -> list[str]:
    """Return those of the permissions that the bearer of a token does not have on a bucket.

    Without a token, return those that the public does not have. A bucket that does not exist lacks
    none; other checks report it. Raises MrcoreError if the service does not answer.
    """
    base = os.environ.get(_STORAGE_ENDPOINT) or "https://storage.googleapis.com/"
    query = urllib.parse.urlencode([("permissions", permission) for permission in wanted])
    bucket = urllib.parse.quote(bucket_uri.removeprefix("gs://"), safe="")
    request = urllib.request.Request(
        f"{base.rstrip('/')}/storage/v1/b/{bucket}/iam/testPermissions?{query}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    return _lacking(request, bucket_uri, wanted)


def closed(bucket_uri: str, token: str, account: str, *, writes: bool) -> str | None:
    """Return why the VMs will not get into a bucket of others, as far as that is known before.

    token: of the person, who may be able to let them in; account: of the workers.
    """
    if not missing_on_bucket(bucket_uri, token, NEEDED_ON_BUCKET_FOR_IAM):
        return None
    needed = NEEDED_ON_BUCKET if writes else ("storage.objects.get", "storage.objects.list")
    if not missing_on_bucket(bucket_uri, None, needed):
        return None
    role, verb = ("objectAdmin", "write") if writes else ("objectViewer", "read")
    return (
        f"{bucket_uri} is not yours, so you cannot let the VMs {verb} it. Ask its owner to run "
        f"gcloud storage buckets add-iam-policy-binding {bucket_uri} "
        f"--member=serviceAccount:{account} --role=roles/storage.{role} (and for "
        f"{account.replace('worker', 'master', 1)} too), then say --shared-bucket {bucket_uri}."
    )


def _lacking(request: urllib.request.Request, subject: str, wanted: Sequence[str]) -> list[str]:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            granted = json.load(answer).get("permissions", [])
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return []
        raise _unsaid(subject, error) from error
    except (OSError, ValueError) as error:
        raise _unsaid(subject, error) from error
    return [permission for permission in wanted if permission not in granted]


def _unsaid(subject: str, error: Exception) -> MrcoreError:
    return MrcoreError(f"The permissions on {subject} cannot be asked for ({error}).")
