"""Access in the test cloud: accounts, roles, policies, services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.compute import conditions
from tests.cloud.compute.api import ZONE, Api, RefusedError, instance_body
from tests.cloud.compute.threaded import ThreadedCloud, running

PROJECT = "/v1/projects/test-project"
EMAIL = "worker@test-project.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{EMAIL}"


@pytest.fixture
def cloud() -> Iterator[ThreadedCloud]:
    with running() as cloud:
        yield cloud


@pytest.fixture
def api(cloud: ThreadedCloud) -> Api:
    return Api(cloud)


@pytest.fixture
def worker(api: Api) -> Api:
    """The API as a service account without a role asks it."""
    made = api.rest("POST", f"{PROJECT}/serviceAccounts", {"accountId": "worker"})
    assert made["email"] == EMAIL
    return Api(api.cloud, f"token-of-{EMAIL}")


def make_role(api: Api, *permissions: str) -> str:
    body = {"roleId": "own", "role": {"title": "t", "includedPermissions": list(permissions)}}
    return str(api.rest("POST", f"{PROJECT}/roles", body)["name"])


def bind(api: Api, role: str, condition: str | None = None) -> None:
    """Add a binding for the worker to the project's policy, as gcloud does."""
    options = {"options": {"requestedPolicyVersion": 3}}
    policy = api.rest("POST", f"{PROJECT}:getIamPolicy", options)
    binding: dict[str, Any] = {"role": role, "members": [MEMBER]}
    if condition is not None:
        binding["condition"] = {"title": "c", "expression": condition}
    policy["bindings"].append(binding)
    policy["version"] = 3
    api.rest("POST", f"{PROJECT}:setIamPolicy", {"policy": policy})


def status(call: Any) -> int:
    """Return the status of a call, 200 where it is not refused."""
    try:
        call()
    except RefusedError as refused:
        return refused.status
    return 200


def test_an_account_may_do_what_its_role_says_and_no_more(api: Api, worker: Api) -> None:
    with pytest.raises(RefusedError) as refused:
        worker.get("zones")
    assert refused.value.status == 403
    assert refused.value.message.startswith("Required 'compute.zones.list' permission for 'proj")
    role = make_role(api, "compute.zones.list")
    bind(api, role)
    assert worker.get("zones")["items"]
    assert status(lambda: worker.get("regions")) == 403
    asked = {"permissions": ["compute.zones.list", "compute.regions.list"]}
    granted = worker.rest("POST", f"{PROJECT}:testIamPermissions", asked)
    assert granted == {"permissions": ["compute.zones.list"]}
    change = {"includedPermissions": ["compute.regions.list"]}
    api.rest("PATCH", f"{PROJECT}/roles/own?updateMask=includedPermissions", change)
    assert status(lambda: worker.get("zones")) == 403
    assert worker.get("regions")["items"]


def test_making_a_vm_takes_every_right_and_acting_as_its_account(api: Api, worker: Api) -> None:
    other = api.rest("POST", f"{PROJECT}/serviceAccounts", {"accountId": "others"})
    body = instance_body("a", serviceAccounts=[{"email": other["email"]}])
    rights = [
        *("compute.instances.create", "compute.disks.create", "compute.subnetworks.use"),
        *("compute.instances.setMetadata", "compute.instances.setServiceAccount"),
    ]
    bind(api, make_role(api, *rights))
    here = f"zones/{ZONE}/instances"
    with pytest.raises(RefusedError) as refused:
        worker.do("POST", here, body)
    assert refused.value.reason == "SERVICE_ACCOUNT_ACCESS_DENIED"
    user = {"bindings": [{"role": "roles/iam.serviceAccountUser", "members": [MEMBER]}]}
    account = f"{PROJECT}/serviceAccounts/{other['email']}"
    api.rest("POST", f"{account}:setIamPolicy", {"policy": user})
    operation = worker.do("POST", here, body)
    assert (operation["user"], operation["status"]) == (EMAIL, "DONE")
    with pytest.raises(RefusedError, match=r"compute\.instances\.setLabels"):
        worker.do("POST", here, instance_body("b", labels={"k": "v"}))


def test_a_condition_narrows_a_binding(api: Api, worker: Api) -> None:
    role = make_role(api, "compute.instances.get")
    prefix = f"projects/test-project/zones/{ZONE}/instances/mine-"
    bind(api, role, f'resource.name.startsWith("{prefix}")')
    for name in ("mine-1", "other"):
        api.do("POST", f"zones/{ZONE}/instances", instance_body(name))
    assert worker.get(f"zones/{ZONE}/instances/mine-1")["name"] == "mine-1"
    assert status(lambda: worker.get(f"zones/{ZONE}/instances/other")) == 403
    seen = api.rest("POST", f"{PROJECT}:getIamPolicy", {})
    assert seen["version"] == 1
    assert any("_withcond_" in binding["role"] for binding in seen["bindings"])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('resource.name.startsWith("a/")', True),
        ("resource.name.startsWith('b/')", False),
        ('!resource.name.endsWith("b")', False),
        ('resource.name == "a/b" && resource.service != "x"', True),
        ('resource.name == "x" || (resource.name.matches("^a") && true == true)', False),
        ('resource.name == "x" || resource.name.matches("^a")', True),
        ('api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("a")', False),
        ('request.time < timestamp("2030-01-01T00:00:00Z")', False),
    ],
)
def test_conditions(expression: str, expected: bool) -> None:
    attributes = {"resource.name": "a/b", "resource.service": "compute.googleapis.com"}
    assert conditions.holds(expression, attributes) is expected


def test_a_policy_that_has_changed_meanwhile_is_not_overwritten(api: Api, worker: Api) -> None:
    old = api.rest("POST", f"{PROJECT}:getIamPolicy", {})
    bind(api, "roles/viewer")
    assert status(lambda: api.rest("POST", f"{PROJECT}:setIamPolicy", {"policy": old})) == 409
    assert worker.get("zones")["items"]


@pytest.mark.parametrize(
    "binding",
    [
        {"role": "projects/test-project/roles/none", "members": ["user:a@b.c"]},
        {"role": "roles/viewer", "members": ["serviceAccount:none@x"]},
        {"role": "roles/viewer", "members": ["user:a@b.c"], "condition": {"expression": "true"}},
    ],
)
def test_a_policy_that_cannot_be_is_refused(api: Api, binding: dict[str, Any]) -> None:
    policy = {"policy": {"bindings": [binding], "version": 1}}
    assert status(lambda: api.rest("POST", f"{PROJECT}:setIamPolicy", policy)) == 400


def test_a_deleted_role_keeps_its_name_and_comes_back(api: Api, worker: Api) -> None:
    bind(api, make_role(api, "compute.zones.list"))
    assert status(lambda: make_role(api, "compute.zones.list")) == 409
    api.rest("DELETE", f"{PROJECT}/roles/own")
    assert status(lambda: worker.get("zones")) == 403
    assert status(lambda: make_role(api, "compute.zones.list")) == 400
    assert api.rest("GET", f"{PROJECT}/roles")["roles"] == []
    api.rest("POST", f"{PROJECT}/roles/own:undelete", {})
    assert worker.get("zones")["items"]


def test_a_deleted_account_is_nobody(api: Api, worker: Api) -> None:
    bind(api, "roles/viewer")
    again = {"accountId": "worker"}
    assert status(lambda: api.rest("POST", f"{PROJECT}/serviceAccounts", again)) == 409
    api.rest("DELETE", f"/v1/projects/-/serviceAccounts/{EMAIL}")
    assert status(lambda: worker.get("zones")) == 401
    assert status(lambda: api.rest("GET", f"{PROJECT}/serviceAccounts/{EMAIL}")) == 404


def test_permissions_are_taken_from_whoever_the_test_names(api: Api, worker: Api) -> None:
    bind(api, "roles/viewer")
    api.cloud.control("permission", deny=["compute.zones.*"])
    assert status(lambda: api.get("zones")) == 403
    api.cloud.control("permission", deny=["compute.zones.*"], caller="worker@*")
    assert api.get("zones")["items"]
    assert status(lambda: worker.get("zones")) == 403


def test_a_service_that_is_off_says_how_to_turn_it_on(api: Api) -> None:
    name = f"{PROJECT}/services/compute.googleapis.com"
    api.cloud.control("service", disable=["compute.googleapis.com"])
    with pytest.raises(RefusedError) as refused:
        api.get("zones")
    assert refused.value.reason == "accessNotConfigured"
    assert refused.value.details[0]["reason"] == "SERVICE_DISABLED"
    listed = api.rest("GET", f"{PROJECT}/services?filter=state:ENABLED")["services"]
    assert name not in [service["name"] for service in listed]
    assert api.rest("GET", name)["state"] == "DISABLED"
    api.rest("POST", f"{name}:enable", {})
    assert api.get("zones")["items"]


def test_another_project_is_not_there_but_its_public_images_are(api: Api, worker: Api) -> None:
    public = "/compute/v1/projects/debian-cloud/global/images/family/debian-12"
    assert worker.rest("GET", public)["family"] == "debian-12"
    assert status(lambda: api.rest("GET", "/compute/v1/projects/nobodys/zones")) == 404
    assert status(lambda: api.rest("GET", "/compute/v1/projects/debian-cloud/zones")) == 404
