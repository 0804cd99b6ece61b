"""Names, labels and options of the parts of a cluster."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

from mrcore.deploy.payload import HERE as DEPLOY
from mrcore.deploy.payload import shutdown_script, startup_script
from mrcore.gce.options import ATTRIBUTE_SEPARATOR
from mrcore.gce.record import Record

SPOT: Final = "spot"
STANDARD: Final = "standard"
MODELS: Final = (SPOT, STANDARD)
"""Groups of workers: spot VMs, and those on demand."""
PORT: Final = 7077
_ARM: Final = ("t2a-", "c4a-", "n4a-")


def master_name(cluster: str, number: int = 1) -> str:
    """Return the name of the VM of a master; they are counted from 1."""
    return f"mrcore-{cluster}-master" + (f"-{number}" if number > 1 else "")


def group_name(cluster: str, model: str) -> str:
    """Return the name of a group of workers."""
    return f"mrcore-{cluster}-{model}"


def firewall_name(cluster: str, purpose: str) -> str:
    """Return the name of a firewall rule: `internal` between VMs, `iap` for people."""
    return f"mrcore-{cluster}-{purpose}"


def owner_label() -> str:
    """Return who runs this, as labels may hold it: lower-case letters, digits, `-` and `_`."""
    owner = os.environ.get("USER") or os.environ.get("LOGNAME") or "unknown"
    return re.sub(r"[^a-z0-9_-]", "-", owner.lower())[:63]


def account_email(role: str, project: str) -> str:
    """Return the service account of a role, which all clusters of a project share."""
    return f"mrcore-{role}@{project}.iam.gserviceaccount.com"


def image_path(image: str, machine_type: str, project: str) -> str:
    """Return the full path of `--image`: a name, family/NAME, or a path of another project."""
    if not image:
        arm = "-arm64" if machine_type.startswith(_ARM) else ""
        return f"projects/debian-cloud/global/images/family/debian-12{arm}"
    if image.startswith("projects/"):
        return image
    return f"projects/{project}/global/images/{image}"


def labels(record: Record, role: str) -> dict[str, str]:
    """Return what every part says of itself."""
    return {
        "mrcore": record.name,
        "mrcore-role": role,
        "mrcore-owner": record.owner,
        "mrcore-expires": str(record.expires_seconds),
    }


def description(record: Record, role: str) -> str:
    """Return the labels, for what takes none."""
    return " ".join(f"{key}={value}" for key, value in labels(record, role).items())


def place_option(location: str) -> str:
    """Return the option that names where groups are, for `zones/Z` or `regions/R`."""
    kind, _, place = location.partition("/")
    return f"--region={place}" if kind == "regions" else f"--zone={place}"


def region_of(location: str) -> str:
    """Return the region of `zones/Z` or `regions/R`."""
    kind, _, place = location.partition("/")
    return place if kind == "regions" else place.rpartition("-")[0]


def machine_options(record: Record, role: str, *, at_end: str = "DELETE") -> list[str]:
    """Return what `instances create` and `instance-templates create` have in common.

    at_end: what Compute Engine does with a VM that has run for too long.
    """
    account = record.worker_account if role == "worker" else record.master_account
    pairs = ",".join(f"{key}={value}" for key, value in labels(record, role).items())
    scripts = f"startup-script={startup_script()},shutdown-script={shutdown_script()}"
    project, _, rest = record.image.removeprefix("projects/").partition("/")
    family = "/family/" in rest
    return [
        *("--no-address", f"--tags=mrcore-{record.name}", f"--labels={pairs}"),
        *(f"--service-account={account}", "--scopes=cloud-platform"),
        *(f"--boot-disk-size={record.disk_gib}GB", "--boot-disk-type=pd-balanced"),
        f"--max-run-duration={record.max_run_seconds}s",
        f"--instance-termination-action={at_end}",
        f"--metadata={_metadata(record, role)}",
        f"--metadata-from-file={scripts}",
        f"--{'image-family' if family else 'image'}={rest.rpartition('/')[2]}",
        f"--image-project={project}",
        f"--subnet={record.subnet}" if record.subnet else f"--network={record.network}",
    ]


def _metadata(record: Record, role: str) -> str:
    """Return metadata attributes, with a separator that no value has."""
    payload = f"{record.home}/payload/{record.payload_sha256}.tar.gz"
    attributes = {
        "mrcore-cluster": record.name,
        "mrcore-role": role,
        "mrcore-home": record.home,
        "mrcore-payload": payload,
        "mrcore-payload-sha256": record.payload_sha256,
        "mrcore-env": "\n".join(_environment(record, role)),
    }
    pairs = (f"{key}={value}" for key, value in attributes.items())
    return f"^{ATTRIBUTE_SEPARATOR}^{ATTRIBUTE_SEPARATOR.join(pairs)}"


def _environment(record: Record, role: str) -> list[str]:
    """Return the lines of the daemons' environment."""
    # All of several masters stand by: the first that finds nobody leading leads.
    standby = ["MRCORE_STANDBY=--standby"] if role == "master" and record.masters > 1 else []
    return [
        f"MRCORE_STATE={record.home}/state",
        f"MRCORE_CLUSTER={record.name}",
        f"MRCORE_FLEET=gce:{record.project}/{record.location}",
        f"MRCORE_MIN_WORKERS={record.min_workers}",
        f"MRCORE_MAX_WORKERS={record.max_workers}",
        f"MRCORE_DEADLINE={record.deadline}",
        f"MRCORE_MAX_COST={record.max_cost}",
        f"MRCORE_IDLE_TIMEOUT={record.idle_timeout}",
        *standby,
        *record.vm_env,
    ]


def template_options(record: Record, model: str) -> list[str]:
    """Return the options of an instance template of workers."""
    options = [f"--machine-type={record.machine_types[0]}", *machine_options(record, "worker")]
    if record.subnet:
        options.append(f"--region={region_of(record.location)}")
    if model == SPOT:
        options.append("--provisioning-model=SPOT")
    return options


def template_name(record: Record, model: str) -> str:
    """Return the name of a template: it cannot change, so a digest of its content is in it."""
    digest = hashlib.sha256()
    for option in template_options(record, model):
        digest.update(option.replace(str(DEPLOY), "").encode() + b"\0")
    return f"mrcore-{record.name}-{model}-{digest.hexdigest()[:8]}"
