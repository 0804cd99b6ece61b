"""`mrcore gce logs`: how a VM booted, and what its daemons said at the end."""

from __future__ import annotations

import sys

from mrcore.errors import MrcoreError, UsageError
from mrcore.gce import leave
from mrcore.gce.commands.ssh import zone_of
from mrcore.gce.console import show
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner


def logs(options: Options, vm: str = "", *, serial: bool = False) -> int:
    """Print the logs of a VM, or which VMs have some; return the exit code."""
    if not options.name:
        raise UsageError("which cluster? Give --name.")
    runner = Runner("logs", options)
    runner.settle_place()
    runner.settle_name()
    if serial:
        return _show_serial_port(runner, vm)
    runner.settle_home()
    runner.need_home(f"the home of {runner.name} is not known, since it has no VM. Give --bucket.")
    if runner.plan is not None:
        runner.note(f"Reads {runner.home}/logs; no gcloud command.")
        runner.plan.show()
        return 0
    if not vm:
        for name in runner.crew.do(lambda: leave.vms_with_logs(runner.home)):
            show(name)
        return 0
    text = runner.crew.do(lambda: leave.logs_of_vm(runner.home, vm))
    if not text:
        raise MrcoreError(
            f"{vm} has no logs yet. They come when it has booted, and every few minutes. Use "
            "--serial to see what it prints now."
        )
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def _show_serial_port(runner: Runner, vm: str) -> int:
    if not vm:
        raise UsageError(f"which VM? Write mrcore gce logs --name {runner.name} VM --serial.")
    command = ["compute", "instances", "get-serial-port-output", vm]
    if runner.plan is not None:
        zone, project = runner.zone or "ZONE", runner.project
        runner.plan.command(["gcloud", *command, f"--zone={zone}", f"--project={project}"])
        runner.plan.show()
        return 0
    zone = zone_of(
        runner, vm, f"the cluster {runner.name} has no VM {vm}. What it printed may be in: "
        f"mrcore gce logs --name {runner.name} {vm}"
    )  # fmt: skip
    what = f"Reading the serial port of {vm}"
    sys.stdout.write(runner.crew.do(lambda: runner.gcloud.look(what, *command, f"--zone={zone}")))
    sys.stdout.flush()
    return 0
