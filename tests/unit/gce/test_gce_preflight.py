"""The runner's reading of gcloud's errors: causes, not consequences, each in one sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.gcsserver import GcsServer
from tests.gcsserver.access import Need
from tests.gcsserver.errors import ApiError
from tests.gcsserver.wire import Request
from tests.support.runner_site import InProcessSite, RunnerSite

WHERE = ("--project=p", "--zone=us-central1-a", "--bucket=b")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


TYPES = json.dumps([{"name": f"e2-standard-{n}", "guestCpus": n} for n in (4, 2)])
SETTINGS = '{"core": {"project": "mine"}, "compute": {"zone": "europe-west4-a"}}'


def image_of(python: str, size: int) -> str:
    """Return what gcloud prints of an image."""
    return json.dumps({"labels": {"mrcore-python": python}, "diskSizeGb": str(size)})


@pytest.fixture
def house(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> InProcessSite:
    made = InProcessSite(tmp_path, monkeypatch, capfd)
    made.says("", 0)
    (tmp_path / "home").mkdir()
    return made


def errors(house: RunnerSite, *words: str) -> list[str]:
    """Return what a preflight finds wrong, besides permissions, which nobody tells here."""
    ran = house.gce("preflight", "--json", *WHERE, f"--python={HERE}", *words)
    assert ran.returncode == 2, ran.stderr
    found = [item["message"] for item in json.loads(ran.stdout) if item["kind"] == "error"]
    return [sentence for sentence in found if "permissions on p cannot be asked" not in sentence]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("This API method requires billing to be enabled.", "p has no billing account. Link one"),
        (
            "Project projects/p cannot accept requests while in an inactive billing state.",
            "billing",
        ),
        ("HTTPError 403: The billing account for the owning project is disabled.", "billing"),
        ("You do not currently have an active account selected.", "Run: gcloud auth login"),
        (
            "The resource 'projects/p' was not found",
            "the project p does not exist, or you may not see it",
        ),
        ("Could not reach the server", "Google Cloud cannot be reached"),
        ("unrecognized arguments: --zones", "this gcloud is too old"),
    ],
)
def test_what_spoils_every_call_is_told_once(house: RunnerSite, said: str, sentence: str) -> None:
    house.says(f"ERROR: (gcloud.x) {said}")
    (only,) = errors(house)
    assert sentence in only


def test_billing_that_only_compute_misses_is_found(house: RunnerSite) -> None:
    house.says("ERROR: (gcloud.x) This API method requires billing to be enabled.", to="^compute ")
    found = errors(house)
    assert sum("has no billing account" in sentence for sentence in found) == 1
    assert not any("machine types" in sentence and "billing" not in sentence for sentence in found)


def test_a_place_that_is_none_is_told_alone(house: RunnerSite) -> None:
    nowhere = "ERROR: (gcloud.x) The resource 'projects/p/regions/us-central1' was not found"
    house.says(nowhere, to="^compute (regions|networks) ")
    house.says("", 0, to="buckets describe", out='{"location": "EU"}')
    found = "\n".join(errors(house))
    assert "us-central1-a has none of the machine types" in found
    assert "has no subnet" not in found
    assert "is in eu" not in found
    # What is there again is judged again.
    house.says("", 0, to="machine-types list", out=TYPES)
    found = "\n".join(errors(house))
    assert "has no subnet default in us-central1" in found
    assert "is in eu and the VMs in us-central1" in found


def test_an_image_tells_which_python_it_has(house: RunnerSite) -> None:
    house.says("", 0, to="^compute images describe-from-family mrcore ", out=image_of("9-9", 10))
    found = errors(house, "--image=family/mrcore")
    assert f"baked with Python 9.9, and {HERE} is what the VMs should have" in "\n".join(found)
    house.says("", 0, to="^compute images describe", out=image_of(HERE.replace(".", "-"), 80))
    found = errors(house, "--image=mine", "--disk-size=60")
    assert not any("baked with" in sentence for sentence in found)
    assert any("needs a disk of 80 GB" in sentence for sentence in found)
    house.says("ERROR: (gcloud.x) The resource 'images/none' was not found", to="images describe")
    assert any("the image none does not exist" in s for s in errors(house, "--image=none"))


def test_an_account_that_is_not_there_is_told_and_one_that_is_hidden_is_not(
    house: RunnerSite,
) -> None:
    house.says("ERROR: NOT_FOUND: Unknown service account", to="accounts describe own@p")
    house.says("ERROR: PERMISSION_DENIED: denied (or it may not exist).", to="describe hidden@p")
    found = errors(house, "--service-account-master=own@p", "--service-account-worker=hidden@p")
    told = [sentence for sentence in found if "service account" in sentence]
    assert told == ["the service account own@p does not exist. Check --service-account-master."]


def refuse_others(request: Request, need: Need, bindings: Sequence[Mapping[str, Any]]) -> None:
    if request.path.startswith("/storage/v1/b/theirs"):
        raise ApiError(403, "forbidden", "no")


def test_a_bucket_of_others_is_an_error_unless_its_owner_has_opened_it(house: RunnerSite) -> None:
    house.says("", 0, to="print-access-token", out="ada")
    words = ("preflight", "--json", *WHERE, "-o", "gs://theirs/out", "--input=gs://theirs/in/")
    with GcsServer(authorise=refuse_others) as server:
        server.store.create_bucket("theirs", {})
        extra = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{server.url}/"}
        ran = house.gce(*words, extra=extra)
        opened = house.gce(*words, "--shared-bucket=theirs", extra=extra)
    told = [item["message"] for item in json.loads(ran.stdout) if "not yours" in item["message"]]
    assert [sentence.partition(". Ask")[0] for sentence in told] == [
        "gs://theirs is not yours, so you cannot let the VMs read it",
        "gs://theirs is not yours, so you cannot let the VMs write it",
    ]
    assert "not yours" not in opened.stdout


def test_settings_of_gcloud_are_asked_for_once(house: RunnerSite) -> None:
    house.says("", 0, to="^config list", out=SETTINGS)
    ran = house.gce("up", "--dry-run", "--name=demo", "--bucket=b")
    assert ran.returncode == 0, ran.stderr
    assert " --zone=europe-west4-a " in ran.stdout
    assert " --project=mine " in ran.stdout
    assert len(house.calls()) == 1


def test_a_python_without_mrcore_is_told_so(house: RunnerSite) -> None:
    python = house.folder / "bin/python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    ran = RunnerSite(house.folder).gce("up", extra={"MRCORE_PYTHON": str(python)})
    assert ran.returncode == 2
    assert ran.stderr == (
        "mrcore gce: there is no Python with mrcore here; run scripts/setup, or install mrcore.\n"
    )
