"""Faults that the runner meets: found early, reported in a sentence, mended by the same command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.runner_world import BUCKET, NAME, WAIT_SECONDS, WORD_COUNT, World, told, wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]


def kill_after(world: World, call: str, *words: str) -> None:
    """Start a command, and kill all of it once the cloud has seen a call."""
    world.sandbox.cloud.control("calls", "DELETE")
    running = world.start(*words)
    wait_until(lambda: call in world.changes(), call)
    running.signal(signal.SIGKILL)
    running.end()


def test_a_killed_runner_is_finished_by_the_next(world: World) -> None:
    up = ["up", *world.where(), "--workers=1", *world.accounts()]
    kill_after(world, "compute.firewalls.insert", *up)
    kill_after(world, "compute.instanceGroupManagers.insert", *up)
    with world.machines(workers=0):
        done = world.gce(*up)
        assert done.code == 0, told(done)
        assert f"mrcore-{NAME}-master" in world.made("instances")
        assert len(world.made("instanceGroupManagers")) == 2
        assert len(world.made("instanceTemplates")) == 2
        assert len(world.made("firewalls")) == 2
        down = ["down", f"--name={NAME}", "--yes", f"--bucket={BUCKET}"]
        kill_after(world, "compute.instanceGroupManagers.delete", *down)
        gone = world.gce(*down)
        assert gone.code == 0, told(gone)


def test_up_that_is_told_to_stop_leaves_nobody_at_work(world: World) -> None:
    # A gcloud that takes its time, as the real cloud does, and tells when it is done.
    slow = world.folder / "slow"
    slow.mkdir()
    gcloud = slow / "gcloud"
    gcloud.write_text(
        f"""#!/bin/bash
        [[ "$*" == *"instances create"* ]] || exec {shutil.which("gcloud")} "$@"
        touch {slow}/begun
        sleep 2
        {shutil.which("gcloud")} "$@"
        touch {slow}/done
        """
    )
    gcloud.chmod(0o755)
    path = {"PATH": f"{slow}:{os.environ['PATH']}"}
    running = world.start("up", *world.where(), "--workers=0", "--max-workers=1", extra=path)
    wait_until((slow / "begun").exists, "the master is being made")
    running.process.terminate()
    running.process.wait(WAIT_SECONDS)
    is_done = (slow / "done").exists()
    ran = running.end()
    assert (ran.code, is_done) == (130, True), told(ran)
    gone = world.gce("down", f"--name={NAME}", "--yes", f"--bucket={BUCKET}")
    assert gone.code == 0, told(gone)


def test_a_name_that_no_policy_can_hold_is_told_before_there_is_a_vm(world: World) -> None:
    ran = world.gce("up", *world.where(), "--output=gs://bkt/a%%b")
    assert ran.code == 2, told(ran)
    assert "gs://bkt/a%%b/ has a character that no IAM condition can hold" in ran.err
    assert world.sandbox.cloud.made() == []
    gone = world.gce("down", f"--name={NAME}", "--yes", f"--bucket={BUCKET}")
    assert gone.code == 0, told(gone)


def test_what_a_dry_run_prints_makes_the_cluster(world: World) -> None:
    planned = world.gce("up", "--dry-run", *world.where(), "--workers=1")
    assert planned.code == 0, told(planned)
    assert world.sandbox.cloud.calls() == []
    assert world.objects() == []
    # gcloud's own slowness is the whole test: what does not depend on each other runs together.
    commands = [line for line in planned.out.splitlines() if line.startswith("gcloud ")]
    roles = [line for line in commands if re.match(r"gcloud (iam|projects|storage) ", line)]
    for line in roles:
        ran = world.sandbox.run(["bash", "-c", line])
        assert ran.code == 0 or "already exists" in ran.err, (line, told(ran))
    for line in (line for line in commands if line not in roles):
        ran = world.sandbox.run(["bash", "-c", line])
        assert ran.code == 0, (line, told(ran))
    assert f"mrcore-{NAME}-master" in world.made("instances")
    assert len(world.made("instanceTemplates")) == 2
    bound = {
        (binding["role"].rpartition("/")[2], re.split("[:@]", member)[1])
        for binding in world.policy()
        for member in binding["members"]
    }
    assert bound == {
        ("mrcoreObjectWriter", "mrcore-master"),
        ("mrcoreObjectWriter", "mrcore-worker"),
        ("mrcoreObjectCreator", "mrcore-worker"),
        ("mrcoreObjectReader", "mrcore-worker"),
    }
    down = world.gce("down", f"--name={NAME}", "--yes", f"--bucket={BUCKET}")
    assert down.code == 0, told(down)


def test_preflight_finds_all_that_is_wrong_at_once(world: World) -> None:
    cloud, store = world.sandbox.cloud, world.sandbox.storage.store
    store.bucket(BUCKET).change(
        {"location": "EUROPE-WEST1", "versioning": {"enabled": True}, "iamConfiguration": None}
    )
    world.put("out/part-00000", "mine")
    (world.folder / "job.py").write_text("import no_such_module\ndef map(k, v): pass\n")
    cloud.control("service", disable=["iap.googleapis.com"])
    cloud.control("permission", deny=["compute.firewalls.*"])
    cloud.control("quota", metric="PREEMPTIBLE_CPUS", limit=7, region="us-central1")
    network = ("compute", "networks", "subnets", "update", "default", "--region=us-central1")
    try:
        world.sandbox.gcloud(*network, "--no-enable-private-ip-google-access")
        cloud.control("calls", "DELETE")
        ran = world.gce(
            *("preflight", "job.py", "gs://bkt/none/*.txt", "-o", "gs://bkt/out", "--json"),
            *("--zone=us-central1-a", "--workers=2", "--python=3.12"),
        )
        assert world.changes() == []
    finally:
        cloud.control("service", disable=[])
        cloud.control("permission", deny=[])
        cloud.control("quota", metric="PREEMPTIBLE_CPUS", limit=500, region="us-central1")
        world.sandbox.gcloud(*network, "--enable-private-ip-google-access")
        store.bucket(BUCKET).change(
            {
                "location": "US-CENTRAL1",
                "versioning": None,
                "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
            }
        )
    assert ran.code == 2, told(ran)
    found = json.loads(ran.out)
    errors = "\n".join(f["message"] for f in found if f["kind"] == "error")
    for sentence in (
        "gcloud services enable iap.googleapis.com",
        "compute.firewalls.create",
        "the quota PREEMPTIBLE_CPUS of us-central1 has 7 left, and 2 workers need 8",
        "is in europe-west1 and the VMs in us-central1",
        "has no uniform access",
        "--enable-private-ip-google-access",
        "on the VMs",
        "no_such_module",
        "No file matches gs://bkt/none/*.txt",
        "The output gs://bkt/out is not empty",
    ):
        assert sentence in errors, (sentence, told(ran))
    assert any("old versions" in f["message"] for f in found if f["kind"] == "warn")


def test_preflight_tells_a_bucket_and_a_machine_type_that_are_not_there(world: World) -> None:
    ran = world.gce(
        *("preflight", "--bucket=no-such-bucket", "--zone=us-central1-a"),
        *("--machine-type=e9-standard-4", "--subnet=nowhere"),
    )
    assert ran.code == 2, told(ran)
    assert (
        "WRONG  the bucket gs://no-such-bucket does not exist. Make it with: gcloud storage"
        in ran.out
    )
    assert "WRONG  us-central1-a has no machine type e9-standard-4" in ran.out
    assert "has no subnet nowhere in us-central1" in ran.out


@pytest.mark.proof
def test_a_stockout_of_workers_is_told_and_one_of_the_master_ends_it(world: World) -> None:
    up = ["up", *world.where(), "--workers=1", *world.accounts()]
    cloud = world.sandbox.cloud
    cloud.control("stockout", zone="*", machine_type="e2-standard-4", model="*", on=True)
    cloud.control("stockout", zone="*", machine_type="e2-standard-2", model="*", on=True)
    try:
        ran = world.gce(*up)
        assert ran.code == 1, told(ran)
        assert "Making the master failed: the zone has no such machines left (stockout)" in ran.err
        assert "run the same command again, or remove the rest: mrcore gce down" in ran.err
        # No master answers: errors of the groups are reported while it is waited for.
        cloud.control("stockout", zone="*", machine_type="e2-standard-2", model="*", on=False)
        running = world.start(*up)
        wait_until(lambda: "Making a spot worker failed" in running.said(), "the stockout is shown")
        running.signal(signal.SIGTERM)
        assert "Making a spot worker failed: the zone has no such" in running.end().err
    finally:
        for machine_type in ("e2-standard-4", "e2-standard-2"):
            cloud.control("stockout", zone="*", machine_type=machine_type, model="*", on=False)
    down = world.gce("down", f"--name={NAME}", "--yes")
    assert down.code == 0, told(down)


def test_the_tunnel_and_ssh_are_asked_of_gcloud_as_it_wants_them(world: World) -> None:
    up = [
        "up",
        f"--name={NAME}",
        f"--bucket={BUCKET}",
        "--zone=us-central1-a",
        "--workers=0",
        "--max-workers=1",
    ]
    running = world.start(*up, *world.accounts())
    log = world.sandbox.home / f".local/state/mrcore/gce/{NAME}/gcloud.log"
    wait_until(lambda: f"mrcore-{NAME}-master" in world.made("instances"), "the master is made")
    wait_until(
        lambda: "start-iap-tunnel" in processes_of(running.process.pid), "a tunnel is asked for"
    )
    running.signal(signal.SIGTERM)
    running.end()
    wait_until(
        lambda: "start-iap-tunnel" not in processes_of(running.process.pid), "it goes with us"
    )
    assert "unrecognized arguments" not in log.read_text()
    ssh = world.gce(
        "ssh", f"--name={NAME}", "--dry-run", "--zone=us-central1-a", "--", "ls", "/a b"
    )
    assert ssh.out.split(" --")[0] == f"gcloud compute ssh mrcore-{NAME}-master"
    assert "--tunnel-through-iap" in ssh.out
    tried = world.sandbox.run(["bash", "-c", f"{ssh.out.strip()} --dry-run"])
    assert tried.code == 0, told(tried)
    assert "start-iap-tunnel" in tried.out
    down = world.gce("down", f"--name={NAME}", "--yes")
    assert down.code == 0, told(down)


def processes_of(session: int) -> str:
    """Return the command lines of a session."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return listed.stdout


def test_a_job_that_runs_already_is_followed(world: World) -> None:
    (world.folder / "job.py").write_text(
        f"import time\n{WORD_COUNT}".replace("    for", "    time.sleep(3)\n    for", 1)
    )
    world.put("books/1.txt", "a b a\n")
    words = [
        *("run", "job.py", "gs://bkt/books/", "-o", "gs://bkt/out", f"--name={NAME}"),
        *("--zone=us-central1-a", "--connect=direct", "--workers=1", *world.accounts()),
    ]
    with world.machines(workers=0):
        running = world.start(*words)
        wait_until(lambda: "out/_claim" in world.objects(), "the job is claimed")
        running.signal(signal.SIGKILL)
        running.end()
        again = world.start(*words)
        wait_until(lambda: "runs this job already" in again.said(), "the job is followed")
        world.start_workers(1)
        ran = again.end()
    assert ran.code == 0, told(ran)
    assert world.read("out/part-00000") == b"a\t2\nb\t1\n"
