"""`mrcore gce up` to `down`: what is made, that repeating is safe, that all of it goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloud.compute.sandbox import HAS_GCLOUD, NO_GCLOUD
from tests.cloud.runner_world import HOME, NAME, ZONE, World, told, wait_until

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not HAS_GCLOUD, reason=NO_GCLOUD),
]


def resource(world: World, collection: str, name: str, scope: str = f"zones/{ZONE}") -> Any:
    found = world.sandbox.cloud.resource(f"{scope}/{collection}/{name}")
    assert found is not None, name
    return found


def template_of(world: World, model: str) -> Any:
    name = next(
        n for n in world.made("instanceTemplates") if n.startswith(f"mrcore-{NAME}-{model}-")
    )
    return resource(world, "instanceTemplates", name, "global")["properties"]


def attributes(properties: Any) -> dict[str, str]:
    return {item["key"]: item["value"] for item in properties["metadata"]["items"]}


def check_machines(world: World) -> None:
    """Look at every promise that a VM has to keep."""
    master = resource(world, "instances", f"mrcore-{NAME}-master")
    spot, standard = template_of(world, "spot"), template_of(world, "standard")
    assert spot["scheduling"]["provisioningModel"] == "SPOT"
    assert standard["scheduling"]["provisioningModel"] == "STANDARD"
    for machine, role in ((master, "master"), (spot, "worker"), (standard, "worker")):
        assert machine["scheduling"]["instanceTerminationAction"] == "DELETE"
        assert int(machine["scheduling"]["maxRunDuration"]["seconds"]) == 7200
        assert "accessConfigs" not in machine["networkInterfaces"][0]
        assert machine["tags"]["items"] == [f"mrcore-{NAME}"]
        assert machine["labels"]["mrcore"] == NAME
        assert machine["labels"]["mrcore-role"] == role
        assert machine["labels"]["mrcore-owner"] == "ada"
        assert int(machine["labels"]["mrcore-expires"]) > 1_700_000_000
        assert machine["serviceAccounts"][0]["email"].startswith(f"mrcore-{role}@")
        told_vm = attributes(machine)
        assert told_vm["mrcore-home"] == HOME
        assert told_vm["mrcore-role"] == role
        sha = told_vm["mrcore-payload-sha256"]
        assert told_vm["mrcore-payload"] == f"{HOME}/payload/{sha}.tar.gz"
        assert f"mrcore/{NAME}/payload/{sha}.tar.gz" in world.objects()
        environment = told_vm["mrcore-env"].splitlines()
        assert f"MRCORE_STATE={HOME}/state" in environment
        assert f"MRCORE_FLEET=gce:test-project/zones/{ZONE}" in environment
        assert "MRCORE_MAX_WORKERS=5" in environment
        assert "EXTRA=1" in environment
        assert told_vm["startup-script"].startswith("#!")


def check_groups(world: World) -> None:
    for model, size in (("spot", 2), ("standard", 0)):
        group = resource(world, "instanceGroupManagers", f"mrcore-{NAME}-{model}")
        assert group["targetSize"] == size
        assert group["instanceLifecyclePolicy"]["defaultActionOnFailure"] == "DO_NOTHING"
        assert f"mrcore={NAME}" in group["description"]


def test_a_cluster_from_up_to_down(world: World) -> None:
    world.start_daemons(workers=1)
    options = ("--workers=2", "--max-workers=5", "--max-run-duration=2h", "--vm-env=EXTRA=1")
    ran = world.up(*options)
    assert ran.code == 0, told(ran)
    check_machines(world)
    check_groups(world)
    wheels = [name for name in world.objects() if name.startswith(f"mrcore/{NAME}/wheels/")]
    assert any("/mrcore-" in name for name in wheels)
    assert any("/pip-" in name for name in wheels)
    made = world.sandbox.cloud.made()

    # The same again makes nothing, and forgets nothing.
    world.sandbox.cloud.control("calls", "DELETE")
    before = world.read(f"mrcore/{NAME}/cluster.json")
    again = world.up()
    assert again.code == 0, told(again)
    assert world.changes() == []
    assert world.sandbox.cloud.made() == made
    assert json.loads(world.read(f"mrcore/{NAME}/cluster.json")) == json.loads(before)

    # It cannot move.
    moved = world.gce("up", f"--name={NAME}", "--bucket=bkt", "--zone=us-central1-b")
    assert moved.code == 2, told(moved)
    assert f"The cluster {NAME} is there with location zones/{ZONE}" in moved.err

    # Commands without --home find it by the VMs.
    status = world.gce("status", f"--name={NAME}")
    assert status.code == 0, told(status)
    assert f"mrcore-{NAME}-master" in status.out
    scaled = world.gce("scale", "9", f"--name={NAME}", "--min-workers=1")
    assert scaled.code == 0, told(scaled)
    record = json.loads(world.read(f"mrcore/{NAME}/cluster.json"))
    assert (record["min_workers"], record["max_workers"]) == (1, 9)
    audit = world.gce("audit", "--json")
    assert audit.code == 0, told(audit)
    rows = json.loads(audit.out)
    assert {row["verdict"] for row in rows} == {"live"}
    kinds = {"instance", "group", "template", "firewall", "bindings", "home"}
    assert {row["kind"] for row in rows} == kinds

    kept = world.gce("gc", "--yes")
    assert kept.code == 0, told(kept)
    assert "has expired" in kept.err

    world.stop_daemons()
    down = world.gce("down", f"--name={NAME}", "--yes")
    assert down.code == 0, told(down)
    gone = world.gce("audit", f"--name={NAME}")
    assert gone.code == 0, told(gone)


def test_a_region_takes_ranked_machine_types_and_masters_in_any_zone(world: World) -> None:
    world.start_daemons()
    up = [
        *("up", f"--name={NAME}", "--bucket=bkt", "--region=us-central1", "--connect=direct"),
        *("--machine-type=n2-standard-4,e2-standard-4", "--on-demand", "--workers=1"),
        *world.accounts(),
    ]
    ran = world.gce(*up, "--masters=2")
    assert ran.code == 0, told(ran)
    masters = [
        path for path in world.sandbox.cloud.made() if f"/instances/mrcore-{NAME}-master" in path
    ]
    zones = {path.rsplit("/", 3)[-3] for path in masters}
    assert (len(masters), len(zones)) == (2, 2), masters
    for path in masters:
        made = world.sandbox.cloud.resource(path)
        assert "MRCORE_STANDBY=--standby" in attributes(made)["mrcore-env"].splitlines()
    group = resource(
        world, "instanceGroupManagers", f"mrcore-{NAME}-standard", "regions/us-central1"
    )
    assert group["targetSize"] == 1
    assert group["distributionPolicy"]["targetShape"] == "ANY"
    selections = group["instanceFlexibilityPolicy"]["instanceSelections"]
    ranked = sorted((s.get("rank", 0), s["machineTypes"]) for s in selections.values())
    assert ranked == [(0, ["n2-standard-4"]), (1, ["e2-standard-4"])]
    spot = resource(world, "instanceGroupManagers", f"mrcore-{NAME}-spot", "regions/us-central1")
    assert spot["targetSize"] == 0
    assert any(name.startswith(f"mrcore-{NAME}-standard-") for name in world.made("instances"))
    ran = world.gce(*up, "--masters=1")
    assert ran.code == 0, told(ran)
    masters = [name for name in world.made("instances") if "-master" in name]
    assert masters == [f"mrcore-{NAME}-master"]
    world.stop_daemons()
    down = world.gce("down", f"--name={NAME}", "--yes", "--bucket=bkt")
    assert down.code == 0, told(down)


def test_down_of_nothing_is_well(world: World) -> None:
    ran = world.gce("down", f"--name={NAME}", "--yes", "--bucket=bkt")
    assert ran.code == 0, told(ran)
    assert f"nothing is left of {NAME}" in ran.err


def test_down_asks_where_nobody_can_answer(world: World) -> None:
    ran = world.gce("down", f"--name={NAME}", "--bucket=bkt")
    assert ran.code == 2
    assert "--yes" in ran.err


def test_gc_removes_what_has_expired(world: World) -> None:
    world.start_daemons()
    # As if all of it had been made long ago; with a master that lives, nothing begins anew.
    world.expire_record()
    master = world.sandbox.gcloud(
        *("compute", "instances", "create", f"mrcore-{NAME}-master", f"--zone={ZONE}"),
        f"--labels=mrcore={NAME},mrcore-role=master,mrcore-expires=2000",
    )
    assert master.code == 0, told(master)
    ran = world.up("--workers=1", *world.accounts())
    assert ran.code == 0, told(ran)
    world.stop_daemons()
    audit = world.gce("audit", "--json")
    assert audit.code == 1, told(audit)
    assert {row["verdict"] for row in json.loads(audit.out)} == {"expired"}
    removed = world.gce("gc", "--yes")
    assert removed.code == 0, told(removed)


def test_an_image_is_baked_of_a_vm_that_has_switched_itself_off(world: World) -> None:
    vm = "mrcore-bake-image"
    running = world.start(
        *("image", "--name=bake", "--bucket=bkt", f"--zone={ZONE}", *world.accounts())
    )
    wait_until(lambda: vm in world.made("instances"), "the VM is made")
    told_vm = attributes(resource(world, "instances", vm))
    assert told_vm["mrcore-role"] == "image"
    world.put(f"mrcore/bake/logs/{vm}/boot.log", "installing\nboot: done in 40 s\n")
    world.sandbox.cloud.look(lambda: world.sandbox.cloud.machines.power_off(vm))
    ran = running.end()
    assert ran.code == 0, told(ran)
    (image,) = world.made("images")
    assert f"use it with --image {image}, or --image family/mrcore" in ran.err
    made = resource(world, "images", image, "global")
    assert made["family"] == "mrcore"
    assert made["labels"]["mrcore-python"] == "3-11"
    assert world.made("instances") == []
    deleted = world.sandbox.gcloud("compute", "images", "delete", image)
    assert deleted.code == 0, told(deleted)


@pytest.mark.proof
def test_an_image_of_a_failed_boot_is_none(world: World) -> None:
    vm = "mrcore-bake-image"
    running = world.start(
        *("image", "--name=bake", "--bucket=bkt", f"--zone={ZONE}", *world.accounts())
    )
    wait_until(lambda: vm in world.made("instances"), "the VM is made")
    world.put(f"mrcore/bake/logs/{vm}/boot.log", "boot: failed: no wheels\n")
    world.sandbox.cloud.look(lambda: world.sandbox.cloud.machines.power_off(vm))
    ran = running.end()
    assert ran.code == 1, told(ran)
    assert "boot: failed: no wheels" in ran.err
    assert world.made("images") == []


def test_logs_are_there_when_the_vm_is_gone(world: World) -> None:
    where = ["logs", f"--name={NAME}", "--bucket=bkt", f"--zone={ZONE}"]
    world.put(f"mrcore/{NAME}/logs/vm-1/boot.log", "boot: done\n")
    world.put(f"mrcore/{NAME}/logs/vm-2/tail.log", "leaving\n")
    assert world.gce(*where).out.split() == ["vm-1", "vm-2"]
    one = world.gce(*where, "vm-2")
    assert one.code == 0, told(one)
    assert one.out.endswith("leaving\n")
    none = world.gce(*where, "vm-3")
    assert none.code == 1
    assert "vm-3 has no logs yet" in none.err
    assert world.gce("down", f"--name={NAME}", "--yes", "--bucket=bkt").code == 0
