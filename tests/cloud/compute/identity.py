"""The methods of IAM: service accounts and roles. Its refusals are gRPC's, in JSON."""

from __future__ import annotations

import re

from tests.cloud.compute import catalog
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError
from tests.cloud.compute.policy import Policies
from tests.cloud.compute.routing import Call, Route, merged
from tests.cloud.compute.store import Resource

_ACCOUNT_ID = re.compile(r"[a-z](?:[-a-z0-9]{4,28}[a-z0-9])")
_ROLE_ID = re.compile(r"[a-zA-Z0-9_.]{3,64}")


class Identity:
    """The methods of service accounts and of the project's own roles."""

    def __init__(self, core: Core, policies: Policies) -> None:
        self._core = core
        self._access = core.access
        self._policies = policies

    def routes(self) -> list[Route]:
        accounts, roles = "/v1/projects/{project}/serviceAccounts", "/v1/projects/{project}/roles"
        account, role = accounts + "/{email}", roles + "/{role}"
        api, own = "iam.serviceAccounts", "iam.roles"
        return [
            Route("GET", accounts, f"{api}.list", self.accounts),
            Route("POST", accounts, f"{api}.insert", self.create_account),
            Route("GET", account, f"{api}.get", self.account),
            Route("DELETE", account, f"{api}.delete", self.delete_account),
            Route("PATCH", account, f"{api}.patch", self.patch_account),
            Route("GET", f"{account}:getIamPolicy", f"{api}.getIamPolicy", self.get_policy),
            Route("POST", f"{account}:getIamPolicy", f"{api}.getIamPolicy", self.get_policy),
            Route("POST", f"{account}:setIamPolicy", f"{api}.setIamPolicy", self.set_policy),
            Route("POST", f"{account}:testIamPermissions", f"{api}.test", self.test, ""),
            Route("GET", roles, f"{own}.list", self.roles),
            Route("POST", roles, f"{own}.insert", self.create_role),
            Route("GET", role, f"{own}.get", self.role),
            Route("PATCH", role, f"{own}.patch", self.patch_role),
            Route("DELETE", role, f"{own}.delete", self.delete_role),
            Route("POST", f"{role}:undelete", f"{own}.undelete", self.undelete_role),
            Route("GET", "/v1/roles/{role}", f"{own}.getPredefined", self.predefined, ""),
            Route("POST", "/v1/permissions:queryTestablePermissions", f"{own}.ask", self.ask, ""),
        ]

    # Service accounts

    def accounts(self, call: Call) -> Resource:
        return {"accounts": list(self._access.accounts.values())}

    def _account(self, call: Call) -> Resource:
        email = call.names["email"]
        for account in self._access.accounts.values():
            if email in (account["email"], account["uniqueId"]):
                return account
        raise CloudError(404, "notFound", "Unknown service account")

    def account(self, call: Call) -> Resource:
        return self._account(call)

    def create_account(self, call: Call) -> Resource:
        account_id = str(call.body.get("accountId", ""))
        if not _ACCOUNT_ID.fullmatch(account_id):
            raise CloudError(
                400,
                "badRequest",
                "Account ID must be 6 to 30 lowercase letters, digits and dashes.",
            )
        email = self._access.email_of(account_id)
        if email in self._access.accounts:
            raise CloudError(
                409,
                "alreadyExists",
                f"Service account {account_id} already exists within project "
                f"{self._access.project_name}.",
            )
        given = call.body.get("serviceAccount") or {}
        account = self._access.add_account(account_id, given.get("displayName", ""))
        if given.get("description"):
            account["description"] = given["description"]
        return account

    def patch_account(self, call: Call) -> Resource:
        account = self._account(call)
        given = call.body.get("serviceAccount") or {}
        account.update({k: v for k, v in given.items() if k in ("displayName", "description")})
        return account

    def delete_account(self, call: Call) -> Resource:
        del self._access.accounts[self._account(call)["email"]]
        return {}

    def get_policy(self, call: Call) -> Resource:
        return self._access.policy(self._account(call)["name"])

    def set_policy(self, call: Call) -> Resource:
        return self._policies.replace(self._account(call)["name"], call.body)

    def test(self, call: Call) -> Resource:
        return self._policies.granted(call, self._account(call)["name"])

    # Roles

    def _name(self, call: Call) -> str:
        return f"{self._access.project_name}/roles/{call.names['role']}"

    def _role(self, call: Call) -> Resource:
        name = self._name(call)
        if name not in self._access.roles:
            raise CloudError(404, "notFound", f"The role named {name} was not found.")
        return self._access.roles[name]

    def roles(self, call: Call) -> Resource:
        with_deleted = call.params.get("showDeleted", "").lower() == "true"
        found = [r for r in self._access.roles.values() if with_deleted or not r.get("deleted")]
        if call.params.get("view") != "FULL":
            found = [{k: v for k, v in r.items() if k != "includedPermissions"} for r in found]
        return {"roles": found}

    def role(self, call: Call) -> Resource:
        return self._role(call)

    def create_role(self, call: Call) -> Resource:
        role_id = str(call.body.get("roleId", ""))
        if not _ROLE_ID.fullmatch(role_id):
            raise CloudError(400, "badRequest", f"The role_id {role_id} is not valid.")
        name = f"{self._access.project_name}/roles/{role_id}"
        if name in self._access.roles:
            if self._access.roles[name].get("deleted"):
                raise CloudError(
                    400,
                    "failedPrecondition",
                    f"You can't create a role_id ({role_id}) which has been marked for deletion.",
                )
            raise CloudError(
                409, "alreadyExists", f"A role named {role_id} in {self._access.project_name} "
                "already exists."
            )  # fmt: skip
        role: Resource = {"stage": "ALPHA"} | (call.body.get("role") or {})
        _check_permissions(role)
        self._access.roles[name] = role | {"name": name, "etag": "BwAAAAAAAAE="}
        return self._access.roles[name]

    def patch_role(self, call: Call) -> Resource:
        role = self._role(call)
        masked = call.params.get("updateMask")
        allowed = set(masked.split(",")) if masked else {*call.body}
        change = {k: v for k, v in call.body.items() if k in allowed}
        _check_permissions(change)
        role.update(merged(role, change))
        role["name"] = self._name(call)
        return role

    def delete_role(self, call: Call) -> Resource:
        role = self._role(call)
        role["deleted"] = True
        return role

    def undelete_role(self, call: Call) -> Resource:
        role = self._role(call)
        role.pop("deleted", None)
        return role

    def predefined(self, call: Call) -> Resource:
        name = f"roles/{call.names['role']}"
        permissions = [p for p in self._access.patterns(name) if "*" not in p]
        if not self._access.patterns(name):
            raise CloudError(404, "notFound", f"The role named {name} was not found.")
        return {"name": name, "includedPermissions": permissions, "stage": "GA"}

    def ask(self, call: Call) -> Resource:
        """Return all permissions that a role may have."""
        return {"permissions": [{"name": p, "stage": "GA"} for p in sorted(catalog.PERMISSIONS)]}


def _check_permissions(role: Resource) -> None:
    for permission in role.get("includedPermissions", ()):
        if permission not in catalog.PERMISSIONS:
            raise CloudError(400, "badRequest", f"Permission {permission} is not valid.")
