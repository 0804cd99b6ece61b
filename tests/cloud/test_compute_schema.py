"""Schema of the test cloud's answers: no field that the real API does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import compute_v1

from tests.cloud.compute.api import REGION, ZONE, Api, instance_body, template_body
from tests.cloud.compute.threaded import running

GROUP = f"regions/{REGION}/instanceGroupManagers/g"
INSTANCE = f"zones/{ZONE}/instances/a"
ANSWERS: list[tuple[str, type[Any]]] = [
    ("", compute_v1.Project),
    (INSTANCE, compute_v1.Instance),
    (f"{INSTANCE}/serialPort", compute_v1.SerialPortOutput),
    (f"zones/{ZONE}/instances", compute_v1.InstanceList),
    ("aggregated/instances", compute_v1.InstanceAggregatedList),
    (f"zones/{ZONE}/disks/a", compute_v1.Disk),
    (f"zones/{ZONE}/operations", compute_v1.OperationList),
    (f"zones/{ZONE}", compute_v1.Zone),
    (f"zones/{ZONE}/machineTypes/e2-medium", compute_v1.MachineType),
    ("aggregated/machineTypes", compute_v1.MachineTypeAggregatedList),
    ("regions", compute_v1.RegionList),
    ("global/instanceTemplates/t", compute_v1.InstanceTemplate),
    ("aggregated/instanceTemplates", compute_v1.InstanceTemplateAggregatedList),
    (GROUP, compute_v1.InstanceGroupManager),
    (f"{GROUP}/listErrors", compute_v1.RegionInstanceGroupManagersListErrorsResponse),
    ("aggregated/instanceGroupManagers", compute_v1.InstanceGroupManagerAggregatedList),
    (f"regions/{REGION}/instanceGroups", compute_v1.RegionInstanceGroupList),
    ("aggregated/autoscalers", compute_v1.AutoscalerAggregatedList),
    ("global/firewalls", compute_v1.FirewallList),
    ("global/networks", compute_v1.NetworkList),
    (f"regions/{REGION}/subnetworks", compute_v1.SubnetworkList),
    ("global/images/i", compute_v1.Image),
]


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    """A cloud with one of everything, and a group which wants more than there is."""
    with running() as cloud:
        api = Api(cloud)
        spot = {"provisioningModel": "SPOT", "maxRunDuration": {"seconds": "3600"}}
        accounts = [{"email": "default", "scopes": ["s"]}]
        nics: list[dict[str, Any]] = [{"accessConfigs": [{}]}]
        body = instance_body(
            "a",
            scheduling=spot,
            networkInterfaces=nics,
            serviceAccounts=accounts,
            labels={"k": "v"},
        )
        api.do("POST", f"zones/{ZONE}/instances", body | {"tags": {"items": ["t"]}})
        api.do("POST", "global/instanceTemplates", template_body("t"))
        selections = {"s": {"rank": 1, "machineTypes": ["n2-standard-2"]}}
        group = {
            "name": "g",
            "instanceTemplate": "global/instanceTemplates/t",
            "targetSize": 4,
            "instanceFlexibilityPolicy": {"instanceSelections": selections},
        }
        cloud.control("stockout", zone=f"{REGION}-b")
        api.do("POST", f"regions/{REGION}/instanceGroupManagers", group)
        cloud.until(lambda: api.get(f"{GROUP}/listErrors").get("items"))
        api.do("POST", "global/firewalls", {"name": "f", "allowed": [{"IPProtocol": "tcp"}]})
        api.do("POST", f"{INSTANCE}/stop")
        source = {"name": "i", "sourceDisk": f"zones/{ZONE}/disks/a", "family": "f"}
        api.do("POST", "global/images", source)
        yield api


@pytest.mark.parametrize(("path", "kind"), ANSWERS, ids=[path or "project" for path, _ in ANSWERS])
def test_an_answer_has_known_fields_only(api: Api, path: str, kind: type[Any]) -> None:
    answer = api.get(path)
    kind.from_json(json.dumps(answer), ignore_unknown_fields=False)
    assert answer["kind"].startswith("compute#") if "kind" in answer else "items" in answer


def test_members_have_known_fields_only(api: Api) -> None:
    kind = compute_v1.RegionInstanceGroupManagersListInstancesResponse
    answer = api.compute("POST", f"{GROUP}/listManagedInstances")
    assert len(answer["managedInstances"]) == 4
    kind.from_json(json.dumps(answer), ignore_unknown_fields=False)
    with pytest.raises(Exception, match="no field named"):
        kind.from_json(json.dumps(answer | {"fancy": 1}), ignore_unknown_fields=False)
