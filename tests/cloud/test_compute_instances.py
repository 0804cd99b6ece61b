"""Instances of the test cloud: their lives, and what the API refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.compute import links
from tests.cloud.compute.api import ZONE, Api, RefusedError, instance_body
from tests.cloud.compute.machines import MachineError, Pools
from tests.cloud.compute.threaded import ThreadedCloud, running

HERE = f"zones/{ZONE}/instances"
SPOT = {"provisioningModel": "SPOT", "instanceTerminationAction": "DELETE"}


@pytest.fixture
def cloud() -> Iterator[ThreadedCloud]:
    with running() as cloud:
        yield cloud


@pytest.fixture
def api(cloud: ThreadedCloud) -> Api:
    return Api(cloud)


def make(api: Api, name: str, **fields: Any) -> dict[str, Any]:
    operation = api.do("POST", HERE, instance_body(name, **fields))
    assert "error" not in operation
    return api.get(f"{HERE}/{name}")


def test_an_instance_is_made_stopped_started_and_deleted(api: Api) -> None:
    made = make(api, "a", labels={"k": "v"}, metadata={"items": [{"key": "x", "value": "y"}]})
    assert made["status"] == "RUNNING"
    assert made["lastStartTimestamp"] >= made["creationTimestamp"]
    assert made["networkInterfaces"][0]["networkIP"].startswith("10.")
    assert "accessConfigs" not in made["networkInterfaces"][0]
    vm = api.cloud.machines.named("a").vm
    assert (vm.cpus, vm.memory_mb, vm.metadata, vm.labels) == (2, 4096, {"x": "y"}, {"k": "v"})
    assert vm.image == "debian-12-bookworm-v20250610"
    api.do("POST", f"{HERE}/a/stop")
    stopped = api.get(f"{HERE}/a")
    assert stopped["status"] == "TERMINATED"
    assert stopped["lastStopTimestamp"] >= stopped["lastStartTimestamp"]
    api.do("POST", f"{HERE}/a/start")
    assert api.get(f"{HERE}/a")["status"] == "RUNNING"
    assert api.exists(f"zones/{ZONE}/disks/a")
    operation = api.do("DELETE", f"{HERE}/a")
    assert (operation["operationType"], operation["targetId"]) == ("delete", made["id"])
    assert api.cloud.made() == []
    verbs = [verb for verb, _ in api.cloud.machines.calls]
    assert verbs == ["start", "stop", "start", "stop", "delete"]


def test_a_disk_that_is_not_to_go_with_its_instance_stays(api: Api) -> None:
    body = instance_body("a")
    body["disks"][0]["autoDelete"] = False
    api.do("POST", HERE, body)
    api.do("DELETE", f"{HERE}/a")
    assert api.cloud.made() == [f"zones/{ZONE}/disks/a"]
    with pytest.raises(RefusedError) as refused:
        api.do("POST", HERE, body)
    assert refused.value.status == 409
    assert api.cloud.made() == [f"zones/{ZONE}/disks/a"]
    api.do("DELETE", f"zones/{ZONE}/disks/a")
    assert api.cloud.made() == []


def test_ids_are_never_used_again_while_names_and_addresses_are(api: Api) -> None:
    nic = {"accessConfigs": [{"type": "ONE_TO_ONE_NAT"}]}
    first = make(api, "a", networkInterfaces=[nic])
    outside = first["networkInterfaces"][0]["accessConfigs"][0]["natIP"]
    assert api.cloud.machines.named("a").vm.external_ip == outside
    api.do("DELETE", f"{HERE}/a")
    second = make(api, "a", networkInterfaces=[nic])
    assert second["id"] != first["id"]
    pools = Pools("10.0.0.0/29", "203.0.113.0/29")
    taken = pools.take("a", ZONE)
    pools.give_back(taken)
    outside = pools.take_external("a", ZONE)
    pools.give_back(outside)
    assert taken in [pools.take("b", ZONE) for _ in range(3)]
    assert outside in [pools.take_external("b", ZONE) for _ in range(3)]
    with pytest.raises(MachineError, match="exhausted"):
        pools.take("c", ZONE)


def test_a_vm_without_an_address_is_refused_and_takes_none() -> None:
    pools = Pools("10.0.0.0/29", "203.0.113.0/30")
    with running(addresses=pools) as cloud:
        api = Api(cloud)
        nic = {"accessConfigs": [{"type": "ONE_TO_ONE_NAT"}]}
        with pytest.raises(RefusedError) as refused:
            make(api, "a", networkInterfaces=[nic])
        assert refused.value.reason == "IP_SPACE_EXHAUSTED"
        for name in ("a", "b", "c"):
            make(api, name)


def test_serial_output_goes_on_where_the_reader_was(api: Api) -> None:
    make(api, "a")
    first = api.get(f"{HERE}/a/serialPort", port=1)
    assert "a.us-central1-a.c.test-project.internal boots" in first["contents"]
    assert api.get(f"{HERE}/a/serialPort", start=first["next"])["contents"] == ""
    api.do("POST", f"{HERE}/a/reset")
    more = api.get(f"{HERE}/a/serialPort", start=first["next"])
    assert more["start"] == first["next"]
    assert more["contents"].count("boots") == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "Upper"}, "invalid"),
        ({"machineType": f"zones/{ZONE}/machineTypes/none"}, "invalid"),
        ({"labels": {"Key": "v"}}, "invalid"),
        ({"labels": {"key": "a@b"}}, "invalid"),
        ({"tags": {"items": ["no_underscore"]}}, "invalid"),
        ({"disks": []}, "required"),
        ({"scheduling": {"maxRunDuration": {"seconds": "29"}}}, "invalid"),
        ({"scheduling": {"preemptible": True, "automaticRestart": True}}, "invalid"),
        ({"scheduling": {"instanceTerminationAction": "DELETE"}}, "invalid"),
        ({"metadata": {"items": [{"key": "k", "value": "x" * 262_145}]}}, "invalid"),
        ({"serviceAccounts": [{"email": "no@x"}]}, "SERVICE_ACCOUNT_ACCESS_DENIED"),
    ],
)
def test_what_cannot_be_is_refused(api: Api, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        api.do("POST", HERE, instance_body("a") | change)
    assert (refused.value.status, refused.value.reason) == (400, reason)
    assert api.cloud.made() == []


def test_what_is_not_there_and_what_is_already(api: Api) -> None:
    make(api, "a")
    with pytest.raises(RefusedError) as refused:
        api.do("POST", HERE, instance_body("a"))
    assert (refused.value.status, refused.value.reason) == (409, "alreadyExists")
    for path in (f"{HERE}/b", "zones/nowhere-a/instances", "global/firewalls/x"):
        with pytest.raises(RefusedError) as refused:
            api.get(path)
        assert (refused.value.status, refused.value.reason) == (404, "notFound")
        assert "projects/test-project/" in refused.value.message


def test_a_change_needs_the_fingerprint_of_now(api: Api) -> None:
    made = make(api, "a", labels={"k": "v"})
    old = {"labels": {"k": "w"}, "labelFingerprint": made["labelFingerprint"]}
    api.do("POST", f"{HERE}/a/setLabels", old)
    assert api.cloud.machines.named("a").vm.labels == {"k": "w"}
    with pytest.raises(RefusedError) as refused:
        api.do("POST", f"{HERE}/a/setLabels", old)
    assert (refused.value.status, refused.value.reason) == (412, "conditionNotMet")
    items = [{"key": "x", "value": "y"}]
    metadata = {"fingerprint": made["metadata"]["fingerprint"], "items": items}
    api.do("POST", f"{HERE}/a/setMetadata", metadata)
    assert api.cloud.machines.named("a").vm.metadata == {"x": "y"}
    with pytest.raises(RefusedError):
        api.do("POST", f"{HERE}/a/setMetadata", metadata)


def test_a_fingerprint_may_come_in_the_other_alphabet_of_base64() -> None:
    assert links.is_same("a-_=", "a+/=")
    assert links.is_same("a+/=", "a+/=")
    assert not links.is_same("b-_=", "a+/=")
    assert not links.is_same(None, "a+/=")


def test_metadata_of_the_project_reaches_every_machine(api: Api) -> None:
    make(api, "a")
    fingerprint = api.get("")["commonInstanceMetadata"]["fingerprint"]
    items = [{"key": "k", "value": "v"}]
    body = {"fingerprint": fingerprint, "items": items}
    api.do("POST", "setCommonInstanceMetadata", body)
    assert api.cloud.machines.named("a").vm.project_metadata == {"k": "v"}


def test_a_request_that_is_repeated_does_nothing_more(api: Api) -> None:
    first = api.do("POST", HERE, instance_body("a"), requestId="r1")
    again = api.do("POST", HERE, instance_body("a"), requestId="r1")
    assert first["name"] == again["name"]
    with pytest.raises(RefusedError):
        api.do("POST", HERE, instance_body("a"), requestId="r2")
    first = api.do("DELETE", f"{HERE}/a", requestId="r3")
    assert api.do("DELETE", f"{HERE}/a", requestId="r3")["name"] == first["name"]


# The ends that nobody asks for


def test_a_preempted_spot_vm_is_deleted_or_stopped_as_it_was_to_be(api: Api) -> None:
    make(api, "gone", scheduling=SPOT)
    make(api, "kept", scheduling={"provisioningModel": "SPOT"})
    for name in ("gone", "kept"):
        api.cloud.control("preempt", instance=name)
    api.cloud.until(lambda: not api.exists(f"{HERE}/gone"))
    api.cloud.until(lambda: api.get(f"{HERE}/kept")["status"] == "TERMINATED")
    assert ("preempt", "gone") in api.cloud.machines.calls
    assert api.cloud.machines.named("kept").is_preempted
    kinds = [op["operationType"] for op in api.get(f"zones/{ZONE}/operations")["items"]]
    assert kinds.count("compute.instances.preempted") == 2
    make(api, "own")
    with pytest.raises(ValueError, match="Only spot"):
        api.cloud.control("preempt", instance="own")


def test_a_run_limit_ends_a_vm_and_a_new_start_begins_a_new_run(api: Api) -> None:
    limit = {"maxRunDuration": {"seconds": "3600"}}
    make(api, "gone", scheduling=SPOT | limit)
    make(api, "kept", scheduling={"instanceTerminationAction": "STOP"} | limit)
    api.cloud.control("advance", seconds=3000)
    assert api.get(f"{HERE}/gone")["status"] == "RUNNING"
    api.cloud.control("advance", seconds=700)
    api.cloud.until(lambda: not api.exists(f"{HERE}/gone"))
    api.cloud.until(lambda: api.get(f"{HERE}/kept")["status"] == "TERMINATED")
    api.do("POST", f"{HERE}/kept/start")
    api.cloud.control("advance", seconds=3000)
    assert api.get(f"{HERE}/kept")["status"] == "RUNNING"


def test_a_host_that_dies_restarts_what_is_to_be_restarted(api: Api) -> None:
    make(api, "on-demand")
    make(api, "spot", scheduling=SPOT)
    for name in ("on-demand", "spot"):
        api.cloud.control("crash", instance=name)
    api.cloud.until(lambda: api.get(f"{HERE}/spot")["status"] == "TERMINATED")
    starts = ("start", "on-demand")
    api.cloud.until(lambda: api.cloud.machines.calls.count(starts) == 2)
    assert api.get(f"{HERE}/on-demand")["status"] == "RUNNING"


def test_a_vm_that_powers_itself_off_is_stopped_and_still_billed_for_its_disk(api: Api) -> None:
    make(api, "a", scheduling=SPOT)
    api.cloud.look(lambda: api.cloud.machines.power_off("a"))
    api.cloud.until(lambda: api.get(f"{HERE}/a")["status"] == "TERMINATED")
    assert api.exists(f"zones/{ZONE}/disks/a")


def test_the_network_of_a_vm_is_cut_and_mended(api: Api) -> None:
    make(api, "a")
    api.cloud.control("cut", instance="a")
    assert api.cloud.machines.named("a").is_cut
    api.cloud.control("cut", instance="a", on=False)
    assert not api.cloud.machines.named("a").is_cut


def test_stockout_and_quota_fail_the_operation_and_leave_nothing(api: Api) -> None:
    api.cloud.control("stockout", zone=ZONE, model="SPOT")
    operation = api.do("POST", HERE, instance_body("a", scheduling=SPOT))
    assert operation["error"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert operation["httpErrorStatusCode"] == 503
    make(api, "on-demand")
    api.cloud.control("stockout", on=False)
    api.cloud.control("quota", region="us-central1", metric="PREEMPTIBLE_CPUS", limit=2)
    make(api, "fits", scheduling=SPOT)
    operation = api.do("POST", HERE, instance_body("a", scheduling=SPOT))
    assert operation["error"]["errors"][0]["code"] == "QUOTA_EXCEEDED"
    assert operation["httpErrorStatusCode"] == 403
    quotas = {q["metric"]: q for q in api.get("regions/us-central1")["quotas"]}
    assert quotas["PREEMPTIBLE_CPUS"] == {"metric": "PREEMPTIBLE_CPUS", "limit": 2, "usage": 2}
    assert quotas["CPUS"]["usage"] == 2
    assert not api.exists(f"{HERE}/a")
    assert not api.exists(f"zones/{ZONE}/disks/a")


def test_an_image_is_made_of_a_disk_that_is_at_rest(api: Api) -> None:
    make(api, "a")
    body = {"name": "i1", "family": "f", "sourceDisk": f"zones/{ZONE}/disks/a"}
    with pytest.raises(RefusedError) as refused:
        api.do("POST", "global/images", body)
    assert refused.value.reason == "resourceInUseByAnotherResource"
    api.do("POST", f"{HERE}/a/stop")
    api.do("POST", "global/images", body)
    api.do("POST", "global/images", body | {"name": "i2"})
    assert api.cloud.machines.images == {"i1", "i2"}
    assert api.get("global/images/family/f")["name"] == "i2"
    api.do("DELETE", "global/images/i2")
    source = {"sourceImage": "global/images/family/f"}
    make(api, "b", disks=[{"boot": True, "autoDelete": True, "initializeParams": source}])
    assert api.cloud.machines.named("b").vm.image == "i1"
