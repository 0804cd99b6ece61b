"""`mrcore gce image`: bake an image with everything installed, so that VMs start faster."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial

import msgspec

from mrcore.errors import MrcoreError
from mrcore.gce import access, create, leave, preflight
from mrcore.gce.console import quoted, say
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.interrupts import INTERRUPTED, Stopped
from mrcore.gce.machines import machine_options
from mrcore.gce.options import Options
from mrcore.gce.remove import remove_cluster
from mrcore.gce.runner import Runner
from mrcore.util.clock import SYSTEM

LOOKS = 200
PAUSE_SECONDS = 3.0
"""Ten minutes, with what a look takes."""
_LOG_LINES = 20


def image(options: Options, family: str = "") -> int:
    """Let a VM install everything and switch itself off; make its disk an image."""
    runner = Runner("image", msgspec.structs.replace(options, workers=0, max_workers=1))
    runner.settle_place()
    runner.settle_name(options.name or f"image-{_moment()}")
    runner.settle_home()
    runner.need_home("which bucket? Give --bucket BUCKET.")
    if runner.plan is not None:
        preflight.check_options(runner)
        preflight.collect_findings(runner)
        _open(runner)
        _bake(runner, family or "mrcore")
        runner.plan.summarize([f"This would bake an image of the family {family or 'mrcore'}."])
        runner.plan.show()
        return 0
    runner.interrupts.install(lambda: None)
    try:
        preflight.check_before(runner)
    except StepsFailedError:
        return 2
    except Stopped:
        return INTERRUPTED
    return _make(runner, family or "mrcore")


def _make(runner: Runner, family: str) -> int:
    """Bake, and remove what was made for it; return the exit code."""
    code = 1
    try:
        _open(runner)
        code = 0 if _bake(runner, family) else 1
    except StepsFailedError:
        pass
    except MrcoreError as error:
        say(str(error))
        code = error.exit_code
    except Stopped:
        code = INTERRUPTED
    runner.interrupts.finish("removing what was made; once more, and it stays as it is then.")
    runner.crew.settle()
    record = runner.record
    manage_iam = record is not None and record.manage_iam
    return code if remove_cluster(runner, record, manage_iam=manage_iam) else code or 1


def _open(runner: Runner) -> None:
    create.open_cluster(runner)
    runner.crew.together(
        partial(create.upload_payload, runner), partial(access.make_accounts, runner)
    )


def _bake(runner: Runner, family: str) -> bool:
    """Return whether there is an image; what went wrong has been reported, or is raised."""
    record, gcloud, crew = runner.cluster(), runner.gcloud, runner.crew
    vm, zone = f"mrcore-{runner.name}-image", record.master_zone
    name = f"mrcore-{_moment()}"
    python = runner.options.python_version.replace(".", "-")  # labels hold no dots
    machine = [f"--machine-type={record.machine_types[0]}"]
    machine += machine_options(record, "image", at_end="STOP")
    create_vm = ("compute", "instances", "create", vm, f"--zone={zone}", *machine)
    make = partial(gcloud.make, "Making the VM", *create_vm)
    # The VM reads the wheels from the bucket, and tries until it may.
    crew.together(partial(access.bind_accounts, runner), partial(gcloud.patiently, make))
    if not runner.dry and not _await_end(runner, vm, zone):
        return False
    labels = {
        "mrcore-image": record.payload_sha256[:16],
        "mrcore-owner": record.owner,
        "mrcore-python": python,
    }
    pairs = ",".join(f"{key}={value}" for key, value in labels.items())
    create_image = (
        *("compute", "images", "create", name, f"--source-disk={vm}"),
        *(f"--source-disk-zone={zone}", f"--family={family}", f"--labels={pairs}"),
    )
    crew.do(lambda: gcloud.change("Making the image", *create_image))
    delete_vm = ("compute", "instances", "delete", vm, f"--zone={zone}")
    crew.do(lambda: gcloud.change("Deleting the VM", *delete_vm))
    if not runner.dry:
        say(f"the image is {name}; use it with --image {name}, or --image family/{family}.")
    return True


def _await_end(runner: Runner, vm: str, zone: str) -> bool:
    """Wait until the VM has switched itself off; return whether its boot log says that all is well.

    What is wrong has been reported.
    """
    look = ("compute", "instances", "describe", vm, f"--zone={zone}", "--format=json(status)")
    for _ in range(LOOKS):
        found = runner.crew.do(lambda: runner.gcloud.read(f"Looking at {vm}", *look)) or {}
        if found.get("status") in ("TERMINATED", "STOPPED"):
            log = runner.crew.do(lambda: leave.logs_of_vm(runner.home, vm)).splitlines()
            if any(line.startswith("boot: done") for line in log):
                return True
            sys.stderr.write("".join(f"{line}\n" for line in log[-_LOG_LINES:]))
            say("the VM could not install everything; the end of its boot log is above.")
            return False
        runner.crew.pause(PAUSE_SECONDS)
    command = quoted(["mrcore", "gce", "logs", f"--name={runner.name}", vm, "--serial"])
    say(f"the VM has not ended within ten minutes; its serial port: {command}")
    return False


def _moment() -> str:
    now = datetime.fromtimestamp(SYSTEM.wall(), UTC).astimezone()
    return now.strftime("%Y%m%d-%H%M%S")
