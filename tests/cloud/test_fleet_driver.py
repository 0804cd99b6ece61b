"""The fleet's driver against the test cloud: Google's own client, real requests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mrcore.errors import UsageError
from mrcore.master.fleet.cloud import CloudError, Target, parse_target
from mrcore.master.fleet.compute import ComputeCloud
from mrcore.master.fleet.core.model import Group, Provisioning
from tests.cloud.compute.api import REGION, ZONE, Api, template_body
from tests.cloud.compute.threaded import ThreadedCloud, running
from tests.cloud.fleet_site import LABELS, Site
from tests.cloud.metadata import MetadataServer
from tests.support.vm_identity import VM

MACHINE = replace(VM, network_ip="127.0.0.1")

SPOT, STANDARD = Provisioning.SPOT, Provisioning.STANDARD


@pytest.fixture
def cloud() -> Iterator[ThreadedCloud]:
    with running(retry_seconds=0.02) as cloud:
        yield cloud


@pytest.fixture(params=["zonal", "regional"])
def site(cloud: ThreadedCloud, request: pytest.FixtureRequest) -> Site:
    return Site(Api(cloud), regional=request.param == "regional")


@pytest.fixture
def driver(site: Site) -> Iterator[ComputeCloud]:
    driver = site.driver()
    yield driver
    driver.close()


def settled(site: Site, driver: ComputeCloud, model: Provisioning = SPOT) -> Group:
    """Return a group once it is at rest."""
    site.api.cloud.until(lambda: site.api.get(site.group(model))["status"]["isStable"])
    return driver.look().groups[model]


def test_groups_and_machines_are_seen_as_they_are(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=2)
    master = site.make_master()
    group = settled(site, driver)
    assert group.target_size == 2
    assert group.machine_type == "e2-standard-2"
    assert all(m.exists and m.action == "NONE" and m.created_seconds > 0 for m in group.members)
    look = driver.look()
    assert look.groups[STANDARD].members == ()
    kinds = {machine.name: (machine.spot, machine.master) for machine in look.machines}
    assert kinds.pop(master) == (False, True)
    assert kinds == {member.name: (True, False) for member in group.members}
    assert all(machine.zone.startswith(REGION) for machine in look.machines)
    assert all(machine.disk_gib > 0 for machine in look.machines)


def test_without_groups_nothing_is_seen(driver: ComputeCloud) -> None:
    look = driver.look()
    assert look.groups == {}
    assert look.machines == ()


def test_a_group_grows_by_size_and_shrinks_by_name(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=1)
    settled(site, driver)
    driver.grow(SPOT, 3)
    names = [member.name for member in settled(site, driver).members]
    assert len(names) == 3
    driver.delete(SPOT, [names[0], "mrcore-c-spot-gone"])
    site.api.cloud.until(lambda: len(site.running(SPOT)) == 2)
    group = settled(site, driver)
    assert group.target_size == 2
    assert [member.name for member in group.members] == names[1:]


def test_a_preempted_machine_is_a_dead_member(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=2)
    first, second = settled(site, driver).members
    site.api.cloud.control("preempt", instance=first.name)
    site.api.cloud.until(lambda: site.running(SPOT) == [second.name])
    look = driver.look()
    assert [m.dead for m in look.groups[SPOT].members] == [True, False]
    assert [machine.name for machine in look.machines] == [second.name]
    driver.delete(SPOT, [first.name])
    site.api.cloud.until(lambda: len(site.members(SPOT)) == 1)
    assert driver.look().groups[SPOT].target_size == 1


@pytest.mark.parametrize("kind", ["stockout", "quota"])
def test_what_cannot_be_made_is_seen_with_its_reason(
    site: Site, driver: ComputeCloud, kind: str
) -> None:
    site.make()
    if kind == "stockout":
        site.api.cloud.control("stockout", model="SPOT")
    else:
        site.api.cloud.control("quota", metric="CPUS", limit=1, region=REGION)
        site.api.cloud.control("quota", metric="PREEMPTIBLE_CPUS", limit=1, region=REGION)
    driver.grow(SPOT, 1)
    site.api.cloud.until(lambda: bool(driver.look().groups[SPOT].errors))
    group = driver.look().groups[SPOT]
    (member,) = group.members
    assert member.coming
    assert not member.exists
    (trouble,) = member.errors
    assert trouble.quota is (kind == "quota")
    assert trouble.message
    assert group.errors[0].at_seconds > 0
    assert group.errors[0].zone.startswith(REGION)


def test_groups_are_deleted_with_their_machines_and_again(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=2)
    settled(site, driver)
    for _ in range(2):
        driver.delete_group(SPOT)
        driver.delete_group(STANDARD)
    assert driver.look().groups == {}
    assert site.machines() == []


def test_a_group_that_is_being_deleted_needs_no_more(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=1)
    settled(site, driver)
    site.api.cloud.control("delay", operation_seconds=2)
    site.api.compute("DELETE", site.group(SPOT))
    driver.delete_group(SPOT)
    site.api.cloud.until(lambda: SPOT not in driver.look().groups)


def test_the_masters_own_machine_is_deleted_without_waiting(
    site: Site, driver: ComputeCloud
) -> None:
    name = site.make_master()
    for _ in range(2):
        driver.delete_machine(name, ZONE)
        site.api.cloud.until(lambda: site.machines() == [])


@pytest.mark.parametrize("place", ["global", f"regions/{REGION}"])
def test_templates_and_firewall_rules_are_deleted_and_no_others(
    site: Site, driver: ComputeCloud, place: str
) -> None:
    own = template_body("mrcore-c-spot-1", machineType="e2-standard-2", labels=LABELS)
    foreign = template_body("mrcore-c-of-others", labels={"mrcore": "c-of-others"})
    for body in (own, foreign):
        site.api.do("POST", f"{place}/instanceTemplates", body)
    site.make_firewalls()
    site.make_firewalls("d")
    # It has a name like ours, and is not.
    named = {
        "name": "mrcore-d2-iap",
        "description": "mrcore-d2",
        "allowed": [{"IPProtocol": "tcp"}],
    }
    site.api.do("POST", "global/firewalls", named)
    for _ in range(2):  # what is gone is fine
        driver.delete_parts()
    assert sorted(path.rpartition("/")[2] for path in site.api.cloud.made()) == [
        *("mrcore-c-of-others", "mrcore-d-iap", "mrcore-d-internal", "mrcore-d2-iap"),
    ]
    target = replace(site.target, cluster="d2")
    ComputeCloud(target, endpoint=site.api.cloud.url).delete_parts()
    assert "global/firewalls/mrcore-d2-iap" in site.api.cloud.made()


def test_a_template_that_is_in_use_is_told_and_the_rest_goes(
    site: Site, driver: ComputeCloud
) -> None:
    site.make()
    site.make_firewalls()
    with pytest.raises(CloudError, match="mrcore-c-spot"):
        driver.delete_parts()
    assert not any("/firewalls/" in path for path in site.api.cloud.made())


def test_what_is_not_allowed_names_project_and_role(site: Site, driver: ComputeCloud) -> None:
    site.make()
    site.api.cloud.control("permission", deny=["compute.instanceGroupManagers.update"])
    with pytest.raises(CloudError, match=r"may not manage machines of test-project .*role"):
        driver.grow(SPOT, 1)


def test_a_cloud_that_is_down_for_a_moment_is_asked_again(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=1)
    site.api.cloud.control("error", method="compute.instances.aggregatedList", status=503, count=2)
    site.api.cloud.until(lambda: len(driver.look().machines) == 1)


def test_machines_of_other_clusters_are_none_of_ours(site: Site, driver: ComputeCloud) -> None:
    site.make(spot=1)
    settled(site, driver)
    other = Target(site.target.project, site.regional, site.target.place, "other")
    stranger = ComputeCloud(other, endpoint=site.api.cloud.url)
    look = stranger.look()
    stranger.close()
    assert look.groups == {}
    assert look.machines == ()


def test_nobody_at_home_is_told(site: Site) -> None:
    away = ComputeCloud(site.target, endpoint="http://127.0.0.1:1", timeout_seconds=0.1)
    with pytest.raises(CloudError, match="does not answer"):
        away.look()
    away.close()


LOOK = """
import sys
from mrcore.master.fleet.cloud import parse_target
from mrcore.master.fleet.compute import ComputeCloud
from mrcore.errors import MrcoreError
cloud = ComputeCloud(parse_target(sys.argv[1], "c"))
try:
    print(sorted(cloud.look().groups))
except MrcoreError as error:
    print(error)
finally:
    cloud.close()
"""


def test_on_a_machine_the_drivers_rights_are_those_of_its_account(site: Site) -> None:
    site.make()
    made = site.api.rest(
        "POST", "/v1/projects/test-project/serviceAccounts", {"accountId": "fleet-master"}
    )
    account = made["email"]
    with MetadataServer("127.0.0.1") as metadata:
        metadata.put(replace(MACHINE, service_account=account))
        environment = {
            **os.environ,
            # In a process of its own: Google's library reads this once.
            "GCE_METADATA_HOST": "{}:{}".format(*metadata.address),
            "MRCORE_COMPUTE_ENDPOINT": site.api.cloud.url,
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", LOOK, str(site.target)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert "may not manage machines of test-project" in done.stdout
    callers = {call["caller"] for call in site.api.cloud.calls("compute.instances.aggregatedList")}
    assert account in callers


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (
            "gce:my-project/zones/us-central1-a",
            Target("my-project", False, "us-central1-a", "c"),
        ),
        ("gce:my-project/regions/us-central1", Target("my-project", True, "us-central1", "c")),
    ],
)
def test_targets_are_read_as_they_are_written(text: str, target: Target) -> None:
    assert parse_target(text, "c") == target
    assert str(target) == text


@pytest.mark.parametrize(
    ("text", "cluster"),
    [
        ("my-project/zones/z-1-a", "c"),
        ("gce:my-project/zones/", "c"),
        ("gce:my-project/places/us-central1", "c"),
        ("gce:my-project/zones/us-central1-a", ""),
        ("gce:my-project/zones/us-central1-a", "Big"),
    ],
)
def test_what_is_no_target_is_refused(text: str, cluster: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text, cluster)
