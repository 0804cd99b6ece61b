"""Clusters that fit into a quota, and clusters that do not."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from mrcore.gce.quota import Demand, findings

DEMAND = Demand(
    workers=5,
    most=5,
    masters=1,
    worker_type="n2-standard-4",
    worker_cpus=4,
    master_type="e2-standard-2",
    master_cpus=2,
    spot=True,
    disk_gib=50,
)
ROOM = {
    "CPUS": (24, 0),
    "N2_CPUS": (24, 0),
    "PREEMPTIBLE_CPUS": (0, 0),
    "INSTANCES": (24, 0),
    "SSD_TOTAL_GB": (500, 0),
}


def found(
    demand: Demand, limits: Mapping[str, tuple[int, int]] | None = None, everywhere: int = 100
) -> tuple[list[str], list[str]]:
    """Return errors and warnings, where each quota has a limit and a usage."""
    quotas = [
        {"metric": metric, "limit": float(limit), "usage": float(usage)}
        for metric, (limit, usage) in {**ROOM, **(limits or {})}.items()
    ]
    project = {
        "name": "p",
        "quotas": [{"metric": "CPUS_ALL_REGIONS", "limit": float(everywhere), "usage": 0.0}],
    }
    told = list(findings(demand, "us-central1", {"quotas": quotas}, project))
    errors = [text for kind, text in told if kind == "error"]
    assert ("ok" in dict(told)) == (not errors)
    return errors, [text for kind, text in told if kind == "warn"]


def test_a_cluster_that_fits_is_well() -> None:
    assert found(DEMAND) == ([], [])


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"N2_CPUS": (24, 5)}, "N2_CPUS of us-central1 has 19 left, and 5 workers need 20"),
        ({"PREEMPTIBLE_CPUS": (16, 0)}, "PREEMPTIBLE_CPUS of us-central1 has 16 left"),
        ({"SSD_TOTAL_GB": (250, 0)}, "SSD_TOTAL_GB of us-central1 has 250 left, and 5 workers"),
        ({"INSTANCES": (5, 0)}, "INSTANCES of us-central1 has 5 left, and 5 workers and"),
        ({"CPUS": (1, 0)}, "CPUS of us-central1 has 1 left, and the master needs 2"),
    ],
)
def test_the_quota_that_is_too_small_is_named(
    limits: dict[str, tuple[int, int]], sentence: str
) -> None:
    (error,), _ = found(DEMAND, limits)
    assert sentence in error
    assert error.endswith("iam-admin/quotas?project=p")


def test_a_quota_of_their_own_frees_spot_machines_from_all_others() -> None:
    quota = {"PREEMPTIBLE_CPUS": (20, 0), "N2_CPUS": (0, 0)}
    assert found(DEMAND, quota, everywhere=10) == ([], [])
    errors, _ = found(msgspec.structs.replace(DEMAND, spot=False), quota, everywhere=10)
    assert [error.split()[2] for error in errors] == ["N2_CPUS", "CPUS_ALL_REGIONS"]


def test_families_without_a_quota_share_one_with_the_master() -> None:
    demand = msgspec.structs.replace(DEMAND, worker_type="e2-standard-4")
    assert found(demand, {"CPUS": (22, 0)}) == ([], [])
    (error,), _ = found(demand, {"CPUS": (21, 0)})
    assert "has 21 left, and 5 workers and the master need 22" in error


def test_a_fleet_that_cannot_grow_so_far_is_warned_of() -> None:
    errors, warnings = found(msgspec.structs.replace(DEMAND, most=8))
    assert errors == []
    assert "of the 8 workers allowed 6 can be made" in warnings[0]


def test_what_is_there_needs_no_room() -> None:
    demand = msgspec.structs.replace(DEMAND, workers=0, most=0, masters=0)
    full = dict.fromkeys(ROOM, (1, 1))
    assert found(demand, full, everywhere=0) == ([], [])
