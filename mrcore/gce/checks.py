"""Checks of the cloud and of this machine, before anything is made.

A check looks at one thing and yields findings. All checks run at the same time, since each call of
gcloud takes seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from mrcore.gce import permissions
from mrcore.gce.bucket import findings as bucket_findings
from mrcore.gce.failures import NEEDED_SERVICES, GcloudError, Kind
from mrcore.gce.findings import Finding
from mrcore.gce.machines import image_path
from mrcore.gce.options import DEFAULT_PYTHON, bucket_of
from mrcore.gce.runner import Runner

Check = Callable[["Looks"], Iterator[Finding]]


class Looks:
    """Readings of the checks of one command, for judgements that need several of them."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.options = runner.options
        self.token = ""
        """Access token of the person; empty where gcloud gave none."""
        self.cpus: dict[str, int] = {}
        """Number of processors by machine type."""
        self.quotas: Any = None
        """Quotas of the region."""
        self.quotas_of_project: Any = None

    @property
    def machine_types(self) -> list[str]:
        """Machine types that have to exist."""
        return [*self.options.all_machine_types, self.options.master_type]


def _error(message: str) -> Finding:
    return Finding("error", message)


def check_versions(looks: Looks) -> Iterator[Finding]:
    """Compare Python here and on the VMs: code travels pickled and as wheels."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = looks.options.python_version
    if not looks.options.image and there != DEFAULT_PYTHON:
        yield _error(
            f"Debian 12 has Python {DEFAULT_PYTHON} on the VMs, not {there}. Leave --python out, "
            "or name an --image that has it."
        )
    elif here == there:
        yield Finding("ok", f"Python {here} here and on the VMs")
    else:
        yield _error(
            f"Python is {here} here and {there} on the VMs. Run mrcore with Python {there}, or "
            f"bake an image that has {here} and give --python {here}."
        )


def check_services(looks: Looks) -> Iterator[Finding]:
    """Look whether the APIs are on."""
    project = looks.runner.project
    found = looks.runner.gcloud.read(
        f"Listing the APIs of {project}",
        *("services", "list", "--enabled", "--format=json(config.name)"),
    )
    enabled = {service["config"]["name"] for service in found or ()}
    needed = [
        name
        for name in NEEDED_SERVICES
        if looks.options.through_tunnel or not name.startswith("iap.")
    ]
    if off := " ".join(name for name in needed if name not in enabled):
        yield _error(
            f"APIs of {project} are off. Switch them on with: gcloud services enable {off} "
            f"--project={project}"
        )
    else:
        yield Finding("ok", "APIs")


def check_permissions(looks: Looks) -> Iterator[Finding]:
    """Look whether the person may do what the runner is going to do."""
    runner = looks.runner
    looks.token = runner.gcloud.look("Asking for a token", "auth", "print-access-token").strip()
    if runner.dry:
        return
    makes_iam, bucket = not looks.options.own_accounts, bucket_of(runner.home)
    wanted = list(permissions.NEEDED)
    wanted += permissions.NEEDED_FOR_IAM if makes_iam else ()
    wanted += permissions.NEEDED_FOR_TUNNEL if looks.options.through_tunnel else ()
    on_bucket = list(permissions.NEEDED_ON_BUCKET)
    on_bucket += permissions.NEEDED_ON_BUCKET_FOR_IAM if makes_iam else ()
    lacking = permissions.missing(runner.project, looks.token, wanted)
    missing_there = permissions.missing_on_bucket(bucket, looks.token, on_bucket)
    lacking += [f"{permission} on {bucket}" for permission in missing_there]
    if lacking:
        yield _error(
            f"your account lacks permissions on {runner.project}: {', '.join(lacking)}. Ask its "
            "owner for the roles that docs/gce.md names."
        )
    else:
        yield Finding("ok", "permissions")


def check_machines(looks: Looks) -> Iterator[Finding]:
    """Look whether the machine types exist there."""
    runner, types = looks.runner, looks.machine_types
    names = " ".join(types)
    where = [f"--filter=name=({names})", f"--zones={runner.zone}"]
    if not runner.zone:
        where = [f"--filter=name=({names}) AND zone~{runner.wanted_region}-"]
    found = runner.gcloud.read(
        "Listing the machine types",
        *("compute", "machine-types", "list", *where, "--format=json(name,guestCpus)"),
    )
    looks.cpus = {item["name"]: int(item["guestCpus"]) for item in found or ()}
    if not looks.cpus:
        yield _error(
            f"{runner.where} has none of the machine types {names}, or is not a place. See: gcloud "
            "compute zones list"
        )
        return
    for machine_type in types:
        if machine_type not in looks.cpus:
            yield _error(
                f"{runner.where} has no machine type {machine_type}. See: gcloud compute "
                "machine-types list"
            )
    if len(looks.options.machine_types) > 1 and not runner.region:
        yield Finding(
            "warn", "only a --region takes several machine types; in a zone the first is used."
        )


def check_quotas(looks: Looks) -> Iterator[Finding]:
    """Read the quotas; `judge_quotas` says what they mean."""
    runner = looks.runner

    def read_region() -> None:
        region = runner.wanted_region
        looks.quotas = _read_if_there(
            looks,
            f"Reading the quotas of {region}",
            *("compute", "regions", "describe", region, "--format=json(quotas)"),
        )

    def read_project() -> None:
        looks.quotas_of_project = _read_if_there(
            looks,
            f"Reading the quotas of {runner.project}",
            *("compute", "project-info", "describe", "--format=json(name,quotas)"),
        )

    yield from _both(looks, read_region, read_project)


def _both(looks: Looks, *reads: Callable[[], None]) -> Iterator[Finding]:
    """Read two things at the same time; yield what has failed."""
    if looks.runner.dry:
        for read in reads:
            read()
        return
    steps = [looks.runner.crew.start(read) for read in reads]
    for step in steps:
        step.join()
        try:
            step.result()
        except GcloudError as error:
            yield _error(str(error))


def _read_if_there(looks: Looks, what: str, *arguments: str, project: str | None = None) -> Any:
    """Return what gcloud prints of a thing; None where that is not there."""
    try:
        return looks.runner.gcloud.read(what, *arguments, project=project)
    except GcloudError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
        return None


def check_image(looks: Looks) -> Iterator[Finding]:
    """Look whether the image is there, and which Python it was baked with."""
    image, runner = looks.options.image, looks.runner
    if not image:
        return
    path = image_path(image, "", runner.project).removeprefix("projects/")
    project, name = path.partition("/")[0], path.rpartition("/")[2]
    found = _read_if_there(
        looks,
        f"Looking at the image {image}",
        *("compute", "images"),
        *("describe-from-family" if "/family/" in path else "describe", name),
        "--format=json(labels,diskSizeGb)",
        project=project,
    )
    if found is None:
        yield _error(
            f"the image {image} does not exist. Bake one with mrcore gce image, or see gcloud "
            f"compute images list --project={project}"
        )
        return
    label = str((found.get("labels") or {}).get("mrcore-python", "")).replace("-", ".")
    size, there = int(found.get("diskSizeGb") or 0), looks.options.python_version
    if label and label != there:
        yield _error(
            f"the image {image} was baked with Python {label}, and {there} is what the VMs should "
            f"have. Run mrcore with Python {label} and give --python {label}, or bake "
            "another image."
        )
    elif size > looks.options.disk:
        yield _error(
            f"the image {image} needs a disk of {size} GB. Give --disk-size {size} or more."
        )
    else:
        yield Finding("ok", f"image {image}")


def check_accounts(looks: Looks) -> Iterator[Finding]:
    """Look whether accounts of one's own are there, as far as one may see that."""
    for daemon in ("master", "worker"):
        account = getattr(looks.options, f"service_account_{daemon}")
        if not account:
            continue
        try:
            looks.runner.gcloud.read(
                f"Looking at the account {account}",
                *("iam", "service-accounts", "describe", account, "--format=json(email)"),
            )
        except GcloudError as error:
            if error.kind in (Kind.NOT_FOUND, Kind.UNSEEN):
                yield _error(
                    f"the service account {account} does not exist. "
                    f"Check --service-account-{daemon}."
                )


def check_bucket(looks: Looks) -> Iterator[Finding]:
    """Look whether the bucket is there and near, and does not keep what is deleted."""
    runner, region = looks.runner, looks.runner.wanted_region
    bucket = bucket_of(runner.home)
    found = _read_if_there(
        looks,
        f"Looking at the bucket {bucket}",
        *("storage", "buckets", "describe", bucket, "--raw", "--format=json"),
    )
    if runner.dry:
        return
    if found is None:
        yield _error(
            f"the bucket {bucket} does not exist. Make it with: gcloud storage buckets "
            f"create {bucket} --project={runner.project} --location={region} "
            "--uniform-bucket-level-access --soft-delete-duration=0"
        )
        return
    judged = bucket_findings(
        found,
        bucket,
        region,
        conditions=not looks.options.service_account_worker,
        cross_region=looks.options.cross_region,
    )
    yield from (Finding(kind, sentence) for kind, sentence in judged)


def check_subnet(looks: Looks) -> Iterator[Finding]:
    """Look at the subnet: by its Private Google Access alone do VMs reach Google's services."""
    runner, region = looks.runner, looks.runner.wanted_region
    network = looks.options.network or "default"
    subnet = (looks.options.subnet or network).rpartition("/")[2]
    found = _read_if_there(
        looks,
        f"Looking at the subnet {subnet}",
        *("compute", "networks", "subnets", "describe", subnet, f"--region={region}"),
        "--format=json(privateIpGoogleAccess)",
    )
    if found is None:
        yield _error(
            f"network {network} has no subnet {subnet} in {region}. Name one with --subnet, or "
            "make it."
        )
    elif not found.get("privateIpGoogleAccess"):
        yield _error(
            f"the subnet {subnet} lets VMs without external address reach no bucket. Allow it "
            f"with: gcloud compute networks subnets update {subnet} --region={region} "
            f"--enable-private-ip-google-access --project={runner.project}"
        )
    else:
        yield Finding("ok", "Private Google Access")


ALL_CHECKS: Final[tuple[Check, ...]] = (
    *(check_services, check_permissions, check_machines, check_quotas, check_bucket),
    *(check_subnet, check_image, check_accounts),
)
"""Checks for a cluster that is to be made."""
CHECKS_OF_JOB: Final[tuple[Check, ...]] = (check_permissions, check_bucket)
"""Checks for a job on a cluster that is there."""
