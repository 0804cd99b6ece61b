"""Judgement of a bucket's settings: its location, and what it keeps after a deletion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

MULTI_REGIONS: Final = {"us": "us-", "eu": "europe-", "asia": "asia-"}
"""Places of many regions, and how the names of these begin."""
DUAL_REGIONS: Final[dict[str, tuple[str, ...]]] = {
    "nam4": ("us-central1", "us-east1"),
    "eur4": ("europe-north1", "europe-west4"),
    "eur5": ("europe-west1", "europe-west2"),
    "eur7": ("europe-west2", "europe-west3"),
    "eur8": ("europe-west3", "europe-west6"),
    "asia1": ("asia-northeast1", "asia-northeast2"),
}


def findings(
    bucket: Mapping[str, Any], uri: str, region: str, *, conditions: bool, cross_region: bool
) -> Iterator[tuple[str, str]]:
    """Yield kind (`error`, `warn` or `ok`) and sentence for what the JSON API says of a bucket.

    `conditions`: the runner is going to bind roles with conditions; `cross_region`: the user knows
    that the bucket is elsewhere than the VMs.
    """
    found = list(_findings(bucket, uri, region, conditions, cross_region))
    yield from found
    if all(kind != "error" for kind, _ in found):
        yield "ok", f"bucket {uri}"


def _findings(
    bucket: Mapping[str, Any], uri: str, region: str, conditions: bool, cross_region: bool
) -> Iterator[tuple[str, str]]:
    place = str(bucket.get("location", "")).lower()
    near = is_near(bucket, region)
    if not near and not cross_region:
        yield (
            "error",
            f"the bucket {uri} is in {place} and the VMs in {region}. Reading there is slow and "
            f"costs money by the byte. Take a bucket in {region} or VMs in the bucket's region, "
            "or give --cross-region.",
        )
    elif near and place in MULTI_REGIONS:
        yield "warn", f"the bucket {uri} is in many regions ({place}). One in {region} costs less."
    uniform = bucket.get("iamConfiguration", {}).get("uniformBucketLevelAccess", {})
    if conditions and not uniform.get("enabled"):
        yield (
            "error",
            f"{uri} has no uniform access, so the VMs' accounts cannot be held to their folders. "
            f"Run: gcloud storage buckets update {uri} --uniform-bucket-level-access",
        )
    yield from _kept(bucket, uri)


def is_near(bucket: Mapping[str, Any], region: str) -> bool:
    """Return whether VMs of the region read the bucket as one of their own."""
    place = str(bucket.get("location", "")).lower()
    custom = bucket.get("customPlacementConfig", {}).get("dataLocations", ())
    pair = [str(name).lower() for name in custom] or DUAL_REGIONS.get(place, ())
    if pair:
        return region in pair
    if place in MULTI_REGIONS:
        return region.startswith(MULTI_REGIONS[place])
    return place == region


def _kept(bucket: Mapping[str, Any], uri: str) -> Iterator[tuple[str, str]]:
    """Yield warnings of settings by which deleted temporaries go on to cost money, or stay."""
    days = int(bucket.get("softDeletePolicy", {}).get("retentionDurationSeconds") or 0) / 86_400
    if days:
        yield (
            "warn",
            f"{uri} keeps what is deleted for {days:g} days (soft delete), and temporaries cost "
            f"money as long. Run: gcloud storage buckets update {uri} "
            "--clear-soft-delete, or give --temp.",
        )
    if bucket.get("versioning", {}).get("enabled"):
        yield (
            "warn",
            f"{uri} keeps old versions of objects, and deleted temporaries go on to cost money. "
            "Give a --temp in a bucket without versioning.",
        )
    if bucket.get("retentionPolicy"):
        yield (
            "error",
            f"{uri} has a retention policy, so nothing in it can be replaced or deleted. Take "
            "another bucket for home, output and --temp.",
        )
