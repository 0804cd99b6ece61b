"""The metadata server of the test cloud, asked as programs on a VM ask Google's."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.cloud.metadata import MetadataServer
from tests.support.vm_identity import VM

FLAVOR = {"Metadata-Flavor": "Google"}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    text: str


@dataclass(frozen=True)
class Asker:
    """Something on a VM: loopback is wide enough for each to have an address of its own."""

    server: MetadataServer
    source: str = VM.network_ip

    def get(self, path: str, headers: dict[str, str] = FLAVOR) -> Reply:
        connection = http.client.HTTPConnection(
            *self.server.address, timeout=30, source_address=(self.source, 0)
        )
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read().decode())
        finally:
            connection.close()

    def value(self, path: str) -> str:
        reply = self.get(f"/computeMetadata/v1/{path}")
        assert reply.status == 200, reply
        return reply.text


@pytest.fixture
def asker() -> Iterator[Asker]:
    with MetadataServer("127.0.0.1") as server:
        server.put(VM)
        yield Asker(server)


def test_the_values_that_programs_ask_for(asker: Asker) -> None:
    wanted = {
        "instance/name": "mrcore-a-worker-x1",
        "instance/id": "4711",
        "instance/hostname": "mrcore-a-worker-x1.us-central1-a.c.demo.internal",
        "instance/zone": "projects/123456/zones/us-central1-a",
        "instance/machine-type": "projects/123456/machineTypes/n2-standard-4",
        "instance/attributes/startup-script": "#! /bin/sh\ntrue\n",
        "instance/attributes/": "mrcore-role\nstartup-script\n",
        "instance/network-interfaces/0/ip": "127.0.0.2",
        "instance/preempted": "FALSE",
        "instance/maintenance-event": "NONE",
        "instance/scheduling/preemptible": "TRUE",
        "instance/scheduling/automatic-restart": "FALSE",
        "instance/service-accounts/": "default/\nworker@demo.iam.gserviceaccount.com/\n",
        "instance/service-accounts/default/email": "worker@demo.iam.gserviceaccount.com",
        "instance/service-accounts/default/scopes": (
            "https://www.googleapis.com/auth/cloud-platform\n"
        ),
        "project/project-id": "demo",
        "project/numeric-project-id": "123456",
        "project/attributes/enable-oslogin": "TRUE",
        "universe/universe-domain": "googleapis.com",
    }
    assert {path: asker.value(path) for path in wanted} == wanted


def test_a_token_names_the_account_of_the_vm(asker: Asker) -> None:
    token = json.loads(asker.value("instance/service-accounts/default/token"))
    assert token == {
        "access_token": "token-of-worker@demo.iam.gserviceaccount.com",
        "expires_in": 3600,
        "token_type": "Bearer",
    }


def test_an_identity_names_the_vm_to_its_audience(asker: Asker) -> None:
    import base64

    path = "instance/service-accounts/default/identity?audience=https://x&format=full"
    claims = asker.value(path).split(".")[1]
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert decoded["aud"] == "https://x"
    assert decoded["google"]["compute_engine"]["instance_name"] == VM.name


def test_a_recursive_answer_is_json_in_camel_case_without_tokens(asker: Asker) -> None:
    instance = json.loads(asker.value("instance/?recursive=true"))
    assert instance["machineType"] == "projects/123456/machineTypes/n2-standard-4"
    assert instance["attributes"]["startup-script"] == "#! /bin/sh\ntrue\n"
    assert instance["networkInterfaces"][0]["ip"] == "127.0.0.2"
    assert set(instance["serviceAccounts"]["default"]) == {"aliases", "email", "scopes"}


def test_google_auth_finds_its_way(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    host = "{}:{}".format(*asker.server.address)
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, host)
    asker.server.put(replace(VM, network_ip="127.0.0.1"))
    import requests
    from google.auth import compute_engine
    from google.auth.compute_engine import _metadata
    from google.auth.transport.requests import Request

    # google-auth reads its hosts at import, which may have been long ago.
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)
    with requests.Session() as session:
        credentials: Any = vars(compute_engine)["Credentials"]()  # without types
        credentials.refresh(Request(session))
    assert credentials.token == "token-of-worker@demo.iam.gserviceaccount.com"
    assert credentials.service_account_email == "worker@demo.iam.gserviceaccount.com"


def test_refusals(asker: Asker) -> None:
    name = "/computeMetadata/v1/instance/name"
    assert asker.get(name, {}).status == 403
    assert asker.get(name, {**FLAVOR, "X-Forwarded-For": "10.0.0.1"}).status == 403
    assert asker.get("/computeMetadata/v1/instance/attributes/none").status == 404
    assert asker.get("/computeMetadata/v2/instance/name").status == 404
    assert Asker(asker.server, "127.0.0.3").get(name).status == 404
    assert asker.get(name).headers["Metadata-Flavor"] == "Google"


def test_a_vm_without_an_account_has_no_token(asker: Asker) -> None:
    asker.server.put(replace(VM, service_account=None))
    assert asker.value("instance/service-accounts/") == ""
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asker.get(path).status == 404


def test_a_directory_without_its_slash_is_a_redirection(asker: Asker) -> None:
    reply = asker.get("/computeMetadata/v1/instance/scheduling?alt=json")
    assert reply.status == 301
    assert reply.headers["Location"] == "/computeMetadata/v1/instance/scheduling/?alt=json"


def test_who_waits_for_a_change_is_told_of_the_preemption(asker: Asker) -> None:
    path = "/computeMetadata/v1/instance/preempted"
    etag = asker.get(path).headers["ETag"]
    replies: list[Reply] = []
    waiter = threading.Thread(
        target=lambda: replies.append(asker.get(f"{path}?wait_for_change=true&last_etag={etag}"))
    )
    waiter.start()
    # A change elsewhere is none here.
    asker.server.put(replace(VM, metadata={"another": "attribute"}))
    asker.server.put(VM, is_preempted=True)
    waiter.join()
    assert (replies[0].text, replies[0].headers["ETag"] != etag) == ("TRUE", True)
    # An etag that is old already is answered at once.
    assert asker.get(f"{path}?wait_for_change=true&last_etag={etag}").text == "TRUE"


def test_a_wait_ends_with_its_time_limit(asker: Asker) -> None:
    path = "/computeMetadata/v1/instance/preempted?wait_for_change=true&timeout_sec=0.05"
    assert asker.get(path).text == "FALSE"


def test_a_waiting_vm_is_let_go_when_it_is_forgotten(asker: Asker) -> None:
    replies: list[Reply] = []
    path = "/computeMetadata/v1/instance/preempted"
    etag = asker.get(path).headers["ETag"]
    waiter = threading.Thread(
        target=lambda: replies.append(asker.get(f"{path}?wait_for_change=true&last_etag={etag}"))
    )
    waiter.start()
    asker.server.remove(VM)
    waiter.join()
    assert replies[0].status == 404
