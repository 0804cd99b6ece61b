"""`python -m tests.cloud.machines`: what `Cloud` starts in fresh namespaces."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from tests.cloud.machines import site


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cloud.machines", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the image")
    parser.add_argument("--folder", type=Path, required=True, help="takes the disks of the VMs")
    parser.add_argument("--cgroup", required=True, help="becomes the parent of the VMs' own")
    parser.add_argument("--ready-fd", type=int, required=True, help="takes a line when all answer")
    parser.add_argument("--grace-seconds", type=float, required=True, help="of a preemption")
    parser.add_argument("--installed", type=Path, help="the disk of an image with mrcore")
    options = parser.parse_args()
    # A signal for the whole group of processes is for the one that started this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    place = site.Place(
        options.root, options.folder, options.cgroup, options.grace_seconds, options.installed
    )
    asyncio.run(site.run(place, options.ready_fd))


if __name__ == "__main__":
    main()
