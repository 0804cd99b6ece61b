"""Managed groups of the test cloud: they hold their size, or say why not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.compute.api import REGION, ZONE, Api, RefusedError, template_body
from tests.cloud.compute.threaded import ThreadedCloud, running

GROUPS = f"zones/{ZONE}/instanceGroupManagers"
WIDE = f"regions/{REGION}/instanceGroupManagers"
TEMPLATE = "global/instanceTemplates/t"
ANY = {
    "distributionPolicy": {"targetShape": "ANY"},
    "updatePolicy": {"instanceRedistributionType": "NONE"},
}
LEAVE: dict[str, Any] = {"instanceLifecyclePolicy": {"defaultActionOnFailure": "DO_NOTHING"}}


@pytest.fixture
def cloud() -> Iterator[ThreadedCloud]:
    with running(retry_seconds=0.02) as cloud:
        yield cloud


@pytest.fixture
def api(cloud: ThreadedCloud) -> Api:
    api = Api(cloud)
    api.do("POST", "global/instanceTemplates", template_body("t", labels={"mrcore": "x"}))
    return api


def make(api: Api, size: int, path: str = GROUPS, **fields: Any) -> str:
    body = {"name": "g", "instanceTemplate": TEMPLATE, "targetSize": size, **fields}
    operation = api.do("POST", path, body)
    assert "error" not in operation
    return f"{path}/g"


def members(api: Api, group: str) -> list[dict[str, Any]]:
    return list(api.compute("POST", f"{group}/listManagedInstances").get("managedInstances", []))


def stable(api: Api, group: str) -> list[dict[str, Any]]:
    """Wait until the group is at rest, and return its members."""
    api.cloud.until(lambda: api.get(group)["status"]["isStable"])
    return members(api, group)


def running_names(api: Api, group: str) -> set[str]:
    return {m["name"] for m in members(api, group) if m.get("instanceStatus") == "RUNNING"}


def test_a_group_makes_as_many_vms_as_it_is_told(api: Api) -> None:
    group = make(api, 3)
    found = stable(api, group)
    assert [m["instanceStatus"] for m in found] == ["RUNNING"] * 3
    assert all(re.fullmatch(r"g-[a-z0-9]{4}", m["name"]) for m in found)
    path = api.cloud.server.core.store.path_of(found[0]["instance"])
    instance = api.get(path)
    assert instance["labels"] == {"mrcore": "x"}
    assert instance["scheduling"]["instanceTerminationAction"] == "DELETE"
    made_by = {item["key"]: item["value"] for item in instance["metadata"]["items"]}["created-by"]
    assert made_by.endswith(f"/{group}")
    api.do("POST", f"{group}/resize", size=1)
    api.cloud.until(lambda: len(members(api, group)) == 1)
    assert stable(api, group)[0]["name"] in {m["name"] for m in found}
    api.do("DELETE", group)
    assert api.cloud.made() == [TEMPLATE]
    assert not api.exists(f"zones/{ZONE}/instanceGroups/g")


def test_members_are_deleted_and_made_by_name(api: Api) -> None:
    group = make(api, 3)
    first, *others = stable(api, group)
    api.do("POST", f"{group}/deleteInstances", {"instances": [first["instance"]]})
    api.cloud.until(lambda: len(members(api, group)) == 2)
    assert {m["name"] for m in stable(api, group)} == {m["name"] for m in others}
    assert api.get(group)["targetSize"] == 2
    api.do("POST", f"{group}/createInstances", {"instances": [{"name": "mine"}]})
    assert "mine" in {m["name"] for m in stable(api, group)}
    assert api.get(group)["targetSize"] == 3
    gone = {"instances": [first["instance"]]}
    with pytest.raises(RefusedError, match="not a member") as refused:
        api.do("POST", f"{group}/deleteInstances", gone)
    assert refused.value.status == 400
    api.do("POST", f"{group}/deleteInstances", gone | {"skipInstancesOnValidationError": True})
    assert api.get(group)["targetSize"] == 3


@pytest.mark.parametrize("how", ["preempt", "delete", "power off"])
def test_a_group_that_repairs_makes_what_it_has_lost_again(api: Api, how: str) -> None:
    group = make(api, 2)
    lost = stable(api, group)[0]
    lose(api, lost, how)
    path = api.cloud.server.core.store.path_of(lost["instance"])
    api.cloud.until(lambda: api.exists(path) and api.get(path)["id"] != lost["id"])
    assert lost["name"] in {m["name"] for m in stable(api, group)}
    assert api.get(group)["targetSize"] == 2


@pytest.mark.parametrize(
    ("how", "status"), [("preempt", None), ("delete", None), ("power off", "TERMINATED")]
)
def test_a_group_that_does_nothing_leaves_what_it_has_lost(
    api: Api, how: str, status: str | None
) -> None:
    group = make(api, 2, **LEAVE)
    lost = stable(api, group)[0]
    lose(api, lost, how)
    api.cloud.until(lambda: len(running_names(api, group)) == 1)
    shown = next(m for m in stable(api, group) if m["name"] == lost["name"])
    assert shown.get("instanceStatus") == status
    assert api.get(group)["targetSize"] == 2
    api.do("POST", f"{group}/deleteInstances", {"instances": [lost["instance"]]})
    api.cloud.until(lambda: len(members(api, group)) == 1)
    api.do("POST", f"{group}/resize", size=2)
    assert len(stable(api, group)) == 2
    assert lost["name"] not in running_names(api, group)


def lose(api: Api, member: dict[str, Any], how: str) -> None:
    name = member["name"]
    match how:
        case "preempt":
            api.cloud.control("preempt", instance=name)
        case "delete":
            api.do("DELETE", api.cloud.server.core.store.path_of(member["instance"]))
        case _:
            api.cloud.look(lambda: api.cloud.machines.power_off(name))


def test_a_stockout_is_told_and_tried_again_until_it_ends(api: Api) -> None:
    api.cloud.control("stockout", zone=ZONE)
    group = make(api, 2)
    api.cloud.until(lambda: all("lastAttempt" in m for m in members(api, group)))
    assert {m["currentAction"] for m in members(api, group)} == {"CREATING"}
    error = members(api, group)[0]["lastAttempt"]["errors"]["errors"][0]
    assert error["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"
    noted = api.get(f"{group}/listErrors")["items"][0]
    assert noted["error"] == error
    assert noted["instanceActionDetails"]["action"] == "CREATING"
    assert api.get(group)["currentActions"]["creating"] == 2
    assert not api.get(group)["status"]["isStable"]
    api.cloud.control("stockout", on=False)
    assert {m["instanceStatus"] for m in stable(api, group)} == {"RUNNING"}
    assert not any("lastAttempt" in m for m in members(api, group))


def test_who_waits_for_a_machine_can_be_deleted(api: Api) -> None:
    api.cloud.control("quota", region=REGION, metric="PREEMPTIBLE_CPUS", limit=4)
    group = make(api, 2)
    api.cloud.until(lambda: any("lastAttempt" in m for m in members(api, group)))
    noted = api.get(f"{group}/listErrors")["items"][0]["error"]
    assert noted["code"] == "QUOTA_EXCEEDED"
    assert "PREEMPTIBLE_CPUS" in noted["message"]
    kept = running_names(api, group)
    api.do("POST", f"{group}/resize", size=1)
    api.cloud.until(lambda: len(members(api, group)) == 1)
    assert {m["name"] for m in stable(api, group)} == kept


def test_a_regional_group_of_any_shape_goes_where_machines_are(api: Api) -> None:
    api.cloud.control("stockout", zone="us-central1-[abc]")
    group = make(api, 3, WIDE, **ANY)
    places = {m["instance"].split("/zones/")[1].split("/")[0] for m in stable(api, group)}
    assert places == {"us-central1-f"}
    api.cloud.control("stockout", on=False)
    api.do("POST", f"{group}/resize", size=6)
    places = {m["instance"].split("/zones/")[1].split("/")[0] for m in stable(api, group)}
    assert places == {f"us-central1-{letter}" for letter in "abcf"}


def test_a_regional_group_of_even_shape_waits_for_its_zone(api: Api) -> None:
    api.cloud.control("stockout", zone="us-central1-a")
    group = make(api, 4, WIDE)
    waiting = "us-central1-a"
    api.cloud.until(lambda: len(running_names(api, group)) == 3)
    late = [m for m in members(api, group) if m["currentAction"] == "CREATING"]
    assert [waiting in m["instance"] for m in late] == [True]


def test_ranked_machine_types_are_tried_in_their_order(api: Api) -> None:
    selections = {
        "second": {"rank": 2, "machineTypes": ["e2-standard-4"]},
        "first": {"rank": 1, "machineTypes": ["n2d-standard-4", "n2-standard-4"]},
    }
    api.cloud.control("stockout", machine_type="n2*")
    flexible = {"instanceFlexibilityPolicy": {"instanceSelections": selections}}
    group = make(api, 1, WIDE, **ANY, **flexible)
    member = stable(api, group)[0]
    assert member["propertiesFromFlexibilityPolicy"] == {"machineType": "e2-standard-4"}
    assert api.cloud.machines.named(member["name"]).vm.machine_type == "e2-standard-4"
    api.cloud.control("stockout", on=False)
    api.do("POST", f"{group}/resize", size=2)
    types = {api.cloud.machines.named(m["name"]).vm.machine_type for m in stable(api, group)}
    assert types == {"e2-standard-4", "n2d-standard-4"}
    with pytest.raises(RefusedError, match="Only a regional group"):
        make(api, 1, GROUPS, **flexible)


def test_a_patch_changes_what_it_names_and_nothing_else(api: Api) -> None:
    group = make(api, 1, description="d")
    api.do("POST", "global/instanceTemplates", template_body("t2"))
    fingerprint = api.get(group)["fingerprint"]
    change = {"instanceTemplate": "global/instanceTemplates/t2", "fingerprint": fingerprint}
    api.do("PATCH", group, change | LEAVE)
    after = api.get(group)
    assert after["instanceTemplate"].endswith("/t2")
    assert after["instanceLifecyclePolicy"]["defaultActionOnFailure"] == "DO_NOTHING"
    assert (after["description"], after["targetSize"]) == ("d", 1)
    with pytest.raises(RefusedError) as refused:
        api.do("PATCH", group, change)
    assert refused.value.status == 412
    api.do("POST", f"{group}/setInstanceTemplate", {"instanceTemplate": TEMPLATE})
    with pytest.raises(RefusedError) as refused:
        api.do("DELETE", TEMPLATE)
    assert refused.value.reason == "resourceInUseByAnotherResource"
    api.do("DELETE", "global/instanceTemplates/t2")


@pytest.mark.parametrize(
    "change",
    [
        {"targetSize": -1},
        {"baseInstanceName": "Upper"},
        {"instanceLifecyclePolicy": {"defaultActionOnFailure": "WEEP"}},
        {"distributionPolicy": {"zones": [{"zone": "zones/us-east1-b"}]}},
        {"distributionPolicy": {"targetShape": "ANY"}},
    ],
)
def test_groups_that_cannot_be_are_refused(api: Api, change: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as refused:
        make(api, 1, WIDE, **change)
    assert refused.value.status == 400
    assert api.cloud.made() == [TEMPLATE]


def test_a_template_is_checked_when_it_is_made(api: Api) -> None:
    path = f"regions/{REGION}/instanceTemplates"
    api.do("POST", path, template_body("r"))
    assert api.get(f"{path}/r")["properties"]["scheduling"]["preemptible"]
    bad: list[dict[str, Any]] = [{"machineType": "zones/z/machineTypes/e2-medium"}, {"disks": []}]
    for properties in bad:
        with pytest.raises(RefusedError) as refused:
            api.do("POST", path, template_body("bad", **properties))
        assert refused.value.status == 400
    with pytest.raises(RefusedError) as refused:
        make(api, 1, instanceTemplate="global/instanceTemplates/none")
    assert refused.value.status == 404
