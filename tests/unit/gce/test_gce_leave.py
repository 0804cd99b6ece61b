"""Removal of what a cluster has left in buckets; what is not its own stays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mrcore.gce import leave, record
from mrcore.gce.record import Record
from mrcore.output.claim import Claim
from tests.support.gce_records import make_record
from tests.support.stores import Place

JOB = "wc-20260101-000000-abcdef"


def cluster(place: Place) -> Record:
    made = make_record(place.uri("mrcore/demo"))
    outputs = (place.uri("out") + "/", place.uri("results") + "/")
    return msgspec.structs.replace(made, outputs=outputs, temps=(place.uri("temp") + "/",))


def claim_out(place: Place, state_uri: str, output: str = "out") -> None:
    held = Claim(job_id=JOB, request_id="r", state_uri=state_uri, leader="", host="")
    place.put(f"{output}/_claim", msgspec.json.encode(held))


def test_its_claims_and_temporaries_go(gcs_place: Place) -> None:
    made = cluster(gcs_place)
    claim_out(gcs_place, leave.state_uri(made.home))
    gcs_place.put(f"mrcore/demo/state/jobs/{JOB}/plan", b"")
    for name in (f"out/_tmp/{JOB}/staged/x", f"temp/{JOB}/runs/y", "out/part-00000"):
        gcs_place.put(name, b"")
    assert leave.clear_outputs(made) == 3
    assert sorted(gcs_place.names()) == [f"mrcore/demo/state/jobs/{JOB}/plan", "out/part-00000"]


def test_an_output_is_freed_wherever_it_lies_in_its_folder(gcs_place: Place) -> None:
    made = cluster(gcs_place)
    claim_out(gcs_place, leave.state_uri(made.home), "results/2026/may")
    gcs_place.put(f"results/2026/may/_tmp/{JOB}/staged/x", b"")
    gcs_place.put("results/2026/april/part-00000", b"")
    gcs_place.put("results/2026/april/_tmp/other-20260101-000000-abcdef/runs/x", b"")
    assert leave.clear_outputs(made) == 2
    assert sorted(gcs_place.names()) == [
        "results/2026/april/_tmp/other-20260101-000000-abcdef/runs/x",
        "results/2026/april/part-00000",
    ]


def test_homes_are_found_in_a_bucket_and_by_name(gcs_place: Place) -> None:
    bucket = "/".join(gcs_place.base_uri.split("/")[:3])
    demo = msgspec.structs.replace(cluster(gcs_place), home=f"{bucket}/mrcore/demo")
    theirs = msgspec.structs.replace(demo, name="theirs", project="another")
    far = msgspec.structs.replace(demo, name="far", home=f"{bucket}/own/far")
    for name, content in (
        ("mrcore/demo/cluster.json", msgspec.json.encode(demo)),
        ("mrcore/theirs/cluster.json", msgspec.json.encode(theirs)),
        ("mrcore/torn/wheels/x.whl", b""),
        ("mrcore/strange/cluster.json", b"of another version"),
        ("mrcore/file", b""),
        ("own/far/cluster.json", msgspec.json.encode(far)),
    ):
        with gcs_place.storage.open_write(f"{bucket}/{name}") as writer:
            writer.write(content)
            writer.commit()
    found = leave.homes_in([bucket, f"{bucket}/own/far", f"{bucket}/own/none"], "p")
    assert [(home.cluster, home.expires, home.owner) for home in found] == [
        ("demo", "9000", "ada"),
        ("strange", "", ""),
        ("torn", "", ""),
        ("far", "9000", "ada"),
    ]


def test_those_of_another_cluster_stay(gcs_place: Place) -> None:
    claim_out(gcs_place, "gs://other/mrcore/x/state")
    gcs_place.put("out/_tmp/other-20260101-000000-abcdef/staged/x", b"")
    assert leave.clear_outputs(cluster(gcs_place)) == 0
    assert len(gcs_place.names()) == 2


def test_the_record_goes_last(gcs_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cluster(gcs_place)
    for name in ("cluster.json", "wheels/a", "a", "z", "state/journal/1"):
        gcs_place.put(f"mrcore/demo/{name}", b"")
    gcs_place.put("mrcore/demo2/cluster.json", b"")
    deleted: list[str] = []
    delete = gcs_place.storage.delete

    def noted(uri: str) -> bool:
        deleted.append(uri)
        return delete(uri)

    monkeypatch.setattr(gcs_place.storage, "delete", noted)
    assert leave.remove_home(made.home) == 5
    assert deleted[-1] == record.record_uri(made.home)
    assert gcs_place.names() == ["mrcore/demo2/cluster.json"]


def test_logs_are_saved_under_their_names(gcs_place: Place, tmp_path: Path) -> None:
    gcs_place.put("mrcore/demo/logs/vm/boot.log", b"booted")
    gcs_place.put("mrcore/demo/state/logs/job/map-00000@1.1.log", b"said")
    gcs_place.put("mrcore/demo/state/journal/1", b"secret")
    assert leave.save_logs(gcs_place.uri("mrcore/demo"), tmp_path / "saved") == 2
    assert (tmp_path / "saved/logs/vm/boot.log").read_bytes() == b"booted"
    assert (tmp_path / "saved/state/logs/job/map-00000@1.1.log").read_bytes() == b"said"


@pytest.mark.parametrize("name", ["logs/../../evil", "logs//x", "logs/./x", "logs/vm/.."])
def test_a_log_cannot_leave_its_folder(gcs_place: Place, tmp_path: Path, name: str) -> None:
    gcs_place.put(f"mrcore/demo/{name}", b"evil")
    assert leave.save_logs(gcs_place.uri("mrcore/demo"), tmp_path / "saved") == 0
    assert list(tmp_path.iterdir()) == []


def test_of_a_long_log_the_end_is_saved(
    gcs_place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leave, "MAX_LOG_BYTES", 3)
    gcs_place.put("mrcore/demo/logs/vm/tail.log", b"0123456789")
    leave.save_logs(gcs_place.uri("mrcore/demo"), tmp_path)
    assert (tmp_path / "logs/vm/tail.log").read_bytes() == b"789"
