"""Reports of a bucket that would cost or keep too much, before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from mrcore.gce.bucket import findings, is_near

GOOD: dict[str, Any] = {
    "location": "US-CENTRAL1",
    "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
}


def kinds(bucket: dict[str, Any], *, conditions: bool = True, cross: bool = False) -> list[str]:
    told = findings(bucket, "gs://b", "us-central1", conditions=conditions, cross_region=cross)
    return [kind for kind, _ in told]


def sentences(bucket: dict[str, Any]) -> str:
    told = findings(bucket, "gs://b", "us-central1", conditions=True, cross_region=False)
    return "\n".join(sentence for _, sentence in told)


def test_a_bucket_beside_the_vms_is_well() -> None:
    assert kinds(GOOD) == ["ok"]


@pytest.mark.parametrize(
    ("location", "region", "near"),
    [
        ("US-CENTRAL1", "us-central1", True),
        ("US-EAST1", "us-central1", False),
        ("US", "us-west4", True),
        ("US", "europe-west1", False),
        ("EU", "europe-west4", True),
        ("ASIA", "asia-east1", True),
        ("NAM4", "us-east1", True),
        ("NAM4", "us-west1", False),
    ],
)
def test_nearness(location: str, region: str, near: bool) -> None:
    assert is_near({"location": location}, region) is near


def test_a_pair_of_ones_own_choice_is_near_in_both() -> None:
    placement = {"dataLocations": ["US-EAST4", "US-WEST1"]}
    bucket = {"location": "US", "customPlacementConfig": placement}
    assert is_near(bucket, "us-west1")
    assert not is_near(bucket, "us-central1")


def test_another_region_is_an_error_unless_it_is_meant() -> None:
    far = GOOD | {"location": "EUROPE-WEST1"}
    assert kinds(far) == ["error"]
    assert "--cross-region" in sentences(far)
    assert kinds(far, cross=True) == ["ok"]


def test_many_regions_are_worth_a_warning() -> None:
    assert kinds(GOOD | {"location": "US"}) == ["warn", "ok"]


def test_conditions_need_uniform_access() -> None:
    bucket = {"location": "US-CENTRAL1"}
    assert kinds(bucket) == ["error"]
    assert "--uniform-bucket-level-access" in sentences(bucket)
    assert kinds(bucket, conditions=False) == ["ok"]


@pytest.mark.parametrize(
    ("setting", "kind", "words"),
    [
        ({"softDeletePolicy": {"retentionDurationSeconds": "604800"}}, "warn", "for 7 days"),
        ({"softDeletePolicy": {"retentionDurationSeconds": "0"}}, None, ""),
        ({"versioning": {"enabled": True}}, "warn", "old versions"),
        ({"versioning": {"enabled": False}}, None, ""),
        ({"retentionPolicy": {"retentionPeriod": "60"}}, "error", "retention policy"),
    ],
)
def test_what_is_kept_after_its_deletion(
    setting: dict[str, Any], kind: str | None, words: str
) -> None:
    assert kinds(GOOD | setting) == {"warn": ["warn", "ok"], "error": ["error"], None: ["ok"]}[kind]
    assert words in sentences(GOOD | setting)
