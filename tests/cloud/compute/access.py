"""Access: the project's policy, roles, service accounts, and the services that are on."""

from __future__ import annotations

import base64
import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from tests.cloud.compute import catalog, conditions, links
from tests.cloud.compute.errors import CloudError, forbidden, service_disabled
from tests.cloud.compute.store import Resource, Store
from tests.gcsserver.wire import Request

OWNER = "owner@example.com"
"""Identity of a caller whose token is not that of a service account."""

TOKEN_OF = "token-of-"
"""A bearer token `token-of-EMAIL` speaks for that service account."""

_EVERYTHING = ("*",)
PREDEFINED: dict[str, tuple[str, ...]] = {
    "roles/owner": _EVERYTHING,
    "roles/editor": _EVERYTHING,
    "roles/viewer": ("*.get", "*.list"),
    "roles/compute.admin": ("compute.*", "resourcemanager.projects.get"),
    "roles/compute.instanceAdmin.v1": (
        *("compute.instances.*", "compute.instanceGroupManagers.*", "compute.instanceGroups.*"),
        *("compute.instanceTemplates.*", "compute.disks.*", "compute.images.*"),
        *("compute.*Operations.*", "compute.subnetworks.use*", "compute.subnetworks.get"),
        *("compute.*.list", "compute.projects.get", "compute.regions.get", "compute.zones.get"),
        "compute.machineTypes.get",
    ),
    "roles/compute.networkAdmin": ("compute.networks.*", "compute.subnetworks.*"),
    "roles/compute.securityAdmin": ("compute.firewalls.*", "compute.networks.updatePolicy"),
    "roles/compute.viewer": ("compute.*.get", "compute.*.list"),
    "roles/iam.serviceAccountUser": (
        *("iam.serviceAccounts.actAs", "iam.serviceAccounts.get", "iam.serviceAccounts.list"),
    ),
    "roles/iam.serviceAccountTokenCreator": ("iam.serviceAccounts.getAccessToken",),
    "roles/iap.tunnelResourceAccessor": ("iap.tunnelInstances.accessViaIAP",),
    "roles/logging.logWriter": ("logging.logEntries.create",),
    "roles/monitoring.metricWriter": ("monitoring.timeSeries.create",),
    "roles/storage.admin": ("storage.*",),
    "roles/storage.objectAdmin": ("storage.objects.*",),
    "roles/storage.objectCreator": ("storage.objects.create",),
    "roles/storage.objectViewer": ("storage.objects.get", "storage.objects.list"),
    "roles/storage.objectUser": ("storage.objects.*",),
    "roles/storage.bucketViewer": ("storage.buckets.get", "storage.buckets.list"),
}


_NAMED = {
    "disks": "Disk",
    "firewalls": "Firewall",
    "images": "Image",
    "instanceTemplates": "InstanceTemplate",
    "instances": "Instance",
}
"""Resources of this cloud that conditions know by name; managed groups are not among them."""


def attributes_of(permission: str, resource: str) -> dict[str, str]:
    """Return what a condition sees of the full path of a resource of Compute Engine.

    The right to list is asked of the project, which has no name in conditions.
    """
    parts = resource.split("/")
    if len(parts) == 2 or permission.endswith(".list"):
        service = "cloudresourcemanager.googleapis.com"
        return {"resource.service": service, "resource.type": f"{service}/Project"}
    service = "compute.googleapis.com"
    for at, kind in enumerate(parts[:-1]):
        if at > 1 and kind in _NAMED:
            named = {"resource.name": "/".join(parts[: at + 2])}
            return named | {
                "resource.service": service,
                "resource.type": f"{service}/{_NAMED[kind]}",
            }
    return {"resource.service": service, "resource.type": f"{service}/{parts[-2]}"}


class Access:
    """The policy and the accounts of the project, and what follows from them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.accounts: dict[str, Resource] = {}
        self.roles: dict[str, Resource] = {}
        """The project's own roles by their full names, `projects/P/roles/ID`."""
        self.policies: dict[str, Resource] = {}
        """Policies by the full name of their resource: the project, or a service account."""
        self.disabled: set[str] = set()
        """Services that are off."""
        self.denied: list[tuple[str, str]] = []
        """Patterns of callers and of permissions which they lack, whatever the policy says."""
        self.project_name = f"projects/{store.project}"
        self.add_account("", "Compute Engine default service account", self.default_account)
        self.set_policy(
            self.project_name,
            {
                "bindings": [
                    {"role": "roles/editor", "members": [f"serviceAccount:{self.default_account}"]},
                    {"role": "roles/owner", "members": [f"user:{OWNER}"]},
                ]
            },
        )

    @property
    def default_account(self) -> str:
        return f"{self._store.number}-compute@developer.gserviceaccount.com"

    def email_of(self, account_id: str) -> str:
        return f"{account_id}@{self._store.project}.iam.gserviceaccount.com"

    def add_account(self, account_id: str, title: str, email: str | None = None) -> Resource:
        email = email or self.email_of(account_id)
        account = {
            "name": f"{self.project_name}/serviceAccounts/{email}",
            "projectId": self._store.project,
            "uniqueId": str(10**20 + self._store.new_id()),
            "email": email,
            "displayName": title,
            "etag": base64.b64encode(b"account").decode(),
            "oauth2ClientId": str(10**20 + self._store.new_id()),
        }
        self.accounts[email] = account
        return account

    def policy(self, name: str) -> Resource:
        """Return the policy of a resource; one that nobody has set is empty, but has an etag."""
        return self.policies.get(name, {"version": 1, "etag": _etag([])})

    def set_policy(self, name: str, policy: Mapping[str, Any]) -> Resource:
        bindings = [dict(binding) for binding in policy.get("bindings", ()) if binding["members"]]
        conditional = any("condition" in binding for binding in bindings)
        kept = {"version": 3 if conditional else 1, "bindings": bindings, "etag": _etag(bindings)}
        self.policies[name] = kept
        return kept

    def caller(self, request: Request) -> str:
        """Return who asks; raise 401 for the token of an account that is not there."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not token.startswith(TOKEN_OF):
            return OWNER
        email = token.removeprefix(TOKEN_OF)
        if email not in self.accounts:
            raise CloudError(401, "authError", "Invalid Credentials")
        return email

    def member(self, caller: str) -> str:
        return f"user:{caller}" if caller == OWNER else f"serviceAccount:{caller}"

    def has(self, caller: str, permission: str, resource: str, also: str | None = None) -> bool:
        """Return whether a caller has a permission on a resource.

        `also` names a resource with a policy of its own, where a grant counts as well.
        """
        bindings = self.policy(also).get("bindings", ()) if also else ()
        return self.allows(caller, permission, attributes_of(permission, resource), bindings)

    def allows(
        self,
        caller: str,
        permission: str,
        attributes: Mapping[str, str],
        bindings: Iterable[Mapping[str, Any]],
    ) -> bool:
        """Return whether a caller has a permission on what conditions see by these attributes.

        `bindings` are those of the resource itself; the project's count as well.
        """
        for who, what in self.denied:
            if fnmatch.fnmatchcase(caller, who) and fnmatch.fnmatchcase(permission, what):
                return False
        if caller == OWNER:
            return True
        everywhere = self.policy(self.project_name).get("bindings", ())
        seen = {**attributes, "request.time": links.utc(self._store.now())}
        return any(
            self._grants(binding, caller, permission, seen) for binding in (*everywhere, *bindings)
        )

    def _grants(
        self,
        binding: Mapping[str, Any],
        caller: str,
        permission: str,
        attributes: Mapping[str, str],
    ) -> bool:
        if not {self.member(caller), "allUsers", "allAuthenticatedUsers"} & {*binding["members"]}:
            return False
        condition = binding.get("condition")
        if condition and not conditions.holds(condition["expression"], attributes):
            return False
        return any(
            fnmatch.fnmatchcase(permission, pattern) for pattern in self.patterns(binding["role"])
        )

    def patterns(self, role: str) -> Iterable[str]:
        """Return the patterns of the permissions in a role, none for a role that is not there."""
        own = self.roles.get(role)
        if own is not None:
            return () if own.get("deleted") else own.get("includedPermissions", ())
        return PREDEFINED.get(role, ())

    def check(self, caller: str, permission: str, resource: str) -> None:
        """Raise 403 unless a caller has a permission on a resource (a full path)."""
        if not self.has(caller, permission, resource):
            raise forbidden(permission, resource)

    def check_act_as(self, caller: str, email: str) -> None:
        """Raise 400, as the real API does, for an account that the caller may not run VMs as."""
        name = f"{self.project_name}/serviceAccounts/{email}"
        act = "iam.serviceAccounts.actAs"
        if email not in self.accounts or not self.has(caller, act, name, also=name):
            raise CloudError(
                400,
                "SERVICE_ACCOUNT_ACCESS_DENIED",
                f"The user does not have access to service account '{email}'.  User: '{caller}'.  "
                "Ask a project owner to grant you the iam.serviceAccountUser role on the service "
                "account",
            )

    def check_service(self, service: str) -> None:
        """Raise 403 where an API is off."""
        if service in self.disabled:
            raise service_disabled(service, catalog.SERVICES[service], str(self._store.number))


def _etag(bindings: object) -> str:
    return links.fingerprint(bindings)
