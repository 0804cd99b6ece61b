"""Parts of an instance: the checked fields of its resource, and the Vm that machines get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from tests.cloud.compute import catalog, links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, invalid, not_found, required
from tests.cloud.compute.machines import Scheduling, Vm
from tests.cloud.compute.resolve import resolve_image
from tests.cloud.compute.store import Resource, Store

SHORTEST_RUN_SECONDS = 30
LONGEST_RUN_SECONDS = 120 * 86400


def scheduling_fields(given: Mapping[str, Any], where: str) -> Resource:
    """Return the scheduling of an instance or a template with what the cloud fills in."""
    model = given.get("provisioningModel") or ("SPOT" if given.get("preemptible") else "STANDARD")
    if model not in ("SPOT", "STANDARD"):
        raise invalid(f"{where}.provisioningModel", model, "Must be SPOT or STANDARD.")
    is_spot = model == "SPOT"
    if is_spot and given.get("automaticRestart"):
        raise CloudError(
            400,
            "invalid",
            "Scheduling must have automaticRestart be false when preemptible is true.",
        )
    if is_spot and given.get("onHostMaintenance") == "MIGRATE":
        raise CloudError(
            400,
            "invalid",
            "Scheduling must have onHostMaintenance be TERMINATE when preemptible is true.",
        )
    made: Resource = {
        "onHostMaintenance": "TERMINATE" if is_spot else "MIGRATE",
        "automaticRestart": not is_spot,
        "preemptible": is_spot,
        "provisioningModel": model,
    }
    made |= {key: value for key, value in given.items() if value is not None}
    limit = given.get("maxRunDuration")
    if limit is not None:
        seconds = int(limit.get("seconds", 0))
        if not SHORTEST_RUN_SECONDS <= seconds <= LONGEST_RUN_SECONDS:
            raise invalid(
                f"{where}.maxRunDuration",
                seconds,
                "Must be between 30 seconds and 120 days.",
            )
        made["maxRunDuration"] = {"seconds": str(seconds)}
    if is_spot or limit is not None:
        action = made.setdefault("instanceTerminationAction", "STOP")
        if action not in ("STOP", "DELETE"):
            raise invalid(f"{where}.instanceTerminationAction", action, "Must be STOP or DELETE.")
    elif "instanceTerminationAction" in given:
        raise CloudError(
            400,
            "invalid",
            "Instance termination action may be given for Spot VMs and with a run limit only.",
        )
    return made


def machine_type_of(link: str, zone: str, project: str) -> catalog.MachineType:
    """Return the machine type that a link or a bare name means; raise 400 for none."""
    found = catalog.machine_type(links.last(link))
    if found is None:
        path = f"projects/{project}/zones/{zone}/machineTypes/{links.last(link)}"
        raise invalid(
            "resource.machineType", path, f"Machine type with name '{links.last(link)}' does not "
            f"exist in zone '{zone}'."
        )  # fmt: skip
    return found


def boot_disk(store: Store, body: Mapping[str, Any]) -> tuple[Resource, Resource]:
    """Return the boot disk as the request has it, and the image that it is made of."""
    disks = body.get("disks") or []
    boot = next((disk for disk in disks if disk.get("boot")), None)
    if boot is None:
        raise required("resource.disks[0].boot")
    source = boot.get("initializeParams", {}).get("sourceImage")
    if source is None:
        raise CloudError(400, "unsupported", "This cloud boots only from images.")
    return boot, resolve_image(store, source)


def subnetwork_of(store: Store, nic: Mapping[str, Any], region: str) -> Resource:
    """Return the subnetwork of an interface, that of the region where none is named."""
    if "subnetwork" in nic:
        return store.get(store.path_of(nic["subnetwork"]))
    network = store.get(store.path_of(nic.get("network", "global/networks/default")))
    for subnetwork in store.all("subnetworks", f"regions/{region}"):
        if subnetwork["network"] == network["selfLink"]:
            return subnetwork
    raise not_found(store.full(f"regions/{region}/subnetworks/{network['name']}"))


def service_accounts(core: Core, given: Any) -> list[Resource]:
    """Return the accounts of an instance, `default` by its address."""
    found = []
    for account in given or []:
        email = account.get("email", "default")
        email = core.access.default_account if email == "default" else email
        found.append({"email": email, "scopes": list(account.get("scopes", ()))})
    return found


def instance_fields(core: Core, zone: str, body: Mapping[str, Any]) -> Resource:
    """Return the fields of a new instance, checked; addresses and disks come later."""
    store = core.store
    size = machine_type_of(body.get("machineType", ""), zone, store.project)
    nics = body.get("networkInterfaces") or [{}]
    subnetwork = subnetwork_of(store, nics[0], catalog.region_of(zone))
    tags = links.check_tags(body.get("tags", {}).get("items", ()))
    labels = links.check_labels(body.get("labels") or {})
    nic: Resource = {
        "kind": "compute#networkInterface",
        "name": "nic0",
        "network": subnetwork["network"],
        "subnetwork": subnetwork["selfLink"],
        "stackType": "IPV4_ONLY",
    }
    if nics[0].get("accessConfigs"):
        nic["accessConfigs"] = [dict(nics[0]["accessConfigs"][0])]
    fields: Resource = {
        "machineType": store.link(f"zones/{zone}/machineTypes/{size.name}"),
        "status": "PROVISIONING",
        "canIpForward": bool(body.get("canIpForward", False)),
        "networkInterfaces": [nic],
        "metadata": links.metadata(body.get("metadata") or {}),
        "scheduling": scheduling_fields(body.get("scheduling") or {}, "resource.scheduling"),
        "labels": labels,
        "labelFingerprint": links.fingerprint(labels),
        "tags": {"fingerprint": links.fingerprint(tags)} | ({"items": tags} if tags else {}),
        "cpuPlatform": "Intel Broadwell",
        "startRestricted": False,
        "deletionProtection": bool(body.get("deletionProtection", False)),
        "shieldedInstanceConfig": body.get("shieldedInstanceConfig")
        or {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "disks": [],
    }
    if body.get("description"):
        fields["description"] = body["description"]
    if accounts := service_accounts(core, body.get("serviceAccounts")):
        fields["serviceAccounts"] = accounts
    return fields


def vm_of(core: Core, instance: Resource, image: str) -> Vm:
    """Return an instance as the machines see it."""
    zone = links.last(instance["zone"])
    size = machine_type_of(instance["machineType"], zone, core.store.project)
    nic = instance["networkInterfaces"][0]
    account = next(iter(instance.get("serviceAccounts", ())), None)
    scheduling = instance["scheduling"]
    limit = scheduling.get("maxRunDuration")
    project = core.store.get("global/project")
    return Vm(
        id=int(instance["id"]),
        name=instance["name"],
        project=core.store.project,
        zone=zone,
        machine_type=size.name,
        cpus=size.cpus,
        memory_mb=size.memory_mb,
        image=image,
        network_ip=nic["networkIP"],
        external_ip=nic["accessConfigs"][0]["natIP"] if "accessConfigs" in nic else None,
        service_account=account["email"] if account else None,
        scopes=tuple(account["scopes"]) if account else (),
        labels=dict(instance["labels"]),
        metadata=links.items_of(instance["metadata"]),
        project_metadata=links.items_of(project["commonInstanceMetadata"]),
        tags=tuple(instance["tags"].get("items", ())),
        scheduling=Scheduling(
            provisioning_model=cast("Literal['STANDARD', 'SPOT']", scheduling["provisioningModel"]),
            automatic_restart=scheduling["automaticRestart"],
            termination_action=scheduling.get("instanceTerminationAction", "STOP"),
            max_run_seconds=int(limit["seconds"]) if limit else None,
        ),
        project_number=core.store.number,
    )
