"""Catalog of this cloud: regions, zones, machine types, public images, quotas, services."""

from __future__ import annotations

import re
from dataclasses import dataclass

ZONES: dict[str, tuple[str, ...]] = {
    "europe-west1": ("b", "c", "d"),
    "europe-west4": ("a", "b", "c"),
    "us-central1": ("a", "b", "c", "f"),
    "us-east1": ("b", "c", "d"),
    "us-west1": ("a", "b", "c"),
}
"""The letters of the zones of each region."""


def zones_of(region: str) -> list[str]:
    return [f"{region}-{letter}" for letter in ZONES[region]]


def all_zones() -> list[str]:
    return [zone for region in ZONES for zone in zones_of(region)]


def region_of(zone: str) -> str:
    return zone.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class MachineType:
    """One size of machine, the same in every zone."""

    name: str
    cpus: int
    memory_mb: int
    is_shared_core: bool = False


_SHARED = [
    MachineType("e2-micro", 2, 1024, True),
    MachineType("e2-small", 2, 2048, True),
    MachineType("e2-medium", 2, 4096, True),
]
_SIZES: dict[str, tuple[int, ...]] = {
    "c2d": (2, 4, 8, 16, 32, 56),
    "c3": (4, 8, 22, 44),
    "e2": (2, 4, 8, 16, 32),
    "n1": (1, 2, 4, 8, 16, 32),
    "n2": (2, 4, 8, 16, 32, 48),
    "n2d": (2, 4, 8, 16, 32, 48),
    "t2d": (1, 2, 4, 8, 16, 32),
}
_MEMORY_MB = {  # for each vCPU of standard, highmem and highcpu
    "c2d": (4096, 8192, 2048),
    "c3": (4096, 8192, 2048),
    "e2": (4096, 8192, 1024),
    "n1": (3840, 6656, 922),
    "n2": (4096, 8192, 1024),
    "n2d": (4096, 8192, 1024),
    "t2d": (4096,),
}
_KINDS = ("standard", "highmem", "highcpu")

MACHINE_TYPES: dict[str, MachineType] = {
    found.name: found
    for found in [
        *_SHARED,
        *(
            MachineType(f"{series}-{kind}-{cpus}", cpus, cpus * memory_mb)
            for series, sizes in _SIZES.items()
            for kind, memory_mb in zip(_KINDS, _MEMORY_MB[series], strict=False)
            for cpus in sizes
        ),
    ]
}
_CUSTOM = re.compile(r"(?:(e2|n2|n2d)-)?custom-(\d+)-(\d+)")


def machine_type(name: str) -> MachineType | None:
    """Return the size of that name, a custom one too; None where there is none."""
    if match := _CUSTOM.fullmatch(name):
        return MachineType(name, int(match[2]), int(match[3]))
    return MACHINE_TYPES.get(name)


@dataclass(frozen=True, slots=True)
class PublicImage:
    """An image that everybody may use."""

    project: str
    name: str
    family: str
    disk_gb: int = 10


PUBLIC_IMAGES = [
    PublicImage("debian-cloud", "debian-11-bullseye-v20250610", "debian-11"),
    PublicImage("debian-cloud", "debian-12-bookworm-v20250513", "debian-12"),
    PublicImage("debian-cloud", "debian-12-bookworm-v20250610", "debian-12"),
    PublicImage("debian-cloud", "debian-13-trixie-v20250610", "debian-13"),
    PublicImage("ubuntu-os-cloud", "ubuntu-2404-noble-amd64-v20250606", "ubuntu-2404-lts-amd64"),
]
PUBLIC_IMAGE_PROJECTS = (
    *("centos-cloud", "cos-cloud", "debian-cloud", "fedora-coreos-cloud", "opensuse-cloud"),
    *("oracle-linux-cloud", "rhel-cloud", "rhel-sap-cloud", "rocky-linux-accelerator-cloud"),
    *("rocky-linux-cloud", "suse-cloud", "suse-sap-cloud", "ubuntu-os-accelerator-images"),
    *("ubuntu-os-cloud", "ubuntu-os-pro-cloud", "windows-cloud", "windows-sql-cloud"),
)

REGION_QUOTAS: dict[str, float] = {
    "CPUS": 200,
    "PREEMPTIBLE_CPUS": 400,
    "INSTANCES": 600,
    "IN_USE_ADDRESSES": 50,
    "DISKS_TOTAL_GB": 20_480,
    "SSD_TOTAL_GB": 10_240,
    "INSTANCE_GROUP_MANAGERS": 50,
    "REGIONAL_INSTANCE_GROUP_MANAGERS": 50,
}
PROJECT_QUOTAS: dict[str, float] = {
    "CPUS_ALL_REGIONS": 400,
    "FIREWALLS": 100,
    "IMAGES": 100,
    "INSTANCE_TEMPLATES": 100,
    "NETWORKS": 5,
}

SERVICES: dict[str, str] = {
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "compute.googleapis.com": "Compute Engine API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "iap.googleapis.com": "Cloud Identity-Aware Proxy API",
    "logging.googleapis.com": "Cloud Logging API",
    "monitoring.googleapis.com": "Cloud Monitoring API",
    "oslogin.googleapis.com": "Cloud OS Login API",
    "serviceusage.googleapis.com": "Service Usage API",
    "storage.googleapis.com": "Cloud Storage API",
}

_COMPUTE_PERMISSIONS = {
    "addresses": "create delete get list use",
    "autoscalers": "create delete get list update",
    "disks": "create createSnapshot delete get list setLabels update use useReadOnly",
    "firewalls": "create delete get list update",
    "globalOperations": "get list",
    "images": "create delete deprecate get getFromFamily list setLabels useReadOnly",
    "instanceGroupManagers": "create delete get list update use",
    "instanceGroups": "create delete get list update use",
    "instanceTemplates": "create delete get list useReadOnly",
    "instances": "create delete get getSerialPortOutput list osAdminLogin osLogin reset setLabels "
    "setMetadata setScheduling setServiceAccount setTags start stop update use",
    "machineTypes": "get list",
    "networks": "create delete get list updatePolicy use",
    "projects": "get setCommonInstanceMetadata",
    "regionOperations": "get list",
    "regions": "get list",
    "subnetworks": "create delete get list setPrivateIpGoogleAccess update use useExternalIp",
    "zoneOperations": "get list",
    "zones": "get list",
}
_OTHER_PERMISSIONS = {
    "iam.roles": "create delete get list undelete update",
    "iam.serviceAccounts": "actAs create delete get getAccessToken getIamPolicy list setIamPolicy "
    "update",
    "iap.tunnelInstances": "accessViaIAP",
    "logging.logEntries": "create list route",
    "monitoring.metricDescriptors": "create get list",
    "monitoring.monitoredResourceDescriptors": "get list",
    "monitoring.timeSeries": "create list",
    "resourcemanager.projects": "get getIamPolicy setIamPolicy",
    "serviceusage.services": "disable enable get list use",
    "storage.buckets": "create delete get getIamPolicy list setIamPolicy update",
    "storage.objects": "create delete get getIamPolicy list setIamPolicy update",
}

PERMISSIONS = frozenset(
    f"{resource}.{verb}"
    for resource, verbs in {
        **{f"compute.{name}": verbs for name, verbs in _COMPUTE_PERMISSIONS.items()},
        **_OTHER_PERMISSIONS,
    }.items()
    for verb in verbs.split()
)
"""The permissions that there are, of the APIs that this cloud knows of."""
