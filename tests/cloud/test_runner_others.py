"""Clusters that the runner has not made: others work there, and it must not touch them."""

from __future__ import annotations

import json

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.runner_world import HOME, NAME, WORD_COUNT, ZONE, World, told, wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]


def test_a_run_leaves_up_what_up_has_made(world: World) -> None:
    (world.folder / "job.py").write_text(WORD_COUNT)
    world.put("my books/1.txt", "a b a\n")
    run = ["run", "job.py", "gs://bkt/my books/", f"--name={NAME}", "--connect=direct"]
    with world.machines(workers=1):
        up = world.up("--workers=1", *world.accounts())
        assert up.code == 0, told(up)
        made = world.sandbox.cloud.made()

        # A wrong zone is refused, and harms nobody.
        refused = world.gce(*run, "-o", "gs://bkt/out", "--zone=us-central1-b")
        assert refused.code == 2, told(refused)
        assert f"is there with location zones/{ZONE}" in refused.err
        assert world.sandbox.cloud.made() == made

        # So is a home that is not the cluster's.
        refused = world.gce(*run, "-o", "gs://bkt/out", f"--zone={ZONE}", "--home=gs://bkt/my/own")
        assert refused.code == 2, told(refused)
        assert f"has its home at {HOME}" in refused.err
        assert world.sandbox.cloud.made() == made

        # The home is found by the machines, and the cluster stays up, without an option.
        world.sandbox.storage.store.create_bucket("other", {"location": "US-CENTRAL1"})
        ran = world.gce(*run, "-o", "gs://other/out", f"--zone={ZONE}", *world.accounts())
        assert ran.code == 0, told(ran)
        assert f"the cluster {NAME} stays up" in ran.err
        assert world.sandbox.cloud.made() == made
        recorded = json.loads(world.read(f"mrcore/{NAME}/cluster.json"))
        assert recorded["inputs"] == ["gs://bkt/my books/"]
        assert recorded["outputs"] == ["gs://other/out/"]
        down = world.gce("down", f"--name={NAME}", "--yes")
    assert down.code == 0, told(down)


@pytest.mark.proof
def test_a_cluster_that_is_made_again_lives_anew(world: World) -> None:
    # As its master leaves it that has deleted the machines, long ago.
    world.expire_record()
    running = world.start("up", *world.where(), "--workers=1", *world.accounts())
    wait_until(lambda: "mrcore-demo-master" in world.made("instances"), "the master is made")
    running.process.terminate()
    stopped = running.end()
    assert stopped.code == 130, told(stopped)
    assert "the same command again goes on, and this removes what is there: mrcore gce down" in (
        stopped.err
    )
    audit = world.gce("audit", "--json")
    assert audit.code == 0, told(audit)
    assert {row["verdict"] for row in json.loads(audit.out)} == {"live"}
    kept = world.gce("gc", "--yes")
    assert "nothing of yours in project test-project has expired" in kept.err
    down = world.gce("down", f"--name={NAME}", "--yes")
    assert down.code == 0, told(down)
