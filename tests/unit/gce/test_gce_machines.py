"""Names, labels and options of the parts of a cluster."""

from __future__ import annotations

import msgspec
import pytest

from mrcore.gce import machines
from mrcore.gce.connect import describe_states
from mrcore.gce.inventory import Row
from tests.support.gce_records import make_record

RECORD = make_record("gs://b/mrcore/demo", payload_sha256="ab" * 32)


@pytest.mark.parametrize(
    "changes",
    [{"disk_gib": 60}, {"payload_sha256": "cd" * 32}, {"expires_seconds": 9001}, {"subnet": "s"}],
)
def test_a_template_with_other_content_has_another_name(changes: dict[str, object]) -> None:
    other = msgspec.structs.replace(RECORD, **changes)
    names = {machines.template_name(one, "spot") for one in (RECORD, other)}
    assert len(names) == 2
    assert all(name.startswith("mrcore-demo-spot-") for name in names)
    assert machines.template_name(RECORD, "spot") == machines.template_name(RECORD, "spot")


def test_only_the_spot_template_makes_spot_vms() -> None:
    assert "--provisioning-model=SPOT" in machines.template_options(RECORD, "spot")
    assert "--provisioning-model=SPOT" not in machines.template_options(RECORD, "standard")


def test_an_image_is_named_by_its_project() -> None:
    assert "--image-family=debian-12" in machines.machine_options(RECORD, "worker")
    path = machines.image_path("mine", "e2-standard-4", "p")
    own = msgspec.structs.replace(RECORD, image=path)
    options = machines.machine_options(own, "master")
    assert {"--image=mine", "--image-project=p"} <= set(options)
    assert machines.image_path("", "t2a-standard-4", "p").endswith("/debian-12-arm64")


@pytest.mark.parametrize(
    ("location", "option", "region"),
    [
        ("zones/us-central1-a", "--zone=us-central1-a", "us-central1"),
        ("regions/europe-west4", "--region=europe-west4", "europe-west4"),
    ],
)
def test_groups_are_in_a_zone_or_in_a_region(location: str, option: str, region: str) -> None:
    assert machines.place_option(location) == option
    assert machines.region_of(location) == region


def test_an_owner_fits_into_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "Ada.Lovelace@Example" + "x" * 60)
    assert machines.owner_label().startswith("ada-lovelace-example")
    assert len(machines.owner_label()) == 63


def test_machines_are_described_in_one_line() -> None:
    def row(role: str, state: str) -> Row:
        return Row("instance", "vm", state=state, role=role)

    assert describe_states([]) == "master not there yet"
    rows = [row("master", "RUNNING"), *3 * [row("worker", "RUNNING")], row("worker", "STAGING")]
    assert describe_states(rows) == "master RUNNING; workers: 3 RUNNING, 1 STAGING"
