"""`mrcore gce gc` and `audit`: what is found, whose it is, and that nothing else goes."""

from __future__ import annotations

import json

import msgspec
import pytest

from mrcore.gce import iam, record
from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.compute.server import PROJECT
from tests.cloud.runner_world import HOME, NAME, ZONE, World, told

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]

LONG_AGO, FAR_AWAY = 2000, 4_000_000_000


def make_vm(world: World, cluster: str, owner: str, expires: int | None) -> None:
    """Make a machine of a cluster."""
    labels = f"mrcore={cluster},mrcore-role=master,mrcore-owner={owner}"
    if expires is not None:
        labels += f",mrcore-expires={expires}"
    made = world.sandbox.gcloud(
        *("compute", "instances", "create", f"mrcore-{cluster}-master", f"--zone={ZONE}"),
        f"--labels={labels}",
    )
    assert made.code == 0, told(made)


def make_binding(world: World, cluster: str, home: str, expires: int) -> None:
    """Make a binding in the project as a cluster has some."""
    description = f"mrcore-home={home} mrcore-owner=ada mrcore-expires={expires}"
    condition = f"title={iam.title_prefix(cluster)}fleet,expression=true,description={description}"
    made = world.sandbox.gcloud(
        *("projects", "add-iam-policy-binding", PROJECT, "--member=user:ada@example.com"),
        *("--role=roles/compute.viewer", f"--condition={condition}"),
    )
    assert made.code == 0, told(made)


def verdicts(world: World, *words: str) -> set[tuple[str, str, str]]:
    """Return what audit says: cluster, kind and verdict of each row."""
    ran = world.gce("audit", "--json", *words)
    rows = json.loads(ran.out)
    assert ran.code == (0 if {row["verdict"] for row in rows} <= {"live", "kept"} else 1), told(ran)
    return {(row["cluster"], row["kind"], row["verdict"]) for row in rows}


def test_what_an_idle_end_leaves_is_found_taken_over_and_removed(world: World) -> None:
    # The master has deleted everything on Compute Engine; long ago, it seems.
    world.expire_record()
    make_binding(world, NAME, HOME, LONG_AGO)
    assert verdicts(world) == {(NAME, "bindings", "expired"), (NAME, "home", "expired")}

    # Nobody makes a cluster of that name with another home, which would forget this one.
    refused = world.gce("up", f"--name={NAME}", "--home=gs://bkt/own/x", f"--zone={ZONE}")
    assert refused.code == 2, told(refused)
    assert f"has its home at {HOME}" in refused.err
    assert world.made("instances") == []

    plan = world.gce("gc", "--dry-run")
    assert plan.code == 0, told(plan)
    assert f"mrcore gce down --yes --project={PROJECT} --name={NAME} --home={HOME}" in plan.out
    assert len(verdicts(world)) == 2
    removed = world.gce("gc", "--yes")
    assert removed.code == 0, told(removed)
    assert verdicts(world) == set()


def test_a_removal_that_was_interrupted_at_its_end_is_finished(world: World) -> None:
    make_binding(world, "torn", "gs://bkt/mrcore/torn", LONG_AGO)
    world.put("mrcore/torn/wheels/x.whl", "")  # its record has gone by hand
    assert verdicts(world) == {("torn", "bindings", "expired"), ("torn", "home", "orphan")}
    removed = world.gce("gc", "--yes")
    assert removed.code == 0, told(removed)
    assert verdicts(world, "--bucket=bkt") == set()


def test_a_home_alone_is_found_in_its_bucket(world: World) -> None:
    world.expire_record()
    assert verdicts(world) == set()
    assert verdicts(world, "--bucket=bkt") == {(NAME, "home", "expired")}
    removed = world.gce("gc", "--yes", "--bucket=bkt")
    assert removed.code == 0, told(removed)
    assert world.objects() == []


def test_what_others_have_is_left_to_them_unless_all_is_asked_for(world: World) -> None:
    make_vm(world, "hers", "grace", LONG_AGO)
    kept = world.gce("gc", "--yes")
    assert kept.code == 0, told(kept)
    assert "hers has expired, and is grace's" in kept.err
    assert world.made("instances") == ["mrcore-hers-master"]
    removed = world.gce("gc", "--yes", "--all")
    assert removed.code == 0, told(removed)
    assert world.made("instances") == []


def test_what_does_not_say_when_it_expires_or_lives_is_left(world: World) -> None:
    make_vm(world, "somebodys", "ada", None)
    make_vm(world, "young", "ada", FAR_AWAY)
    ran = world.gce("gc", "--yes", "--all")
    assert ran.code == 0, told(ran)
    assert "nothing in project test-project has expired" in ran.err
    assert verdicts(world) == {
        ("somebodys", "instance", "orphan"),
        ("young", "instance", "live"),
    }
    for cluster in ("somebodys", "young"):
        down = world.gce("down", f"--name={cluster}", "--yes")
        assert down.code == 0, told(down)


def test_two_at_a_time_remove_it_all(world: World) -> None:
    world.expire_record()
    made = msgspec.json.decode(world.read(f"mrcore/{NAME}/cluster.json"), type=record.Record)
    make_vm(world, NAME, made.owner, LONG_AGO)
    make_binding(world, NAME, HOME, LONG_AGO)
    for number in range(20):
        world.put(f"mrcore/{NAME}/state/logs/j/{number}", "said")
    both = [world.start("gc", "--yes") for _ in range(2)]
    for running in both:
        ran = running.end()
        assert ran.code == 0, told(ran)
    assert world.made("instances") == []
    assert verdicts(world, "--bucket=bkt") == set()
