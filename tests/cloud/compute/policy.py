"""The methods of Resource Manager and Service Usage, and policies of whatever has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.cloud.compute import catalog, conditions, filters, links
from tests.cloud.compute.access import PREDEFINED
from tests.cloud.compute.conditions import MAX_OPERATORS
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError
from tests.cloud.compute.routing import Call, Route
from tests.cloud.compute.store import Resource

_BASIC = ("roles/owner", "roles/editor", "roles/viewer")
_MAX_ALIKE = 20
"""Bindings of one role for one member, that differ by their conditions."""


def _check_numbers(bindings: Iterable[Resource]) -> None:
    pairs = [(one["role"], member) for one in bindings for member in one.get("members", ())]
    (role, member), most = Counter(pairs).most_common(1)[0] if pairs else (("", ""), 0)
    if most > _MAX_ALIKE:
        raise CloudError(
            400, "badRequest", f"{member} has more than {_MAX_ALIKE} bindings of the role {role}."
        )


class Policies:
    """Reads and replaces policies; the project is a resource with one."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._access = core.access

    def routes(self) -> list[Route]:
        project = "/v1/projects/{project}"
        services, api = f"{project}/services", "resourcemanager.projects"
        usage, service = "serviceusage.services", f"{services}/{{service}}"
        return [
            Route("GET", project, f"{api}.get", self.project),
            Route("POST", f"{project}:getIamPolicy", f"{api}.getIamPolicy", self.get_policy),
            Route("POST", f"{project}:setIamPolicy", f"{api}.setIamPolicy", self.set_policy),
            Route("POST", f"{project}:testIamPermissions", f"{api}.test", self.test, ""),
            Route("GET", services, f"{usage}.list", self.services),
            Route("GET", service, f"{usage}.get", self.service),
            Route("POST", f"{service}:enable", f"{usage}.enable", self.enable),
            Route("POST", f"{service}:disable", f"{usage}.disable", self.disable),
            Route("POST", f"{services}:batchEnable", f"{usage}.enable", self.enable_all),
            Route("GET", "/v1/operations/{operation}", f"{usage}.operation", self.operation, ""),
        ]

    # The project

    def project(self, call: Call) -> Resource:
        project = self._core.store.get("global/project")
        return {
            "projectNumber": str(self._core.store.number),
            "projectId": self._core.store.project,
            "name": self._core.store.project,
            "lifecycleState": "ACTIVE",
            "createTime": links.utc(links.parse_timestamp(project["creationTimestamp"])),
        }

    def get_policy(self, call: Call) -> Resource:
        policy = self._access.policy(self._access.project_name)
        version = (call.body.get("options") or {}).get("requestedPolicyVersion", 1)
        if policy["version"] == 3 and int(version) < 3:
            # What the real API does with conditions that the caller has not asked for.
            bindings = [
                {
                    "role": f"{binding['role']}_withcond_{links.fingerprint(binding)[:8]}",
                    "members": binding["members"],
                }
                if "condition" in binding
                else binding
                for binding in policy["bindings"]
            ]
            return policy | {"version": 1, "bindings": bindings}
        return policy

    def set_policy(self, call: Call) -> Resource:
        return self.replace(self._access.project_name, call.body)

    def test(self, call: Call) -> Resource:
        return self.granted(call, self._access.project_name)

    def granted(self, call: Call, name: str) -> Resource:
        """Return those permissions of a request that its caller has on a resource."""
        asked = call.body.get("permissions", ())
        found = [p for p in asked if self._access.has(call.caller, p, name, also=name)]
        return {"permissions": found} if found else {}

    def replace(self, name: str, body: Resource) -> Resource:
        """Replace the policy of a resource; raise 409 where it has changed since it was read."""
        policy = body.get("policy") or {}
        etag = policy.get("etag")
        if etag is not None and not links.is_same(etag, self._access.policy(name)["etag"]):
            raise CloudError(
                409,
                "aborted",
                "There were concurrent policy changes. Please retry the whole read-modify-write "
                "with exponential backoff.",
            )
        for binding in policy.get("bindings", ()):
            if binding.get("condition") and int(policy.get("version", 1)) < 3:
                raise CloudError(
                    400, "badRequest", "Policies with conditions must have the version 3."
                )
            self._check_binding(binding)
        _check_numbers(policy.get("bindings", ()))
        return self._access.set_policy(name, policy)

    def _check_binding(self, binding: Resource) -> None:
        role = binding.get("role", "")
        known = role in PREDEFINED or role in self._access.roles
        if not known:
            raise CloudError(
                400, "badRequest", f"Role ({role}) does not exist in the resource's hierarchy."
            )
        condition = binding.get("condition")
        if condition and role in _BASIC:
            raise CloudError(
                400, "badRequest", f"Conditions can't be set on the basic role {role}."
            )
        if condition and conditions.operators_in(condition["expression"]) > MAX_OPERATORS:
            raise CloudError(
                400, "badRequest", f"A condition has more than {MAX_OPERATORS} logical operators."
            )
        for member in binding.get("members", ()):
            kind, _, who = member.partition(":")
            if kind == "serviceAccount" and who not in self._access.accounts:
                raise CloudError(400, "badRequest", f"Service account {who} does not exist.")

    # Services

    def _service(self, name: str) -> Resource:
        if name not in catalog.SERVICES:
            raise CloudError(
                403, "forbidden", f"Not found or permission denied for service(s): {name}."
            )
        number = self._core.store.number
        return {
            "name": f"projects/{number}/services/{name}",
            "parent": f"projects/{number}",
            "config": {"name": name, "title": catalog.SERVICES[name]},
            "state": "DISABLED" if name in self._access.disabled else "ENABLED",
        }

    def services(self, call: Call) -> Resource:
        matches = filters.parse(call.params.get("filter"))
        found = [self._service(name) for name in catalog.SERVICES]
        return {"services": [service for service in found if matches(service)]}

    def service(self, call: Call) -> Resource:
        return self._service(call.names["service"])

    def _switched(self, names: list[str], is_on: bool) -> Resource:
        for name in names:
            self._service(name)
            (self._access.disabled.discard if is_on else self._access.disabled.add)(name)
        return {
            "name": "operations/acat.p2-services",
            "done": True,
            "response": {"services": [self._service(name) for name in names]},
        }

    def enable(self, call: Call) -> Resource:
        return self._switched([call.names["service"]], is_on=True)

    def disable(self, call: Call) -> Resource:
        return self._switched([call.names["service"]], is_on=False)

    def enable_all(self, call: Call) -> Resource:
        return self._switched(list(call.body.get("serviceIds", ())), is_on=True)

    def operation(self, call: Call) -> Resource:
        return {"name": f"operations/{call.names['operation']}", "done": True, "response": {}}
