"""`mrcore gce gc`: remove the clusters of a project that have expired."""

from __future__ import annotations

import msgspec

from mrcore.errors import MrcoreError
from mrcore.gce.commands.down import down
from mrcore.gce.console import confirm, quoted, say, show
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.machines import owner_label
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner


def gc(options: Options, *, everybody: bool = False) -> int:
    """Remove expired clusters of this person, or of everybody; return the exit code.

    A dry run looks, since that changes nothing, and prints the commands.
    """
    runner = Runner("gc", msgspec.structs.replace(options, dry_run=False))
    # A dry run leaves nothing behind, not even its log.
    runner.settle_place(with_log=not options.dry_run)
    runner.inventory.take()
    runner.inventory.add_traces(runner.bucket)
    expired = _expired(runner, everybody=everybody)
    if not expired:
        whose = "" if everybody else " of yours"
        say(f"nothing{whose} in project {runner.project} has expired.")
        return 0
    question = f"Remove what has expired: {' '.join(expired)}?"
    confirm(question, yes=options.yes or options.dry_run)
    codes = [_remove(runner, name, dry=options.dry_run) for name in expired]
    return int(any(codes))


def _expired(runner: Runner, *, everybody: bool) -> list[str]:
    """Return the names of expired clusters that may go, and report those that are others'."""
    from mrcore.util.clock import SYSTEM

    inventory, now, me = runner.inventory, SYSTEM.wall(), owner_label()
    found = []
    for cluster in inventory.clusters():
        if not 0 < inventory.latest_expiry(cluster) < now:
            continue
        owner = inventory.owner_of(cluster)
        if everybody or (owner or me) == me:
            found.append(cluster)
        else:
            say(f"{cluster} has expired, and belongs to {owner}. Ask them, or give --all.")
    return found


def _remove(runner: Runner, cluster: str, *, dry: bool) -> int:
    homes = (row.name for row in runner.inventory.of("home") if row.cluster == cluster)
    home, bucket = next(homes, ""), runner.options.bucket
    if dry:
        words = ["mrcore", "gce", "down", "--yes", f"--project={runner.project}"]
        words.append(f"--name={cluster}")
        place = [f"--home={home}"] if home else [f"--bucket={bucket}"] if bucket else []
        show(quoted([*words, *place]))
        return 0
    options = Options(
        project=runner.project,
        name=cluster,
        home=home,
        bucket="" if home else bucket,
        yes=True,
    )
    try:
        return down(options)
    except StepsFailedError:
        return 1
    except MrcoreError as error:
        say(str(error))
        return 1
