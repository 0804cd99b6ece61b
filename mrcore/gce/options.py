"""Options of the runner, with all checks that need no cloud."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mrcore.errors import UsageError
from mrcore.util.units import parse_duration

MAX_COUNT: Final = 10_000
MAX_MASTERS: Final = 3
"""The condition of the master's rights names each of them, and IAM takes no more names."""
MIN_DISK_GIB: Final = 10
"""Debian alone needs it, and Compute Engine makes no smaller disk of its image."""
VM_SECONDS: Final = (30, 10_368_000)
"""Compute Engine deletes VMs after 30 seconds to 120 days."""
DEFAULT_PYTHON: Final = "3.11"
"""Python of Debian 12."""
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,3}|10000")
_MACHINE_TYPE: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_BUCKET: Final = re.compile(r"[a-z0-9._-]*")
_FOLDER: Final = re.compile(r"gs://[a-z0-9._-]+/\S+")
_DOLLARS: Final = re.compile(r"[0-9]{1,8}(\.[0-9]+)?")
# To systemd a quote at the start, and a backslash, are more than themselves.
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=([^\s\"'\\][^\s\\]*)?")
CONDITION_SEPARATOR: Final = "%%"
ATTRIBUTE_SEPARATOR: Final = "@@"
"""Separator of a VM's attributes on gcloud's command line."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of one command. Empty or None: not given, so a default holds."""

    project: str = ""
    zone: str = ""
    region: str = ""
    name: str = ""
    bucket: str = ""
    """Without `gs://`."""
    home: str = ""
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False

    workers: int | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    spot: bool = False
    on_demand: bool = False
    machine_types: tuple[str, ...] = ()
    masters: int | None = None
    master_machine_type: str = ""
    requirements: str = ""
    wheels: str = ""
    max_run_seconds: int | None = None
    idle_timeout: str = ""
    deadline: str = ""
    max_cost: str = ""
    input: str = ""
    output: str = ""
    connect: str = ""
    network: str = ""
    subnet: str = ""
    image: str = ""
    python: str = ""
    disk_gib: int | None = None
    service_account_master: str = ""
    service_account_worker: str = ""
    shared_buckets: tuple[str, ...] = ()
    """`gs://BUCKET`: buckets of others, whose owners have let the workers' account in."""
    vm_env: tuple[str, ...] = ()
    cross_region: bool = False

    @property
    def wanted_workers(self) -> int:
        """Workers at first."""
        return 2 if self.workers is None else self.workers

    @property
    def most_workers(self) -> int:
        """Workers that the fleet may have."""
        return self.wanted_workers if self.max_workers is None else self.max_workers

    @property
    def first_machine_type(self) -> str:
        """Machine type of workers that is wanted most."""
        return self.all_machine_types[0]

    @property
    def all_machine_types(self) -> tuple[str, ...]:
        """Machine types of workers, by rank."""
        return self.machine_types or ("e2-standard-4",)

    @property
    def wanted_masters(self) -> int:
        """Number of masters."""
        return self.masters or 1

    @property
    def master_type(self) -> str:
        """Machine type of the master."""
        return self.master_machine_type or "e2-standard-2"

    @property
    def python_version(self) -> str:
        """Python of the VMs."""
        return self.python or DEFAULT_PYTHON

    @property
    def disk(self) -> int:
        """Size in GiB of the disk of each VM."""
        return 50 if self.disk_gib is None else self.disk_gib

    @property
    def through_tunnel(self) -> bool:
        """Whether the master is reached through Google's tunnel."""
        return self.connect != "direct"

    @property
    def own_accounts(self) -> bool:
        """Whether accounts were named, so that the runner changes no permissions."""
        return bool(self.service_account_master or self.service_account_worker)


def take_options(given: Mapping[str, Any]) -> Options:
    """Return the options that words of a command line make; raise UsageError.

    given: by the name of the option with underscores, texts as they were typed.
    """
    fields = {name: value for name, value in given.items() if value not in (None, "", ())}
    for name in ("workers", "min_workers", "max_workers", "disk_size"):
        if name in fields:
            fields[name] = _count(f"--{name.replace('_', '-')}", fields[name], 0, MAX_COUNT)
    if "masters" in fields:
        fields["masters"] = _count("--masters", fields["masters"], 1, MAX_MASTERS)
    if "disk_size" in fields:
        fields["disk_gib"] = fields.pop("disk_size")
    fields.update(_lists(fields))
    _check_durations(fields)
    if "max_run_duration" in fields:
        fields["max_run_seconds"] = round(parse_duration(fields.pop("max_run_duration")))
    fields["bucket"] = _bucket(fields.get("bucket", ""))
    options = msgspec.convert(fields, Options)
    _check_places(options)
    _check_sizes(options)
    return options


def parse_count(text: str) -> int | None:
    """Return a number of things, or None for a text that is not one. `08` is not one."""
    return int(text) if _COUNT.fullmatch(text) else None


def bucket_of(uri: str) -> str:
    """Return the bucket of an object or folder, as `gs://BUCKET`."""
    return f"gs://{uri.removeprefix('gs://').partition('/')[0]}"


def check_home(home: str) -> None:
    """Raise UsageError unless a cluster can have its home there."""
    if not _FOLDER.fullmatch(home):
        raise UsageError(
            f"--home {home} is not a folder in a bucket; write gs://BUCKET/FOLDER, without spaces."
        )


def _count(option: str, text: str, least: int, most: int) -> int:
    number = parse_count(text)
    if number is None or not least <= number <= most:
        raise UsageError(f"{option} {text} is not a number from {least} to {most}.")
    return number


def _lists(fields: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Take the options out of `fields` that stand for several things; return these."""
    types = str(fields.pop("machine_type", ""))
    buckets = fields.pop("shared_bucket", ())
    variables = tuple(fields.pop("vm_env", ()))
    for variable in variables:
        if not _VARIABLE.fullmatch(variable) or ATTRIBUTE_SEPARATOR in variable:
            raise UsageError(
                f"--vm-env {variable} is not of the form KEY=VALUE, without spaces, backslashes "
                f"and {ATTRIBUTE_SEPARATOR}, and no quote first."
            )
    return {
        "machine_types": tuple(one for one in types.split(",") if one),
        "shared_buckets": tuple(bucket_of(bucket) for bucket in buckets),
        "vm_env": variables,
    }


def _check_durations(fields: Mapping[str, Any]) -> None:
    for name in ("max_run_duration", "idle_timeout", "deadline"):
        if name not in fields:
            continue
        option = f"--{name.replace('_', '-')} {fields[name]}"
        try:
            seconds = round(parse_duration(fields[name]))
        except ValueError:
            raise UsageError(
                f"{option} is not a duration; write one such as 30s, 5m or 1h30m."
            ) from None
        if name == "max_run_duration" and not VM_SECONDS[0] <= seconds <= VM_SECONDS[1]:
            raise UsageError(f"{option} cannot be: Compute Engine takes 30 seconds to 120 days.")


def _bucket(text: str) -> str:
    bucket = text.removeprefix("gs://").removesuffix("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"--bucket {text} is not a bucket. Write BUCKET or gs://BUCKET. --home takes a folder."
        )
    return bucket


def _check_places(options: Options) -> None:
    if options.zone and options.region:
        raise UsageError(
            "give --zone or --region, not both. Workers are in one zone, or in any zone of a "
            "region."
        )
    if re.search(r"-[a-z]$", options.region):
        raise UsageError(f"--region {options.region} looks like a zone. Give it as --zone.")
    if options.home:
        check_home(options.home.removesuffix("/"))
    if options.wheels and not _FOLDER.fullmatch(options.wheels):
        raise UsageError(
            f"--wheels {options.wheels} is not a folder in a bucket. Write gs://BUCKET/FOLDER."
        )
    if options.connect not in ("", "iap", "direct"):
        raise UsageError(f"--connect {options.connect} is neither iap nor direct.")
    if options.max_cost and (
        not _DOLLARS.fullmatch(options.max_cost) or not float(options.max_cost)
    ):
        raise UsageError(f"--max-cost {options.max_cost} is not a number of dollars above 0.")


def _check_sizes(options: Options) -> None:
    if options.disk < MIN_DISK_GIB:
        raise UsageError(
            f"--disk-size {options.disk} is too small. The system alone needs {MIN_DISK_GIB} GB."
        )
    for machine_type in (*options.machine_types, options.master_type):
        if not _MACHINE_TYPE.fullmatch(machine_type):
            raise UsageError(
                f"{machine_type} is not a machine type. Write one such as e2-standard-4."
            )
    if options.spot and options.on_demand:
        raise UsageError("give --spot or --on-demand, not both.")
    if options.most_workers < options.wanted_workers:
        raise UsageError("--max-workers is less than --workers.")
    if (options.min_workers or 0) > options.most_workers:
        raise UsageError("--min-workers is more than --max-workers.")
