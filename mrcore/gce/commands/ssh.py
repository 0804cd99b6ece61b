"""`mrcore gce ssh`: a shell on a VM of a cluster, through Google's tunnel."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mrcore.errors import UsageError
from mrcore.gce.console import quoted
from mrcore.gce.machines import master_name
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner


def ssh(options: Options, vm: str = "", command: Sequence[str] = ()) -> int:
    """Become gcloud's own ssh; return the exit code of a dry run."""
    runner = Runner("ssh", options)
    runner.settle_place()
    runner.settle_name()
    zone = runner.zone or "ZONE"
    if not vm:
        vm = master_name(runner.name)
        if not runner.dry:
            vm = _some_master(runner) or vm
    if not runner.dry:
        zone = zone_of(
            runner, vm, f"the cluster {runner.name} has no VM {vm}. See: mrcore gce status "
            f"--name {runner.name}"
        )  # fmt: skip
    words = ["gcloud", "compute", "ssh", vm, f"--zone={zone}", f"--project={runner.project}"]
    words.append("--tunnel-through-iap")
    if command:
        words.append(f"--command={quoted(command)}")
    if runner.plan is None:
        # It owns the terminal from here on.
        os.execvp(words[0], words)
    runner.plan.command(words)
    runner.plan.show()
    return 0


def _some_master(runner: Runner) -> str:
    """Return a master that runs: the first one, unless it is gone."""
    runner.inventory.take_once(runner.name)
    rows = runner.master_rows()
    return next((row.name for row in rows if row.state == "RUNNING"), "")


def zone_of(runner: Runner, vm: str, sentence: str) -> str:
    """Return the zone of a VM; raise UsageError with the sentence where there is none."""
    runner.inventory.take_once(runner.name)
    row = runner.inventory.find("instance", vm)
    if row is None:
        raise UsageError(sentence)
    return row.place
