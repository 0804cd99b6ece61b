"""Creation of what a cluster consists of.

Each step may be repeated, and does nothing where the thing is there already: an interrupted `up` is
finished by the next one. The record comes first, so that whatever happens later can be found and
removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from mrcore.deploy.payload import build_payload
from mrcore.errors import ClusterUnreachableError, MrcoreError, UsageError
from mrcore.gce import access, iam, leave, masters, wheel_cache, wheelhouse
from mrcore.gce import record as records
from mrcore.gce.console import say
from mrcore.gce.inventory import Row
from mrcore.gce.machines import (
    MODELS,
    PORT,
    SPOT,
    account_email,
    description,
    firewall_name,
    group_name,
    image_path,
    machine_options,
    owner_label,
    place_option,
    template_name,
    template_options,
)
from mrcore.gce.record import Record
from mrcore.gce.runner import Runner
from mrcore.util.clock import SYSTEM
from mrcore.util.temporary import temporary_folder
from mrcore.util.units import parse_duration, show_size

GRACE_SECONDS: Final = 3600
"""Time from the deletion of the last VM by Compute Engine until the cluster has expired."""
DEFAULT_MAX_RUN: Final = "12h"
_IAP_RANGE: Final = "35.235.240.0/20"
"""Google's proxy for people who may use tunnels."""
_FIELDS_OF_OPTIONS: Final = {
    "project": ("project",),
    "zone": ("location", "master_zone", "master_zones"),
    "region": ("location", "master_zone", "master_zones"),
    "masters": ("masters",),
    "workers": ("workers",),
    "min_workers": ("min_workers",),
    "max_workers": ("max_workers",),
    "spot": ("provisioning",),
    "on_demand": ("provisioning",),
    "machine_types": ("machine_types",),
    "master_machine_type": ("master_machine_type",),
    "max_run_seconds": ("max_run_seconds", "expires_seconds"),
    "idle_timeout": ("idle_timeout",),
    "deadline": ("deadline",),
    "max_cost": ("max_cost",),
    "connect": ("connect",),
    "network": ("network",),
    "subnet": ("subnet",),
    "image": ("image",),
    "disk_gib": ("disk_gib",),
    "service_account_master": ("master_account", "worker_account", "manage_iam"),
    "service_account_worker": ("master_account", "worker_account", "manage_iam"),
    "vm_env": ("vm_env",),
}
"""Fields of the record that an option has set."""


def open_cluster(runner: Runner) -> None:
    """Make the record of a cluster, or go on with the one that is there.

    Raises UsageError for what cannot be; nothing but the record has been made then.
    """
    runner.inventory.take_once(runner.name)
    check_home(runner)
    runner.record = _open_record(runner)
    if runner.record.manage_iam:
        # What no policy can hold is found before there is a VM.
        list(iam.bindings_of(runner.record))


def make_cluster(runner: Runner) -> None:
    """Bring a cluster from its record to machines that start; raise StepsFailedError."""
    master_steps = _master_steps(runner)
    if not runner.dry:
        _report_plan(runner)
    runner.crew.together(
        partial(upload_payload, runner),
        partial(access.make_accounts, runner),
        partial(_make_firewall, runner, "internal"),
        partial(_make_firewall, runner, "iap"),
    )
    # Workers and master start together; workers wait for the leader object, and all VMs for what
    # they may do: that spreads slowly, so they try for minutes anyway.
    runner.crew.together(
        partial(access.bind_accounts, runner),
        *(partial(_make_pool, runner, model) for model in MODELS),
        *master_steps,
    )


def check_home(runner: Runner) -> None:
    """Raise UsageError where a cluster of this name has another home: it would be torn apart."""
    inventory = runner.inventory
    known = inventory.home
    if not known and not inventory.rows:
        # One whose machines are gone has a home all the same.
        known = runner.crew.do(lambda: inventory.home_by_bindings(runner.name))
    if known and known != runner.home:
        raise UsageError(
            f"the cluster {runner.name} has its home at {known}, not at {runner.home}. Give "
            f"--home {known}, or choose another --name."
        )


def _report_plan(runner: Runner) -> None:
    record = runner.cluster()
    if runner.master_is_there():
        say(f"the cluster {record.name} is there; making what it lacks …")
    else:
        say(f"making {describe(record)} …")


def describe(record: Record) -> str:
    """Return what a cluster consists of, as part of a sentence."""
    model = "spot" if record.provisioning == SPOT else "on-demand"
    several = "a master" if record.masters == 1 else f"{record.masters} masters"
    return (
        f"the cluster {record.name} in {record.location.partition('/')[2]}: {several} "
        f"({record.master_machine_type}) and {record.workers} {model} workers "
        f"({record.machine_types[0]}), up to {record.max_workers}"
    )


# -- the record ----------------------------------------------------------------------------------


def _open_record(runner: Runner) -> Record:
    fresh = _wanted_record(runner)
    records.check(fresh)
    if runner.dry:
        return fresh
    return runner.crew.do(lambda: records.open_record(fresh, _given(runner)))


def _wanted_record(runner: Runner) -> Record:
    """Return the record that the options make."""
    options, now = runner.options, int(SYSTEM.wall())
    max_run = options.max_run_seconds or round(parse_duration(DEFAULT_MAX_RUN))
    zones = _master_zones(runner)
    emails = {daemon: account_email(daemon, runner.project) for daemon in access.DAEMONS}
    return Record(
        name=runner.name,
        home=runner.home,
        project=runner.project,
        location=runner.location,
        master_zone=zones[0],
        masters=options.wanted_masters,
        master_zones=zones,
        owner=owner_label(),
        created_seconds=now,
        expires_seconds=now + max_run + GRACE_SECONDS,
        machine_types=options.all_machine_types,
        master_machine_type=options.master_type,
        provisioning="standard" if options.on_demand else SPOT,
        workers=options.wanted_workers,
        min_workers=options.min_workers or 0,
        max_workers=options.most_workers,
        network=options.network or "default",
        subnet=options.subnet,
        image=image_path(options.image, ",".join(options.machine_types), runner.project),
        disk_gib=options.disk,
        connect=options.connect or "iap",
        max_run_seconds=max_run,
        idle_timeout=options.idle_timeout or "15m",
        deadline=options.deadline,
        max_cost=options.max_cost,
        vm_env=options.vm_env,
        inputs=runner.uses.inputs,
        outputs=runner.uses.outputs,
        temps=runner.uses.temps,
        master_account=options.service_account_master or emails["master"],
        worker_account=options.service_account_worker or emails["worker"],
        manage_iam=not options.own_accounts,
        kept=runner.command == "up" or runner.keep,
        payload_sha256="PAYLOAD_SHA256" if runner.dry else "",
    )


def _given(runner: Runner) -> frozenset[str]:
    """Return the fields that the user has spelt out, and which replace those of the record."""
    options = runner.options
    named: dict[str, Any] = {name: getattr(options, name) for name in _FIELDS_OF_OPTIONS}
    # Places that the environment or gcloud's settings have given are given all the same.
    named |= {"zone": runner.zone, "region": runner.region}
    spelt = [name for name, value in named.items() if value not in ("", (), None, False)]
    fields = {field for name in spelt for field in _FIELDS_OF_OPTIONS[name]}
    if options.workers is not None:
        fields.add("max_workers")
    if not runner.master_is_there():
        # With another master the life of a cluster begins anew.
        fields.update(records.LIFE)
    return frozenset(fields)


def _master_zones(runner: Runner) -> tuple[str, ...]:
    """Return the workers' own zone, or the zones of the region that are up."""
    if runner.zone:
        return (runner.zone,)
    region = runner.region
    expected = (f"{region}-b", f"{region}-c")
    if runner.dry:
        return expected
    found = runner.crew.do(
        lambda: runner.gcloud.read(
            "Listing the zones",
            *("compute", "zones", "list", f"--filter=region:{region} AND status=UP"),
            "--format=json(name)",
        )
    )
    return tuple(str(zone["name"]) for zone in found or ()) or expected


# -- what the VMs install ------------------------------------------------------------------------


def upload_payload(runner: Runner) -> None:
    """Upload wheels, units and scripts, unless the cluster that is there has them already."""
    record, options = runner.cluster(), runner.options
    if runner.dry:
        runner.note(
            f"The wheels are resolved and uploaded to {record.home}/wheels, the units and scripts "
            f"to {record.home}/payload;"
        )
        runner.note("PAYLOAD_SHA256 stands for the digest of these.")
        return
    if record.payload_sha256 and not options.requirements and runner.master_is_there():
        return
    say("collecting the wheels for the VMs …")
    requirements = Path(options.requirements) if options.requirements else None
    machine = wheelhouse.machine_of(record.machine_types[0])
    target = wheelhouse.Target(options.python_version, machine)
    with temporary_folder("wheels") as folder:
        wheels = wheelhouse.resolve(folder, target, requirements)
        sent = wheelhouse.publish(wheels, record.home, options.wheels.rstrip("/") or None)
        total = sum(path.stat().st_size for path in wheels)
        say(f"{len(wheels)} wheels, {show_size(total)}, of which {show_size(sent)} uploaded.")
        sha = _publish_payload(record.home, wheelhouse.manifest_of(wheels), folder)
    runner.record = records.change_record(record.home, payload_sha256=sha)


def _publish_payload(home: str, manifest: str, folder: Path) -> str:
    """Upload the archive that a VM installs itself from; return its SHA-256."""
    prices = os.environ.get("MRCORE_PRICES")
    try:
        packed = build_payload(manifest, Path(prices).read_bytes() if prices else b"")
    except (ValueError, OSError) as error:
        raise MrcoreError(f"The archive for the VMs cannot be made ({error}).") from error
    path = folder / "payload.tar.gz"
    path.write_bytes(packed)
    sha = wheel_cache.sha256_of(path)
    wheelhouse.upload(path, f"{home}/payload/{sha}.tar.gz")
    return sha


# -- machines ------------------------------------------------------------------------------------


def _make_firewall(runner: Runner, purpose: str) -> None:
    record, rule = runner.cluster(), firewall_name(runner.name, purpose)
    if runner.inventory.find("firewall", rule) is not None:
        return
    what = [f"--source-tags=mrcore-{record.name}", f"--allow=tcp:{PORT},tcp:9100"]
    if purpose == "iap":
        what = [f"--source-ranges={_IAP_RANGE}", f"--allow=tcp:22,tcp:{PORT}"]
    runner.gcloud.make(
        f"Making the firewall rule {rule}",
        *("compute", "firewall-rules", "create", rule, f"--network={record.network}"),
        *("--direction=INGRESS", *what, f"--target-tags=mrcore-{record.name}"),
        f"--description={description(record, 'master')}",
    )


def _make_pool(runner: Runner, model: str) -> None:
    """Make a group of workers, and the template that it makes them by."""
    record, gcloud = runner.cluster(), runner.gcloud
    template = template_name(record, model)
    if runner.inventory.find("template", template) is None:
        options = template_options(record, model)
        gcloud.patiently(
            lambda: gcloud.make(
                f"Making the instance template {template}",
                *("compute", "instance-templates", "create", template, *options),
            )
        )
    group = group_name(record.name, model)
    found = runner.inventory.find("group", group)
    if found is None:
        gcloud.patiently(lambda: _make_group(runner, model, template))
    elif found.machine != template:
        gcloud.change(
            f"Giving {group} its new template",
            *("compute", "instance-groups", "managed", "set-instance-template", group),
            *(f"--template={template}", place_option(record.location)),
        )


def _make_group(runner: Runner, model: str, template: str) -> None:
    record, where = runner.cluster(), list[str]()
    if record.location.startswith("regions/"):
        where = ["--target-distribution-shape=any", "--instance-redistribution-type=none"]
        where += [
            f"--instance-selection=name=rank-{rank},machine-type={machine},rank={rank}"
            for rank, machine in enumerate(record.machine_types)
        ]
    group = group_name(record.name, model)
    runner.gcloud.make(
        f"Making the group {group}",
        *("compute", "instance-groups", "managed", "create", group),
        *(place_option(record.location), f"--template={template}"),
        f"--size={record.workers if record.provisioning == model else 0}",
        # The master's fleet decides what to replace, so the group must not.
        "--default-action-on-vm-failure=do-nothing",
        *(*where, f"--description={description(record, 'worker')}"),
    )


def _master_steps(runner: Runner) -> list[Callable[[], None]]:
    """Return the steps that bring the cluster to its number of masters.

    Raises ClusterUnreachableError where some are to go, and nobody knows which one leads.
    """
    record = runner.cluster()
    rows = runner.master_rows()
    live = sum(not masters.has_stopped(row) for row in rows)
    leader = ""
    if live > record.masters:
        leader = runner.crew.do(lambda: masters.leading_vm(leave.state_uri(record.home)))
        if not leader:
            raise ClusterUnreachableError(
                f"which of the {live} masters of {record.name} leads is not known, so none is "
                "removed. Run the command again when one of them leads."
            )
    zones = record.master_zones or (record.master_zone,)
    change = masters.plan_change(record.name, rows, record.masters, zones, leader)
    made = dict(change.make)
    removed = {row.name: row for row in change.remove}
    return [
        partial(_change_master, runner, name, made.get(name), removed.get(name))
        for name in dict.fromkeys([*made, *removed])
    ]


def _change_master(runner: Runner, vm: str, zone: str | None, former: Row | None) -> None:
    """Delete a master that has stopped or is not wanted, and make one; none is a spot VM."""
    record, gcloud = runner.cluster(), runner.gcloud
    if former is not None:
        what = "stopped master" if masters.has_stopped(former) else "standby"
        gcloud.delete(
            f"Deleting the {what} {vm}",
            *("compute", "instances", "delete", vm, f"--zone={former.place}"),
        )
    if zone is None:
        return
    options = machine_options(record, "master")
    gcloud.patiently(
        lambda: gcloud.make(
            f"Making the master {vm}",
            *("compute", "instances", "create", vm, f"--zone={zone}"),
            *(f"--machine-type={record.master_machine_type}", *options),
        )
    )
