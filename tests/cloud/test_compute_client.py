"""Google's own client for Python drives the test cloud as it drives the real one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials

from tests.cloud.compute.api import DEBIAN, REGION, ZONE
from tests.cloud.compute.server import PROJECT
from tests.cloud.compute.threaded import ThreadedCloud, running

if TYPE_CHECKING:
    from google.cloud import compute_v1  # noqa: TC004 - `_client` loads it

GROUP = {"project": PROJECT, "region": REGION, "instance_group_manager": "g"}


@pytest.fixture(scope="module", autouse=True)
def _client() -> None:
    """Import it for these tests: it takes two seconds, and each test process imports all tests."""
    globals()["compute_v1"] = importlib.import_module("google.cloud.compute_v1")


@pytest.fixture
def cloud() -> Iterator[ThreadedCloud]:
    with running(retry_seconds=0.02) as cloud:
        yield cloud


class Clients:
    """Clients of one cloud; `wait` stands for `.result()`, which asks the real host."""

    def __init__(self, cloud: ThreadedCloud) -> None:
        options: dict[str, Any] = {
            "client_options": {"api_endpoint": cloud.url},
            "credentials": AnonymousCredentials(),  # type: ignore[no-untyped-call]
        }
        self.instances = compute_v1.InstancesClient(**options)
        self.templates = compute_v1.InstanceTemplatesClient(**options)
        self.groups = compute_v1.RegionInstanceGroupManagersClient(**options)
        self._zonal = compute_v1.ZoneOperationsClient(**options)
        self._regional = compute_v1.RegionOperationsClient(**options)
        self._global = compute_v1.GlobalOperationsClient(**options)

    def wait(self, operation: compute_v1.Operation) -> compute_v1.Operation:
        while operation.status != compute_v1.Operation.Status.DONE:
            where = {"project": PROJECT, "operation": operation.name}
            if operation.zone:
                operation = self._zonal.wait(**where, zone=operation.zone.rpartition("/")[2])
            elif operation.region:
                operation = self._regional.wait(**where, region=REGION)
            else:
                operation = self._global.wait(**where)
        return operation


@pytest.fixture
def clients(cloud: ThreadedCloud) -> Clients:
    return Clients(cloud)


def make_template(clients: Clients) -> None:
    disk = compute_v1.AttachedDisk(boot=True, auto_delete=True)
    disk.initialize_params.source_image = DEBIAN
    properties = compute_v1.InstanceProperties(
        machine_type="n2-standard-4",
        disks=[disk],
        labels={"mrcore": "x"},
        scheduling=compute_v1.Scheduling(
            provisioning_model="SPOT", instance_termination_action="DELETE"
        ),
    )
    template = compute_v1.InstanceTemplate(name="t", properties=properties)
    clients.wait(
        clients.templates.insert_unary(project=PROJECT, instance_template_resource=template)
    )


def test_a_regional_group_from_its_template_to_its_end(
    cloud: ThreadedCloud, clients: Clients
) -> None:
    cloud.control("delay", operation_seconds=0.2)
    make_template(clients)
    group = compute_v1.InstanceGroupManager(
        name="g",
        instance_template="global/instanceTemplates/t",
        target_size=2,
        distribution_policy=compute_v1.DistributionPolicy(target_shape="ANY"),
        update_policy=compute_v1.InstanceGroupManagerUpdatePolicy(
            instance_redistribution_type="NONE"
        ),
    )
    clients.wait(
        clients.groups.insert_unary(
            project=PROJECT, region=REGION, instance_group_manager_resource=group
        )
    )
    cloud.until(lambda: clients.groups.get(**GROUP).status.is_stable)
    found = list(clients.groups.list_managed_instances(**GROUP))
    assert {member.instance_status for member in found} == {"RUNNING"}
    request = compute_v1.RegionInstanceGroupManagersDeleteInstancesRequest(
        instances=[found[0].instance]
    )
    clients.wait(
        clients.groups.delete_instances_unary(
            **GROUP, region_instance_group_managers_delete_instances_request_resource=request
        )
    )
    cloud.until(lambda: len(list(clients.groups.list_managed_instances(**GROUP))) == 1)
    assert clients.groups.get(**GROUP).target_size == 1
    aggregated = clients.instances.aggregated_list(
        compute_v1.AggregatedListInstancesRequest(project=PROJECT, filter="labels.mrcore=x")
    )
    names = [instance.name for _, scope in aggregated for instance in scope.instances]
    assert names == [found[1].name]
    clients.wait(clients.groups.delete_unary(**GROUP))
    clients.wait(clients.templates.delete_unary(project=PROJECT, instance_template="t"))
    assert cloud.made() == []


def test_a_stockout_arrives_in_the_operation_and_in_the_group(
    cloud: ThreadedCloud, clients: Clients
) -> None:
    cloud.control("stockout")
    make_template(clients)
    disk = compute_v1.AttachedDisk(boot=True, auto_delete=True)
    disk.initialize_params.source_image = DEBIAN
    instance = compute_v1.Instance(
        name="a", machine_type=f"zones/{ZONE}/machineTypes/e2-medium", disks=[disk]
    )
    operation = clients.wait(
        clients.instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=instance)
    )
    assert operation.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert operation.http_error_status_code == 503
    group = compute_v1.InstanceGroupManager(
        name="g", instance_template="global/instanceTemplates/t", target_size=1
    )
    clients.wait(
        clients.groups.insert_unary(
            project=PROJECT, region=REGION, instance_group_manager_resource=group
        )
    )
    errors = cloud.until(lambda: list(clients.groups.list_errors(**GROUP)))
    assert errors[0].error.code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    member = next(iter(clients.groups.list_managed_instances(**GROUP)))
    assert member.last_attempt.errors.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert member.current_action == "CREATING"
    clients.wait(clients.groups.delete_unary(**GROUP))


def test_refusals_are_the_clients_own_exceptions(cloud: ThreadedCloud, clients: Clients) -> None:
    with pytest.raises(exceptions.NotFound, match="instances/none"):
        clients.instances.get(project=PROJECT, zone=ZONE, instance="none")
    cloud.control("permission", deny=["compute.instances.list"])
    with pytest.raises(exceptions.Forbidden, match=r"compute\.instances\.list"):
        list(clients.instances.list(project=PROJECT, zone=ZONE))
    make_template(clients)
    with pytest.raises(exceptions.Conflict, match="already exists"):
        make_template(clients)
