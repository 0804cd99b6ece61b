"""User code runs as the worker's account: what that may touch is checked here, object by object."""

from __future__ import annotations

import json
import re

import pytest

from mrcore.errors import UsageError
from mrcore.gce import iam, record
from mrcore.gce.record import Record
from tests.cloud.compute import conditions
from tests.unit.test_gce_record import FIELDS

HOME = "gs://bkt/mrcore/demo"
MASTER, WORKER = "master@p", "worker@p"


def cluster(**changes: str) -> Record:
    own = {"home": HOME, "master_account": MASTER, "worker_account": WORKER}
    return record.from_fields({**FIELDS, **own, **changes})


def allows(made: Record, who: str, role: str, uri: str) -> bool:
    """Evaluate the conditions as IAM would: any binding whose expression holds for the object."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    attributes = {
        "resource.name": f"projects/_/buckets/{bucket}/objects/{name}",
        "resource.type": "storage.googleapis.com/Object",
    }
    return any(
        conditions.holds(binding.expression, attributes)
        for binding in iam.bindings_of(made)
        if (binding.bucket, binding.member) == (bucket, f"serviceAccount:{who}")
        and binding.role == f"projects/p/roles/{role}"
    )


@pytest.fixture
def made() -> Record:
    return cluster(inputs="gs://bkt/books/\tgs://data/logs/2026-", outputs="gs://bkt/out/")


@pytest.mark.parametrize(
    "name",
    ["state/journal/00000000000000000001", "state/jobs/j/plan", "state/tls.json", "cluster.json"],
)
def test_the_journal_and_the_key_are_the_masters_alone(made: Record, name: str) -> None:
    assert allows(made, MASTER, iam.WRITER, f"{HOME}/{name}")
    assert not allows(made, WORKER, iam.WRITER, f"{HOME}/{name}")
    assert not allows(made, WORKER, iam.READER, f"{HOME}/{name}")


@pytest.mark.parametrize(
    "uri",
    [
        f"{HOME}/state/leader.json",
        f"{HOME}/state/cluster.json",
        f"{HOME}/state/plugins/abc",
        f"{HOME}/wheels/abc/a.whl",
        f"{HOME}/payload/abc.tar.gz",
        "gs://bkt/books/1.txt",
        "gs://data/logs/2026-01.txt",
    ],
)
def test_a_worker_reads_what_it_needs_and_changes_none_of_it(made: Record, uri: str) -> None:
    assert allows(made, WORKER, iam.READER, uri)
    assert not allows(made, WORKER, iam.WRITER, uri)


@pytest.mark.parametrize(
    "uri",
    ["gs://bkt/out/part-00000", "gs://bkt/out/_tmp/j/runs/x", f"{HOME}/logs/vm/boot.log",
     f"{HOME}/state/logs/j/map-00000@1.1.log"],
)  # fmt: skip
def test_a_worker_writes_output_temporaries_and_logs(made: Record, uri: str) -> None:
    assert allows(made, WORKER, iam.WRITER, uri)


@pytest.mark.parametrize("who", [MASTER, WORKER])
@pytest.mark.parametrize("role", [iam.READER, iam.WRITER])
@pytest.mark.parametrize("uri", ["gs://bkt/other", "gs://bkt/mrcore/demo2/state/leader.json"])
def test_nobody_touches_what_is_not_of_the_cluster(
    made: Record, who: str, role: str, uri: str
) -> None:
    assert not allows(made, who, role, uri)


@pytest.mark.parametrize("inputs", ["gs://bkt/", "gs://bkt/m", "gs://bkt/a\tgs://bkt/mrcore"])
def test_an_input_around_the_homes_of_clusters_opens_none_of_them(inputs: str) -> None:
    made = cluster(inputs=inputs)
    for who in (MASTER, WORKER):
        assert allows(made, who, iam.READER, "gs://bkt/mrcore.txt")
        assert not allows(made, who, iam.READER, "gs://bkt/mrcore/other/state/tls.json")
    assert not allows(made, WORKER, iam.READER, f"{HOME}/state/tls.json")
    assert allows(made, WORKER, iam.READER, f"{HOME}/state/leader.json")
    operators = [len(re.findall(r"&&|\|\||!", b.expression)) for b in iam.bindings_of(made)]
    assert max(operators) <= 12


def test_an_input_around_a_home_elsewhere_does_not_open_it() -> None:
    made = cluster(home="gs://bkt/team/one", inputs="gs://bkt/")
    assert allows(made, WORKER, iam.READER, "gs://bkt/team/two.txt")
    assert not allows(made, WORKER, iam.READER, "gs://bkt/team/one/state/tls.json")


@pytest.mark.parametrize("output", ["gs://bkt/mrcore/", "gs://bkt/", f"{HOME}/state/"])
def test_workers_get_no_output_around_or_in_the_home(output: str) -> None:
    with pytest.raises(UsageError, match="lie one in the other"):
        cluster(outputs=output)


def test_listings_are_held_to_the_same_prefixes(made: Record) -> None:
    for binding in iam.bindings_of(made):
        objects = re.findall(r'objects/([^"]*)"\)', binding.expression)
        listings = re.findall(r'""\)\.startsWith\("([^"]*)"\)', binding.expression)
        assert objects == listings
        assert objects


def test_conditions_stay_within_the_operators_that_iam_takes() -> None:
    inputs = "\t".join(f"gs://bkt/in-{number}/" for number in range(23))
    bindings = list(iam.bindings_of(cluster(inputs=inputs)))
    assert max(binding.expression.count("||") for binding in bindings) <= 12
    assert len({binding.title for binding in bindings}) == len(bindings)


def test_the_own_bucket_comes_first() -> None:
    bindings = list(iam.bindings_of(cluster(inputs="gs://aaa/x")))
    assert bindings[0].bucket == "bkt"
    assert bindings[-1].bucket == "aaa"


@pytest.mark.parametrize("prefix", ['gs://bkt/a"b/', "gs://bkt/a\\b/", "gs://bkt/a%%b/"])
def test_a_prefix_that_no_condition_can_hold_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="no IAM condition can hold"):
        list(iam.bindings_of(cluster(outputs=prefix)))


def test_bindings_are_found_again_in_a_policy_and_no_others(made: Record) -> None:
    wanted = [binding for binding in iam.bindings_of(made) if binding.bucket == "bkt"]
    entries: list[dict[str, object]] = [
        {
            "role": binding.role,
            "members": [binding.member],
            "condition": {"title": binding.title, "expression": binding.expression},
        }
        for binding in wanted
    ]
    foreign = {"title": iam.title_prefix("demo2") + "x", "expression": "true"}
    entries.append({"role": "r", "members": ["m"], "condition": foreign})
    entries.append({"role": "roles/owner", "members": ["user:a"]})
    found = list(iam.bindings_in(json.dumps({"bindings": entries}), "bkt", "demo"))
    assert found == wanted


def test_a_bucket_without_policy_has_no_bindings() -> None:
    assert list(iam.bindings_in("", "bkt", "demo")) == []
