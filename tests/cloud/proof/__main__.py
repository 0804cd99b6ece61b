"""`python -m tests.cloud.proof`: see scripts/cloudtest, which runs it."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path

from mrcore.errors import MrcoreError
from tests.cloud.machines import image, requirements
from tests.cloud.machines.cloud import Cloud, CloudError
from tests.cloud.proof import traces, wheels
from tests.cloud.proof.cluster import Cluster
from tests.cloud.proof.story import SHORT, Size, Story, Teller

CANNOT = 77
"""The exit code of a test that cannot be run here."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/cloudtest", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a smaller job, less harm")
    parser.add_argument("--keep", action="store_true", help="leave disks, consoles and logs")
    parser.add_argument("--cache", type=Path, help="where image and wheels are kept")
    options = parser.parse_args()
    if reason := requirements.why_not() or _no_gcloud() or wheels.why_not():
        sys.stderr.write(f"cloudtest: {reason}\n")
        sys.exit(CANNOT)
    # So that everything is put away; a shell's background jobs begin with Ctrl-C unheard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        _prove(options.cache or image.default_cache(), keep=options.keep, short=options.short)
    except (CloudError, image.ImageError, MrcoreError) as error:
        sys.stderr.write(f"cloudtest: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("cloudtest: interrupted; everything is put away.\n")
        sys.exit(128 + signal.SIGINT)


def _no_gcloud() -> str | None:
    if shutil.which("gcloud"):
        return None
    return "gcloud is not installed: see https://cloud.google.com/sdk/docs/install."


def _prove(cache: Path, *, keep: bool, short: bool) -> None:
    teller = Teller()
    cache.mkdir(parents=True, exist_ok=True)
    teller.say(f"wheels and an image for the VMs, in {cache} (minutes, the first time)")
    collected = wheels.collect(cache)
    with Cloud(cache, keep=keep) as cloud:
        name = cloud.folder.name
        teller.say("the cloud is there: Compute, IAM, storage and metadata, and no way out")
        try:
            Story(Cluster(cloud, collected), SHORT if short else Size(), teller).run()
        finally:
            if keep:
                teller.say(f"logs, and disks and consoles of the VMs, are kept in {cloud.folder}")
    if left := traces.on_machine(name):
        raise CloudError("Left on this machine:\n" + "\n".join(left))
    teller.say("nothing is left on this machine: no process, mount, cgroup or link")
    teller.say("passed")


if __name__ == "__main__":
    main()
