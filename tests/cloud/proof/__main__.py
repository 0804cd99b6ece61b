"""`python -m tests.cloud.proof`: see scripts/cloudtest, which runs it."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from mrcore.errors import MrcoreError
from tests.cloud import loaded
from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.installed import installed
from tests.cloud.machines import image, requirements
from tests.cloud.machines.cloud import Cloud, CloudError
from tests.cloud.proof import traces, wheels
from tests.cloud.proof.cluster import Cluster
from tests.cloud.proof.stories import ALL, STORIES
from tests.cloud.proof.story import Story, Teller

CANNOT = 77
"""The exit code of a test that cannot be run here."""


def main() -> None:
    options = _parser().parse_args()
    if options.list:
        width = max(map(len, STORIES))
        for name, kind in STORIES.items():
            sys.stdout.write(f"{name:{width}}  {kind.about}\n")
        return
    if reason := requirements.why_not() or (not HAS_GCLOUD and NO_GCLOUD) or wheels.why_not():
        sys.stderr.write(f"cloudtest: {reason}\n")
        sys.exit(CANNOT)
    # So that everything is put away; a shell's background jobs begin with Ctrl-C unheard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    teller = Teller()
    try:
        for name in options.stories or ["losses"]:
            _prove(options.cache or image.default_cache(), STORIES[name], teller, keep=options.keep)
    except (CloudError, image.ImageError, MrcoreError) as error:
        sys.stderr.write(f"cloudtest: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("cloudtest: interrupted; everything is put away.\n")
        sys.exit(128 + signal.SIGINT)
    teller.say("passed")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/cloudtest", description=__doc__)
    parser.set_defaults(stories=[])
    add = parser.add_argument
    add("--list", action="store_true", help="tell the names of all stories")
    add(
        "--story", dest="stories", action="append", choices=STORIES, metavar="NAME",
        help="play this one; may be repeated",
    )  # fmt: skip
    add("--all", dest="stories", action="store_const", const=ALL, help="play all, one by one")
    add(
        "--short", dest="stories", action="store_const", const=["short"],
        help="play the first one with a smaller job and less harm",
    )  # fmt: skip
    add("--keep", action="store_true", help="leave disks, consoles and logs")
    add("--cache", type=Path, help="where image and wheels are kept")
    return parser


def _prove(cache: Path, kind: type[Story], teller: Teller, *, keep: bool) -> None:
    """Play one story in a cloud of its own."""
    cache.mkdir(parents=True, exist_ok=True)
    teller.say(f"wheels and an image for the VMs, in {cache} (minutes, the first time)")
    with contextlib.ExitStack() as stack:
        collected = wheels.collect(cache)
        disk = stack.enter_context(installed(cache)).disk if kind.from_image else None
        cloud = stack.enter_context(Cloud(cache, keep=keep, installed=disk))
        name = cloud.folder.name
        teller.say("the cloud is there: Compute, IAM, storage and metadata, and no way out")
        cluster = stack.enter_context(Cluster(cloud, collected, through_tunnel=kind.through_tunnel))
        try:
            with loaded.gcloud(cluster.environment, cloud.started) as quicker:
                cluster.environment |= quicker
                kind(cluster, teller).run()
        finally:
            if keep:
                teller.say(f"logs, and disks and consoles of the VMs, are kept in {cloud.folder}")
    if left := traces.on_machine(name):
        raise CloudError("Left on this machine:\n" + "\n".join(left))
    teller.say("nothing is left on this machine: no process, mount, cgroup or link")


if __name__ == "__main__":
    main()
