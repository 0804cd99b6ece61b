"""`mrcore gce down`: remove a cluster, and all that it has left."""

from __future__ import annotations

from mrcore.errors import MrcoreError
from mrcore.gce.console import confirm, say
from mrcore.gce.options import Options
from mrcore.gce.record import Record
from mrcore.gce.remove import remove_cluster
from mrcore.gce.runner import Runner


def down(options: Options, word: str = "") -> int:
    """Remove a cluster; return the exit code."""
    runner = Runner("down", options)
    runner.settle_place()
    runner.settle_name(word)
    runner.settle_home()
    record = _record(runner)
    confirm(
        f"Remove the cluster {runner.name} of project {runner.project}?",
        yes=options.yes or options.dry_run,
    )
    if not runner.home and not runner.dry:
        say(
            f"{runner.name} has no VM that names its home. If objects are left, give their "
            "--bucket."
        )
    manage_iam = True if record is None else record.manage_iam
    if not remove_cluster(runner, record, manage_iam=manage_iam):
        say(f"not all of {runner.name} could be removed; run the same command again.")
        return 1
    if runner.plan is not None:
        runner.plan.summarize([f"This would remove the cluster {runner.name}."])
        runner.plan.show()
    else:
        say(f"nothing is left of {runner.name}.")
    return 0


def _record(runner: Runner) -> Record | None:
    """Return the record. Without one that can be read the cloud alone says what there is."""
    if not runner.home or runner.dry:
        return None
    try:
        return runner.read_record()
    except MrcoreError as error:
        say(str(error))
        return None
