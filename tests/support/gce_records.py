"""Records of clusters, for the tests of the runner."""

from __future__ import annotations

from typing import Any

import msgspec

from mrcore.gce import record
from mrcore.gce.record import Record

FIELDS: dict[str, Any] = {
    "name": "demo",
    "project": "p",
    "location": "zones/us-central1-a",
    "master_zone": "us-central1-a",
    "owner": "ada",
    "created_seconds": 1000,
    "expires_seconds": 9000,
    "machine_types": ("e2-standard-4", "n2-standard-4"),
    "master_machine_type": "e2-standard-2",
    "provisioning": "spot",
    "workers": 2,
    "max_workers": 5,
    "network": "default",
    "subnet": "",
    "image": "projects/debian-cloud/global/images/family/debian-12",
    "disk_gib": 50,
    "connect": "iap",
    "max_run_seconds": 7200,
    "idle_timeout": "15m",
    "manage_iam": True,
}


def make_record(home: str, **changes: Any) -> Record:
    """Return a record that a cluster can have; raise UsageError for any other."""
    made = msgspec.convert({**FIELDS, "home": home, **changes}, Record)
    record.check(made)
    return made
