"""A cloud of containers leaves nothing, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cloud.machines.cloud import REPOSITORY, Cloud
from tests.cloud.machines_by_hand import WAIT_SECONDS, cache_of, skip_without_cloud, vms
from tests.cloud.proof import traces

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

HOLD = """
import sys
from pathlib import Path
from tests.cloud.machines.cloud import Cloud
from tests.cloud.machines_by_hand import Vms

with Cloud(Path(sys.argv[1])) as cloud:
    vms = Vms(cloud)
    vms.make("lost", "echo up")
    vms.said("lost", "startup-script exit status 0")
    print(cloud.folder.name, flush=True)
    sys.stdin.read()
"""


def test_nothing_is_left_of_a_cloud_that_ends() -> None:
    with vms() as made:
        name = made.cloud.folder.name
        made.make("stays", "echo up; sleep 1000")
        made.said("stays", "startup-script: up")
        assert traces.on_machine(name)
    assert traces.on_machine(name) == []
    assert not made.cloud.folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_when_its_starter_is_ended(number: int, tmp_path: Path) -> None:
    skip_without_cloud()
    cache = cache_of(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, cache],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout
        name = starter.stdout.readline().strip()
        assert traces.on_machine(name)
        os.kill(starter.pid, number)
        starter.wait()
    deadline = time.monotonic() + WAIT_SECONDS
    while any(trace.startswith("process") for trace in traces.on_machine(name)):
        assert time.monotonic() < deadline, traces.on_machine(name)
        time.sleep(0.1)
    # What a killed starter could not put away, the next one does.
    with Cloud(cache):
        pass
    assert traces.on_machine(name) == []
    assert [path.name for path in cache.iterdir() if path.name.startswith("mrcore-cloud")] == []
