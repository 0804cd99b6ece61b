"""Removal of a cluster, whatever is left of it.

May be interrupted and repeated at any point. Machines, groups, templates and firewall rules go
until the cloud shows none, then objects and bindings. Of the objects the record goes last, and
after it the bindings in the project, which name the home.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import Final

from mrcore.errors import MrcoreError, UsageError
from mrcore.gce import access, iam, leave
from mrcore.gce import record as records
from mrcore.gce.console import say
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.inventory import Row
from mrcore.gce.machines import MODELS, firewall_name, group_name, master_name
from mrcore.gce.record import Record
from mrcore.gce.runner import Runner

ROUNDS: Final = 5
"""Looks and removals: groups make VMs while they go, and others may be at work too."""
_PARTS: Final = {"template": "instance-templates", "firewall": "firewall-rules"}


def remove_cluster(runner: Runner, record: Record | None, *, manage_iam: bool) -> bool:
    """Remove a cluster; return whether nothing is left. What went wrong has been reported.

    record: what the cluster was asked for, if that is known.
    """
    try:
        _remove_resources(runner)
        if runner.inventory.rows and not runner.dry:
            left = " ".join(row.name for row in runner.inventory.rows)
            say(f"left of {runner.name}: {left}; run again: {runner.removal_command()}")
            return False
        _remove_rest(runner, record, manage_iam=manage_iam)
    except StepsFailedError:
        return False
    except MrcoreError as error:
        say(str(error))
        return False
    return True


def _remove_resources(runner: Runner) -> None:
    inventory = runner.inventory
    for _ in range(ROUNDS):
        inventory.take_once(runner.name)
        inventory.forget()
        if runner.dry:
            _plan_removal(runner)
            return
        if not inventory.rows:
            return
        _try_together(runner, _machine_removals(runner))
        _try_together(runner, _part_removals(runner))


def _try_together(runner: Runner, steps: list[Callable[[], None]]) -> None:
    """Run steps whose failures are reported, and met again by the next round."""
    with contextlib.suppress(StepsFailedError):
        runner.crew.together(*steps)


def _machine_removals(runner: Runner) -> list[Callable[[], None]]:
    """Return steps that remove groups with their VMs, and VMs that belong to none."""
    groups = runner.inventory.of("group")
    names = {row.name for row in groups}
    alone = [
        row
        for row in runner.inventory.of("instance")
        # Members go with their group.
        if row.name.rpartition("-")[0] not in names
    ]
    steps: list[Callable[[], None]] = [partial(_remove_group, runner, row) for row in groups]
    return [*steps, *(partial(_remove_instance, runner, row) for row in alone)]


def _remove_group(runner: Runner, row: Row) -> None:
    # Zones end in a letter of their own, regions in a number.
    option = "zone" if re.search(r"-[a-z]$", row.place) else "region"
    runner.gcloud.delete(
        f"Deleting the group {row.name}",
        *("compute", "instance-groups", "managed", "delete", row.name),
        f"--{option}={row.place}",
    )


def _remove_instance(runner: Runner, row: Row) -> None:
    runner.gcloud.delete(
        f"Deleting {row.name}",
        *("compute", "instances", "delete", row.name, f"--zone={row.place}", "--delete-disks=all"),
    )


def _part_removals(runner: Runner) -> list[Callable[[], None]]:
    """Return steps that remove what no machine needs any more."""
    return [
        partial(
            runner.gcloud.delete,
            *(f"Deleting {row.name}", "compute", collection, "delete", row.name),
        )
        for kind, collection in _PARTS.items()
        for row in runner.inventory.of(kind)
    ]


def _remove_rest(runner: Runner, record: Record | None, *, manage_iam: bool) -> None:
    """Remove what no machine knows of: bindings and objects."""
    bindings = []
    if manage_iam:
        bindings = access.list_bindings(runner, record)
        if runner.dry and record is not None:
            # Those that would have been made by then.
            bindings = list(iam.bindings_of(record))
    runner.crew.do(partial(access.remove_bindings, runner, bindings, "gs://"))
    if runner.dry:
        runner.note(f"Then all objects below {runner.home or 'its home'} are deleted.")
    elif runner.home:
        runner.crew.do(partial(clear_home, runner.home))
    runner.crew.do(partial(access.remove_bindings, runner, bindings, "projects/"))


def clear_home(home: str) -> int:
    """Delete all objects that a cluster without machines has left; return how many."""
    try:
        found = records.read_record(home)
    except UsageError:  # of another version: its objects go all the same
        found = None
    cleared = 0 if found is None else leave.clear_outputs(found)
    return cleared + leave.remove_home(home)


def _masters(runner: Runner) -> int:
    record = runner.record
    return runner.options.wanted_masters if record is None else record.masters


def _plan_removal(runner: Runner) -> None:
    """Add to the plan what a removal consists of when all parts are there."""
    zone = runner.zone or "ZONE"
    place = f"--region={runner.region}" if runner.region else f"--zone={zone}"
    change, name = runner.gcloud.change, runner.name
    for model in MODELS:
        group = group_name(name, model)
        change("", "compute", "instance-groups", "managed", "delete", group, place)
    for number in range(1, _masters(runner) + 1):
        vm = master_name(name, number)
        change("", "compute", "instances", "delete", vm, f"--zone={zone}", "--delete-disks=all")
    for model in MODELS:
        change("", "compute", "instance-templates", "delete", f"{group_name(name, model)}-HASH")
    for purpose in ("internal", "iap"):
        change("", "compute", "firewall-rules", "delete", firewall_name(name, purpose))
