"""Requests to the test cloud: lists, filters, pages, batches, waits, and the cloud's own verbs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.cloud.compute import filters
from tests.cloud.compute.api import ZONE, Api, RefusedError, instance_body
from tests.cloud.compute.errors import CloudError
from tests.cloud.compute.threaded import ThreadedCloud, running

HERE = f"zones/{ZONE}/instances"


@pytest.fixture
def cloud() -> Iterator[ThreadedCloud]:
    with running() as cloud:
        yield cloud


@pytest.fixture
def api(cloud: ThreadedCloud) -> Api:
    return Api(cloud)


RESOURCE = {
    "name": "web-1",
    "status": "RUNNING",
    "size": "12",
    "labels": {"mrcore": "a", "role": "worker"},
    "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a",
    "on": True,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("labels.mrcore=a", True),
        ("labels.mrcore=b", False),
        ("labels.none=a", False),
        ("labels.none!=a", True),
        ("labels.role:*", True),
        ("name:web-*", True),
        ("on=true", True),
        ("size>9 AND size<=12", True),
        ("size>12", False),
        ("NOT status=RUNNING", False),
        ("status=STOPPED OR labels.role = worker", True),
        ("(status=STOPPED OR name=web-1) AND labels.mrcore=b", False),
        ("(status=RUNNING) (labels.mrcore=a)", True),
        (r'zone eq ".*\bus\-central1\-a\b.*"', True),
        ('name eq "web"', False),
        ('name ne "web"', True),
        ("name=~web-.", True),
        ('name="web-1"', True),
        (None, True),
        ("", True),
    ],
)
def test_a_filter_selects(text: str | None, expected: bool) -> None:
    assert filters.parse(text)(RESOURCE) is expected


@pytest.mark.parametrize(
    "text", ["name", "name=", "(name=a", "name=a)", "= a", "name ? a", "a=b OR"]
)
def test_a_filter_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(CloudError) as refused:
        filters.parse(text)
    assert refused.value.status == 400


def test_lists_come_in_pages_and_name_the_scopes_without_results(api: Api) -> None:
    for name in ("a", "b", "c"):
        labels = {"k": "v" if name != "b" else "w"}
        api.do("POST", HERE, instance_body(name, labels=labels))
    first = api.get(HERE, filter="labels.k=v", maxResults=1)
    second = api.get(HERE, filter="labels.k=v", maxResults=1, pageToken=first["nextPageToken"])
    assert [item["name"] for item in first["items"] + second["items"]] == ["a", "c"]
    assert "nextPageToken" not in second
    assert "items" not in api.get("zones/us-east1-b/instances")
    everywhere = api.get("aggregated/instances", filter="labels.k=v", includeAllScopes="true")
    here = everywhere["items"].pop(f"zones/{ZONE}")
    assert [item["name"] for item in here["instances"]] == ["a", "c"]
    codes = {scope["warning"]["code"] for scope in everywhere["items"].values()}
    assert codes == {"NO_RESULTS_ON_PAGE"}


def test_an_operation_is_seen_running_and_is_waited_for(api: Api) -> None:
    api.cloud.control("delay", operation_seconds=0.3)
    operation = api.compute("POST", HERE, instance_body("a"))
    assert (operation["status"], operation["progress"]) == ("RUNNING", 0)
    path = f"zones/{ZONE}/operations/{operation['name']}"
    done = api.compute("POST", f"{path}/wait")
    assert (done["status"], done["progress"], done["operationType"]) == ("DONE", 100, "insert")
    assert done["targetLink"].endswith(f"/{HERE}/a")
    assert done["endTime"] > done["startTime"]
    assert api.get(path) == done


def test_a_batch_answers_each_part_whatever_becomes_of_the_others(api: Api) -> None:
    api.do("POST", HERE, instance_body("a"))
    prefix = "/compute/v1/projects/test-project"
    parts = [("GET", f"{HERE}/a"), ("GET", f"{HERE}/none"), ("DELETE", f"{HERE}/a")]
    body = "".join(
        f"--b\nContent-Type: application/http\nContent-ID: <x+{number}>\n\n"
        f"{method} {prefix}/{path} HTTP/1.1\naccept: application/json\n\n\n"
        for number, (method, path) in enumerate(parts)
    )
    answer = api.send(
        "POST", "/batch/compute/v1", f"{body}--b--".encode(), 'multipart/mixed; boundary="b"'
    ).decode()
    lines = answer.splitlines()
    assert [line for line in lines if line.startswith("HTTP/1.1")] == [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 404 Not Found",
        "HTTP/1.1 200 OK",
    ]
    ids = [line for line in lines if line.startswith("Content-ID")]
    assert ids == [f"Content-ID: <response-x+{number}>" for number in range(3)]
    with pytest.raises(RefusedError):
        api.send("POST", "/batch/compute/v1", b"", "multipart/mixed; boundary=b")


def test_firewalls_and_private_access(api: Api) -> None:
    allowed = [{"IPProtocol": "tcp", "ports": ["22"]}]
    body = {"name": "f", "description": "mrcore=x", "allowed": allowed}
    api.do("POST", "global/firewalls", body)
    made = api.get("global/firewalls/f")
    assert (made["description"], made["sourceRanges"]) == ("mrcore=x", ["0.0.0.0/0"])
    api.do("PATCH", "global/firewalls/f", {"sourceRanges": ["35.235.240.0/20"]})
    assert api.get("global/firewalls/f")["sourceRanges"] == ["35.235.240.0/20"]
    changes: list[dict[str, list[str]]] = [{"allowed": []}, {"sourceRanges": ["nowhere"]}]
    for change in changes:
        with pytest.raises(RefusedError):
            api.do("POST", "global/firewalls", body | {"name": "g"} | change)
    api.do("DELETE", "global/firewalls/f")
    assert api.cloud.made() == []
    subnetwork = "regions/us-central1/subnetworks/default"
    assert api.get(subnetwork)["privateIpGoogleAccess"]
    access = {"privateIpGoogleAccess": False}
    api.do("POST", f"{subnetwork}/setPrivateIpGoogleAccess", access)
    assert not api.get(subnetwork)["privateIpGoogleAccess"]


def test_every_call_is_noted_with_who_asked_and_what_came_of_it(api: Api) -> None:
    api.do("POST", HERE, instance_body("a"))
    with pytest.raises(RefusedError):
        api.get(f"{HERE}/none")
    insert, get = api.cloud.calls()
    assert (insert["method"], insert["status"]) == ("compute.instances.insert", 200)
    assert insert["body"]["name"] == "a"
    assert insert["caller"] == "owner@example.com"
    assert (get["method"], get["status"]) == ("compute.instances.get", 404)
    assert api.cloud.calls("compute.instances.get") == [get]
    api.cloud.control("calls", "DELETE")
    assert api.cloud.calls() == []


def test_calls_fail_or_come_late_as_often_as_they_are_told(api: Api) -> None:
    api.cloud.control("error", method="compute.zones.*", status=503, count=1)
    with pytest.raises(RefusedError) as refused:
        api.get("zones")
    assert refused.value.status == 503
    assert len(api.get("zones")["items"]) > 10
    with pytest.raises(ValueError, match="no fault"):
        api.cloud.control("weather")
    for bad in ({"metric": "CPUS"}, {"metric": "NONE", "limit": 1}):
        with pytest.raises(ValueError, match=r"quota|There is no quota"):
            api.cloud.control("quota", **bad)


def test_the_cloud_is_a_process_too() -> None:
    read, write = os.pipe()
    command = [sys.executable, "-m", "tests.cloud.compute", "--ready-fd", str(write)]
    with subprocess.Popen(command, pass_fds=[write]) as process, os.fdopen(read) as ready:
        os.close(write)
        try:
            url = ready.readline().strip()
            with urllib.request.urlopen(f"{url}/compute/v1/projects/test-project") as answer:
                assert json.load(answer)["name"] == "test-project"
            request = urllib.request.Request(f"{url}/_cloud/stockout", b"{}", method="POST")
            urllib.request.urlopen(request).close()
            with urllib.request.urlopen(f"{url}/_cloud/faults") as answer:
                assert len(json.load(answer)["stockouts"]) == 1
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
