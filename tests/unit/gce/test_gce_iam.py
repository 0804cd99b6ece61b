"""User code runs as the worker's account: what that may touch is checked here, name by name."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
import yaml

from mrcore.errors import UsageError
from mrcore.gce import iam
from mrcore.gce.record import Record
from tests.cloud.compute import conditions
from tests.cloud.compute.access import attributes_of
from tests.support.gce_records import make_record
from tests.support.repository import ROOT

HOME = "gs://bkt/mrcore/demo"
MASTER, WORKER = "master@p", "worker@p"
IN_TIME, TOO_LATE = "1970-01-01T02:29:59Z", "1970-01-01T02:30:00Z"
"""The record of these tests expires at 9,000 seconds."""


def cluster(home: str = HOME, **changes: Any) -> Record:
    own = {"master_account": MASTER, "worker_account": WORKER}
    return make_record(home, **{**own, **changes})


def permissions(role: str) -> set[str]:
    """Return what a role of ours allows, by its file."""
    found = yaml.safe_load((ROOT / f"deploy/iam/{role.rpartition('/')[2]}.yaml").read_text())
    return set(found["includedPermissions"])


def granted(
    made: Record, who: str, permission: str, resource: str, seen: dict[str, str], at: str = IN_TIME
) -> bool:
    """Decide as IAM would: by any binding with the permission whose condition holds."""
    return any(
        conditions.holds(binding.expression, {**seen, "request.time": at})
        for binding in iam.bindings_of(made)
        if (binding.resource, binding.member) == (resource, f"serviceAccount:{who}")
        and permission in permissions(binding.role)
    )


def may(made: Record, who: str, verb: str, uri: str, at: str = IN_TIME) -> bool:
    """Return whether an account may do that with an object."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    seen = {
        "resource.name": f"projects/_/buckets/{bucket}/objects/{name}",
        "resource.type": "storage.googleapis.com/Object",
    }
    return granted(made, who, f"storage.objects.{verb}", f"gs://{bucket}", seen, at)


def verbs(made: Record, who: str, uri: str) -> set[str]:
    return {verb for verb in ("get", "create", "delete") if may(made, who, verb, uri)}


def may_list(made: Record, who: str, uri: str) -> bool:
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    seen = {
        "resource.name": f"projects/_/buckets/{bucket}",
        "resource.type": "storage.googleapis.com/Bucket",
        "storage.googleapis.com/objectListPrefix": prefix,
    }
    return granted(made, who, "storage.objects.list", f"gs://{bucket}", seen)


def may_compute(made: Record, who: str, permission: str, path: str, at: str = IN_TIME) -> bool:
    """Return whether an account may do that on Compute Engine."""
    full = f"compute.{permission}"
    return granted(made, who, full, "projects/p", attributes_of(full, f"projects/p/{path}"), at)


@pytest.fixture
def made() -> Record:
    return cluster(
        inputs=("gs://bkt/books/", "gs://data/logs/2026-"),
        outputs=("gs://bkt/out/",),
        temps=("gs://scratch/runs/",),
    )


ALL = {"get", "create", "delete"}
NEW = {"get", "create"}
READ = {"get"}
NOTHING: set[str] = set()


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        # What all of the cluster rests on.
        (f"{HOME}/cluster.json", NOTHING),
        (f"{HOME}/state/tls.json", NOTHING),
        (f"{HOME}/state/tokens/user.json", NOTHING),
        (f"{HOME}/state/tokens/issued.json", NOTHING),
        (f"{HOME}/state/fleet.json", NOTHING),
        (f"{HOME}/state/journal/00000000000000000001", NOTHING),
        (f"{HOME}/state/jobs/j/plan", NOTHING),
        # What a worker needs of it.
        (f"{HOME}/state/leader.json", READ),
        (f"{HOME}/state/tokens/worker.json", READ),
        (f"{HOME}/state/cluster.json", READ),
        (f"{HOME}/state/plugins/abc", READ),
        (f"{HOME}/wheels/abc/a.whl", READ),
        (f"{HOME}/payload/abc.tar.gz", READ),
        # What it says.
        (f"{HOME}/state/logs/j/map-00000@1.1.log", NEW),
        (f"{HOME}/logs/mrcore-demo-spot-a1b2/tail.log", ALL),
        (f"{HOME}/logs/mrcore-demo-standard-a1b2/boot.log", ALL),
        (f"{HOME}/logs/mrcore-demo-master/tail.log", NOTHING),
        # Inputs.
        ("gs://bkt/books/1.txt", READ),
        ("gs://data/logs/2026-01.txt", READ),
        ("gs://data/logs/2025-12.txt", NOTHING),
        # What it makes for a job, and what becomes of that.
        ("gs://bkt/out/_tmp/j/runs/fff-map-00000@1.1.run", NEW),
        ("gs://bkt/out/_tmp/j/staged/1.1-part-00000", NEW),
        ("gs://bkt/out/deeper/_tmp/j/staged/1.1-part-00000", NEW),
        ("gs://scratch/runs/j/runs/fff-map-00000@1.1.run", NEW),
        ("gs://bkt/out/_claim", READ),
        ("gs://bkt/out/deeper/_claim", READ),
        ("gs://bkt/out/part-00000", NOTHING),
        ("gs://bkt/out/deeper/part-00000", NOTHING),
        ("gs://bkt/out/_SUCCESS", NOTHING),
        ("gs://bkt/out/_bad/map-00000.jsonl", NOTHING),
        ("gs://bkt/out/_tmp", NOTHING),
        # What is not of the cluster at all, whatever it is called.
        ("gs://bkt/other", NOTHING),
        ("gs://bkt/other/_tmp/j/x", NOTHING),
        ("gs://bkt/other/objects/out/_tmp/j/x", NOTHING),
        ("gs://bkt/mrcore/demo2/state/leader.json", NOTHING),
        ("gs://bkt/mrcore/demo2/logs/mrcore-demo2-spot-a1b2/tail.log", NOTHING),
    ],
)
def test_user_code_may_touch_this_and_no_more(made: Record, uri: str, wanted: set[str]) -> None:
    assert verbs(made, WORKER, uri) == wanted


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        (f"{HOME}/state/journal/00000000000000000001", ALL),
        (f"{HOME}/state/tls.json", ALL),
        (f"{HOME}/cluster.json", ALL),
        (f"{HOME}/logs/mrcore-demo-master/tail.log", ALL),
        ("gs://bkt/out/part-00000", ALL),
        ("gs://bkt/out/_SUCCESS", ALL),
        ("gs://bkt/out/_tmp/j/staged/1.1-part-00000", ALL),
        ("gs://scratch/runs/j/runs/fff-map-00000@1.1.run", ALL),
        ("gs://bkt/books/1.txt", READ),
        ("gs://bkt/other", NOTHING),
        ("gs://bkt/mrcore/demo2/state/leader.json", NOTHING),
    ],
)
def test_a_master_may_touch_this_and_no_more(made: Record, uri: str, wanted: set[str]) -> None:
    assert verbs(made, MASTER, uri) == wanted


def test_an_output_among_temporaries_of_another_opens_its_own_alone() -> None:
    made = cluster(outputs=("gs://bkt/a/_tmp/out/",))
    assert verbs(made, WORKER, "gs://bkt/a/_tmp/out/_tmp/j/x") == NEW
    assert verbs(made, WORKER, "gs://bkt/a/_tmp/out/part-00000") == NOTHING


def test_listings_are_held_to_the_same_prefixes(made: Record) -> None:
    assert may_list(made, WORKER, "gs://bkt/books/")
    assert may_list(made, MASTER, "gs://bkt/books/x")
    assert may_list(made, MASTER, "gs://bkt/out/_tmp/j/")
    assert may_list(made, MASTER, "gs://scratch/runs/j/")
    assert may_list(made, MASTER, f"{HOME}/state/journal/")
    for uri in ("gs://bkt/", "gs://bkt/mrcore/", f"{HOME}/state/", "gs://bkt/out/"):
        assert not may_list(made, WORKER, uri)
    for uri in ("gs://bkt/", "gs://bkt/mrcore/", "gs://bkt/mrcore/demo2/"):
        assert not may_list(made, MASTER, uri)


@pytest.mark.parametrize(
    ("permission", "path", "wanted"),
    [
        ("instances.delete", "zones/z/instances/mrcore-demo-master", True),
        ("instances.delete", "zones/y/instances/mrcore-demo-spot-a1b2", True),
        ("instances.delete", "zones/y/instances/mrcore-demo-master-3", True),
        ("instances.delete", "zones/y/instances/mrcore-demo-standard-a1b2", True),
        ("instances.delete", "zones/z/instances/mrcore-demo2-master", False),
        ("instances.delete", "zones/z/instances/mrcore-demo-master-of-others", False),
        ("instances.delete", "zones/z/instances/web", False),
        ("instances.get", "zones/z/instances/web", False),
        ("instances.list", "zones/z/instances", True),
        ("instances.create", "zones/z/instances/mrcore-demo-spot-a1b2", False),
        ("instanceTemplates.delete", "global/instanceTemplates/mrcore-demo-spot-0a", True),
        ("instanceTemplates.delete", "regions/r/instanceTemplates/mrcore-demo-standard-0a", True),
        ("instanceTemplates.delete", "global/instanceTemplates/mrcore-demo2-spot-0a", False),
        ("firewalls.delete", "global/firewalls/mrcore-demo-iap", True),
        ("firewalls.delete", "global/firewalls/mrcore-demo2-iap", False),
        ("firewalls.delete", "global/firewalls/default-allow-ssh", False),
        # Resources that a condition cannot distinguish.
        ("instanceGroupManagers.update", "zones/z/instanceGroupManagers/anybodys", True),
        ("networks.updatePolicy", "global/networks/default", True),
    ],
)
def test_a_master_deletes_what_bears_the_name_of_its_cluster(
    made: Record, permission: str, path: str, wanted: bool
) -> None:
    assert may_compute(made, MASTER, permission, path) is wanted
    assert not may_compute(made, WORKER, permission, path)


def test_nothing_is_allowed_once_a_cluster_has_expired(made: Record) -> None:
    path = "zones/z/instances/mrcore-demo-master"
    assert may(made, MASTER, "create", f"{HOME}/state/journal/1")
    assert not may(made, MASTER, "create", f"{HOME}/state/journal/1", TOO_LATE)
    assert not may(made, WORKER, "get", "gs://bkt/books/1.txt", TOO_LATE)
    assert not may_compute(made, MASTER, "instances.delete", path, TOO_LATE)
    for binding in iam.bindings_of(made):
        assert binding.expression.endswith(f'request.time < timestamp("{TOO_LATE}")')


@pytest.mark.parametrize(
    "inputs", [("gs://bkt/",), ("gs://bkt/m",), ("gs://bkt/a", "gs://bkt/mrcore")]
)
def test_an_input_around_the_homes_of_clusters_opens_none_of_them(inputs: tuple[str, ...]) -> None:
    made = cluster(inputs=inputs)
    for who in (MASTER, WORKER):
        assert may(made, who, "get", "gs://bkt/mrcore.txt")
        assert not may(made, who, "get", "gs://bkt/mrcore/other/state/tls.json")
    assert not may(made, WORKER, "get", f"{HOME}/state/tls.json")
    assert may(made, WORKER, "get", f"{HOME}/state/leader.json")


def test_an_input_around_a_home_elsewhere_does_not_open_it() -> None:
    made = cluster(home="gs://bkt/team/one", inputs=("gs://bkt/",))
    assert may(made, WORKER, "get", "gs://bkt/team/two.txt")
    assert not may(made, WORKER, "get", "gs://bkt/team/one/state/tls.json")


@pytest.mark.parametrize("field", ["outputs", "temps"])
@pytest.mark.parametrize("place", ["gs://bkt/mrcore/", "gs://bkt/", f"{HOME}/state/"])
def test_workers_get_no_folder_around_or_in_the_home(field: str, place: str) -> None:
    with pytest.raises(UsageError, match="lie one in the other"):
        make_record(HOME, **{field: (place,)})


@pytest.mark.parametrize("names", ["plain", "wide"])
def test_conditions_and_bindings_stay_within_what_iam_takes(names: str) -> None:
    wide = ("gs://bkt/",) if names == "wide" else ()
    inputs = tuple(f"gs://bkt/in-{number}/" for number in range(23))
    outputs = tuple(f"gs://bkt/out-{number}/" for number in range(23))
    made = cluster(inputs=(*wide, *inputs), outputs=outputs)
    bindings = list(iam.bindings_of(made))
    counted = [conditions.operators_in(binding.expression) for binding in bindings]
    assert [iam.operators_in(binding.expression) for binding in bindings] == counted
    assert max(counted) == conditions.MAX_OPERATORS
    assert max(Counter((b.resource, b.role, b.member) for b in bindings).values()) <= 20
    assert may(made, WORKER, "get", "gs://bkt/in-22/x")
    assert may(made, WORKER, "create", "gs://bkt/out-22/_tmp/x")


def test_more_places_than_a_policy_has_room_for_are_refused() -> None:
    made = cluster(inputs=tuple(f"gs://bkt/in-{number}/" for number in range(200)))
    with pytest.raises(UsageError, match="too many places in gs://bkt"):
        list(iam.bindings_of(made))


def test_what_is_added_later_leaves_earlier_conditions_as_they_are() -> None:
    inputs = tuple(f"gs://bkt/in-{number}/" for number in range(40))
    before, after = (list(iam.bindings_of(cluster(inputs=inputs[:count]))) for count in (30, 40))
    lost = [binding.title for binding in before if binding not in after]
    assert len(lost) <= 2  # the last of the master and of the worker, which have room left


def test_the_own_bucket_comes_first_and_the_project_last() -> None:
    found = [b.resource for b in iam.bindings_of(cluster(inputs=("gs://aaa/x",)))]
    assert list(dict.fromkeys(found)) == ["gs://bkt", "gs://aaa", "projects/p"]


@pytest.mark.parametrize("prefix", ['gs://bkt/a"b/', "gs://bkt/a\\b/", "gs://bkt/a%%b/"])
def test_a_prefix_that_no_condition_can_hold_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="no IAM condition can hold"):
        list(iam.bindings_of(cluster(outputs=(prefix,))))


def policy_of(bindings: list[iam.Binding]) -> dict[str, Any]:
    fields = ("title", "expression", "description")
    return {
        "bindings": [
            {
                "role": binding.role,
                "members": [binding.member],
                "condition": {field: getattr(binding, field) for field in fields},
            }
            for binding in bindings
        ]
    }


@pytest.mark.parametrize("resource", ["gs://bkt", "projects/p"])
def test_bindings_are_found_again_in_a_policy_and_no_others(made: Record, resource: str) -> None:
    wanted = [binding for binding in iam.bindings_of(made) if binding.resource == resource]
    policy = policy_of(wanted)
    other = msgspec.structs.replace(wanted[0], title=f"{iam.title_prefix('demo2')}x")
    policy["bindings"] += policy_of([other])["bindings"]
    policy["bindings"].append({"role": "roles/owner", "members": ["user:a"]})
    assert list(iam.bindings_in(policy, resource, "demo")) == wanted


def test_bindings_tell_of_clusters_whose_machines_are_gone(made: Record) -> None:
    other = cluster(name="demo2", home="gs://b/x")
    policy = policy_of([b for one in (made, other) for b in iam.bindings_of(one)])
    owner = {"mrcore-owner": "ada", "mrcore-expires": "9000"}
    assert dict(iam.clusters_in(policy)) == {
        "demo": {"mrcore-home": HOME, **owner},
        "demo2": {"mrcore-home": "gs://b/x", **owner},
    }


def test_a_bucket_without_policy_has_no_bindings() -> None:
    assert list(iam.bindings_in(None, "bkt", "demo")) == []
    assert list(iam.bindings_in({"etag": "x"}, "bkt", "demo")) == []
