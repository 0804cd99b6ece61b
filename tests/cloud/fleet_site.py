"""A cluster in the test cloud as the runner would make it, for tests of the fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mrcore.master.fleet.cloud import Target
from mrcore.master.fleet.compute import ComputeCloud
from mrcore.master.fleet.core.model import Provisioning
from tests.cloud.compute.api import REGION, ZONE, Api, instance_body, template_body

CLUSTER = "c"
LABELS = {"mrcore": CLUSTER, "mrcore-role": "worker"}
SPOT = {"provisioningModel": "SPOT", "preemptible": True, "instanceTerminationAction": "DELETE"}


@dataclass(frozen=True)
class Site:
    """The groups of one cluster, zonal or regional."""

    api: Api
    regional: bool = False

    @property
    def target(self) -> Target:
        project = self.api.cloud.server.core.store.project
        return Target(project, self.regional, REGION if self.regional else ZONE, CLUSTER)

    @property
    def place(self) -> str:
        return f"regions/{REGION}" if self.regional else f"zones/{ZONE}"

    def group(self, model: Provisioning) -> str:
        return f"{self.place}/instanceGroupManagers/mrcore-{CLUSTER}-{model}"

    def driver(self) -> ComputeCloud:
        return ComputeCloud(self.target, endpoint=self.api.cloud.url)

    def make(self, **sizes: int) -> None:
        """Make the templates and groups; sizes by model, 0 where not given."""
        for model in Provisioning:
            name = f"mrcore-{CLUSTER}-{model}"
            scheduling = SPOT if model is Provisioning.SPOT else {"provisioningModel": "STANDARD"}
            template = template_body(
                name, machineType="e2-standard-2", labels=LABELS, scheduling=scheduling
            )
            self.api.do("POST", "global/instanceTemplates", template)
            body: dict[str, Any] = {
                "name": name,
                "instanceTemplate": f"global/instanceTemplates/{name}",
                "targetSize": sizes.get(model, 0),
                "instanceLifecyclePolicy": {"defaultActionOnFailure": "DO_NOTHING"},
            }
            if self.regional:
                body |= {
                    "distributionPolicy": {"targetShape": "ANY"},
                    "updatePolicy": {"instanceRedistributionType": "NONE"},
                }
            self.api.do("POST", f"{self.place}/instanceGroupManagers", body)

    def make_master(self) -> str:
        """Make the master's machine; return its name."""
        name = f"mrcore-{CLUSTER}-master"
        labels = {**LABELS, "mrcore-role": "master"}
        body = instance_body(name, labels=labels)
        self.api.do("POST", f"zones/{ZONE}/instances", body)
        return name

    def make_firewalls(self, cluster: str = CLUSTER) -> None:
        """Make the firewall rules of a cluster."""
        for kind in ("internal", "iap"):
            body = {
                "name": f"mrcore-{cluster}-{kind}",
                "description": f"mrcore={cluster} mrcore-role=master",
                "allowed": [{"IPProtocol": "tcp", "ports": ["7077"]}],
            }
            self.api.do("POST", "global/firewalls", body)

    def members(self, model: Provisioning) -> list[dict[str, Any]]:
        found = self.api.compute("POST", f"{self.group(model)}/listManagedInstances")
        return list(found.get("managedInstances", []))

    def running(self, model: Provisioning) -> list[str]:
        """Return the names of the machines of a group that run."""
        return [m["name"] for m in self.members(model) if m.get("instanceStatus") == "RUNNING"]

    def machines(self) -> list[str]:
        """Return the names of all machines that there are."""
        paths = [path for path in self.api.cloud.made() if "/instances/" in path]
        return [path.rpartition("/")[2] for path in paths]
