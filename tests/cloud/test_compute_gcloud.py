"""The real gcloud drives the test cloud, in a network namespace from which no way leads out.

Each call takes a second or so, hence few tests, each with a whole story.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD, Ground, Sandbox, sandbox
from tests.support.repository import ROOT

pytestmark = [
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
    pytest.mark.timeout(300),  # on a machine that is busy a call takes five seconds
]

HERE = "--zone=us-central1-a"
WIDE = "--region=us-central1"
DEBIAN = ("--image-family=debian-12", "--image-project=debian-cloud")
SPOT = ("--provisioning-model=SPOT", "--instance-termination-action=DELETE")
GROUP = ("compute", "instance-groups", "managed")


@pytest.fixture
def box(shared_ground: Ground) -> Iterator[Sandbox]:
    with sandbox(shared_ground, retry_seconds=0.05) as box:
        yield box


def ok(box: Sandbox, *words: str) -> str:
    """Run gcloud, which must succeed, and return what it prints."""
    ran = box.gcloud(*words)
    assert ran.code == 0, ran.err
    return ran.out


def read(box: Sandbox, *words: str) -> Any:
    ran = box.gcloud(*words, "--format=json")
    assert ran.code == 0, ran.err
    return ran.json()


def make(box: Sandbox, *words: str) -> Any:
    return read(box, "compute", "instances", "create", *words, HERE, *DEBIAN)


def test_instances(box: Sandbox) -> None:
    limit = ("--max-run-duration=6h", "--no-address", "--machine-type=n2-standard-4", *SPOT)
    # Two at once go through the batch endpoint, and so does the wait for them.
    box.cloud.control("delay", operation_seconds=0.3)
    made = make(box, "m1", "m2", "--labels=mrcore=x", "--metadata=a=b", "--tags=t", *limit)
    assert [vm["status"] for vm in made] == ["RUNNING", "RUNNING"]
    assert made[0]["scheduling"]["maxRunDuration"] == {"seconds": "21600"}
    assert box.cloud.calls("compute.zoneOperations.wait")
    box.cloud.control("delay", operation_seconds=0)
    shown = "--format=value(name,zone.basename(),status)"
    listed = ok(box, "compute", "instances", "list", "--filter=labels.mrcore=x", shown)
    assert listed.splitlines() == ["m1\tus-central1-a\tRUNNING", "m2\tus-central1-a\tRUNNING"]
    ok(box, "compute", "instances", "add-labels", "m1", HERE, "--labels=k=v")
    ok(box, "compute", "instances", "add-metadata", "m1", HERE, "--metadata=k=v")
    vm = box.cloud.machines.named("m1").vm
    assert (vm.labels, vm.metadata) == ({"mrcore": "x", "k": "v"}, {"a": "b", "k": "v"})
    assert "boots" in ok(box, "compute", "instances", "get-serial-port-output", "m1", HERE)
    ok(box, "compute", "instances", "reset", "m1", HERE)
    ok(box, "compute", "instances", "stop", "m1", HERE)
    assert box.cloud.resource("zones/us-central1-a/instances/m1") is not None
    ok(box, "compute", "instances", "start", "m1", HERE)
    words = ("ssh", "m1", HERE, "--tunnel-through-iap", "--dry-run")
    assert "start-iap-tunnel" in ok(box, "compute", *words)
    ok(box, "compute", "instances", "delete", "m1", "m2", HERE)
    assert box.cloud.made() == []


def test_what_fails_says_so_as_the_real_cloud_does(box: Sandbox) -> None:
    box.cloud.control("stockout", zone="us-central1-a")
    ran = box.gcloud("compute", "instances", "create", "a", HERE, *DEBIAN, "--format=json")
    assert (ran.code, ran.out) == (1, "")
    assert "ZONE_RESOURCE_POOL_EXHAUSTED" in ran.err
    box.cloud.control("stockout", on=False)
    box.cloud.control("quota", region="us-central1", metric="CPUS", limit=0)
    ran = box.gcloud("compute", "instances", "create", "a", HERE, *DEBIAN)
    assert (ran.code, "Quota 'CPUS' exceeded" in ran.err) == (1, True)
    ran = box.gcloud("compute", "instances", "describe", "a", HERE)
    assert (ran.code, "was not found" in ran.err) == (1, True)
    box.cloud.control("permission", deny=["compute.instances.create"])
    ran = box.gcloud("compute", "instances", "create", "a", HERE, *DEBIAN)
    assert (ran.code, "Required 'compute.instances.create'" in ran.err) == (1, True)
    box.cloud.control("service", disable=["compute.googleapis.com"])
    ran = box.gcloud("compute", "instances", "list")
    assert (ran.code, "SERVICE_DISABLED" in ran.err) == (1, True)
    assert "compute.googleapis.com" not in ok(box, "services", "list", "--enabled")
    ok(box, "services", "enable", "compute.googleapis.com")
    assert ok(box, "compute", "instances", "list") == ""
    assert box.cloud.made() == []


def test_groups(box: Sandbox) -> None:
    ok(box, "compute", "instance-templates", "create", "t", "--machine-type=n2-standard-4",
       "--no-address", *SPOT, *DEBIAN)  # fmt: skip
    ok(box, *GROUP, "create", "g", WIDE, "--template=t", "--size=2",
       "--target-distribution-shape=ANY", "--instance-redistribution-type=none",
       "--default-action-on-vm-failure=do-nothing", "--description=mrcore=x",
       "--instance-selection-machine-types=n2-standard-4,e2-standard-4")  # fmt: skip
    ok(box, *GROUP, "wait-until", "g", WIDE, "--stable")
    first, second = ok(
        box, *GROUP, "list-instances", "g", WIDE, "--format=value(instance.uri())"
    ).split()
    box.cloud.control("stockout", zone="us-central1-*")
    ok(box, *GROUP, "resize", "g", WIDE, "--size=3")
    box.cloud.until(lambda: "ZONE_RESOURCE" in ok(box, *GROUP, "list-errors", "g", WIDE))
    found = read(box, *GROUP, "list-instances", "g", WIDE)
    waiting = next(m for m in found if m["currentAction"] == "CREATING")
    code = waiting["lastAttempt"]["errors"]["errors"][0]["code"]
    assert code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    box.cloud.control("stockout", on=False)
    ok(box, *GROUP, "delete-instances", "g", WIDE, f"--instances={first}")
    ok(box, *GROUP, "wait-until", "g", WIDE, "--stable")
    listed = read(box, *GROUP, "list", "--filter=description:mrcore=x")
    assert [(group["name"], group["targetSize"], group["size"]) for group in listed] == [
        ("g", 2, "2")
    ]
    names = {m["instance"] for m in read(box, *GROUP, "list-instances", "g", WIDE)}
    assert (first in names, second in names) == (False, True)
    ok(box, *GROUP, "delete", "g", WIDE)
    ok(box, "compute", "instance-templates", "delete", "t")
    assert box.cloud.made() == []


def test_zonal_groups_and_regional_templates(box: Sandbox) -> None:
    templates = ("compute", "instance-templates", "create")
    ok(box, *templates, "one", *DEBIAN)
    ok(box, *templates, "two", *DEBIAN, "--instance-template-region=us-central1")
    ok(box, *GROUP, "create", "g", HERE, "--template=one", "--size=0")
    two = "--template=projects/test-project/regions/us-central1/instanceTemplates/two"
    ok(box, *GROUP, "set-instance-template", "g", HERE, two)
    shown = box.cloud.resource("zones/us-central1-a/instanceGroupManagers/g")
    assert shown is not None
    assert shown["instanceTemplate"].endswith("/regions/us-central1/instanceTemplates/two")
    ran = box.gcloud(*GROUP, "delete-instances", "g", HERE, "--instances=none")
    assert (ran.code, "not a member" in ran.err) == (1, True)
    ok(box, *GROUP, "delete", "g", HERE)
    listed = "--format=value(name)"
    names = ok(box, "compute", "instance-templates", "list", listed).split()
    assert sorted(names) == ["one", "two"]


def test_firewalls_and_images(box: Sandbox) -> None:
    ok(box, "compute", "firewall-rules", "create", "f", "--allow=tcp:22,tcp:7077",
       "--source-ranges=35.235.240.0/20", "--target-tags=t", "--description=mrcore=x")  # fmt: skip
    listed = read(box, "compute", "firewall-rules", "list", "--filter=description:mrcore=x")
    assert [rule["name"] for rule in listed] == ["f"]
    ok(box, "compute", "firewall-rules", "delete", "f")
    make(box, "bake", "--machine-type=e2-medium", "--boot-disk-size=20GB")
    disk = ("--source-disk=bake", "--source-disk-zone=us-central1-a", "--family=f")
    ran = box.gcloud("compute", "images", "create", "i", *disk)
    assert (ran.code, "already being used" in ran.err) == (1, True)
    ok(box, "compute", "instances", "stop", "bake", HERE)
    ok(box, "compute", "images", "create", "i", *disk, "--labels=mrcore=x")
    assert read(box, "compute", "images", "describe-from-family", "f")["status"] == "READY"
    ok(box, "compute", "images", "delete", "i")
    ok(box, "compute", "instances", "delete", "bake", HERE)
    assert box.cloud.made() == []


def test_what_is_there_from_the_start(box: Sandbox) -> None:
    quotas = {q["metric"]: q for q in read(box, "compute", "regions", "describe", "us-central1")
              ["quotas"]}  # fmt: skip
    assert quotas["CPUS"]["usage"] == 0
    zones = ok(
        box, "compute", "zones", "list", "--filter=region:us-central1", "--format=value(name)"
    )
    assert len(zones.split()) == 4
    types = read(box, "compute", "machine-types", "list", HERE.replace("zone", "zones"))
    assert {"name": "n2-standard-4", "cpus": 4} in [
        {"name": found["name"], "cpus": found["guestCpus"]} for found in types
    ]
    words = ("compute", "networks", "subnets")
    ok(box, *words, "update", "default", WIDE, "--no-enable-private-ip-google-access")
    assert not read(box, *words, "describe", "default", WIDE)["privateIpGoogleAccess"]
    assert read(box, "compute", "project-info", "describe")["quotas"]


def test_accounts_roles_and_policies(box: Sandbox) -> None:
    ok(box, "iam", "service-accounts", "create", "mrcore-master", "--display-name=d")
    email = "mrcore-master@test-project.iam.gserviceaccount.com"
    assert read(box, "iam", "service-accounts", "describe", email)["displayName"] == "d"
    here = "--project=test-project"
    # The roles that the project ships name permissions which there are.
    ok(box, "iam", "roles", "create", "fleet", here, f"--file={ROOT}/deploy/iam/mrcoreFleet.yaml")
    ran = box.gcloud("iam", "roles", "create", "bad", here, "--permissions=compute.zones.shut")
    assert (ran.code, "is not valid" in ran.err) == (1, True)
    condition = "--condition=title=t,expression=resource.name.startsWith('projects/_/buckets/b')"
    binding = ("test-project", f"--member=serviceAccount:{email}")
    role = "--role=projects/test-project/roles/fleet"
    ok(box, "projects", "add-iam-policy-binding", *binding, role, "--condition=None")
    objects = "--role=roles/storage.objectUser"
    ok(box, "projects", "add-iam-policy-binding", *binding, objects, condition)
    policy = read(box, "projects", "get-iam-policy", "test-project")
    assert [b["role"] for b in policy["bindings"] if "condition" in b] == [
        "roles/storage.objectUser"
    ]
    ok(box, "projects", "remove-iam-policy-binding", *binding, objects, condition)
    assert read(box, "projects", "describe", "test-project")["lifecycleState"] == "ACTIVE"
    ok(box, "iam", "roles", "delete", "fleet", here)
    ok(box, "iam", "service-accounts", "delete", email)
