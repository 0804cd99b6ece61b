"""Whoever has logged in to gcloud needs no second login: for buckets, and for permissions."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from mrcore.errors import MrcoreError
from mrcore.gce import permissions
from mrcore.storage.gcs import login as gcs_login


def fake_gcloud(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    script = folder / "gcloud"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def no_default(*args: object, **kwargs: object) -> Any:
    raise DefaultCredentialsError("none here")  # type: ignore[no-untyped-call]


def test_gcloud_is_asked_for_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gcloud(tmp_path, monkeypatch, f'echo "$*" >{tmp_path}/asked; echo ya29.token')
    monkeypatch.setenv(gcs_login.VARIABLE, "gcloud")
    found = gcs_login.find_login()
    assert isinstance(found, gcs_login.GcloudCredentials)
    found.refresh(None)
    assert found.token == "ya29.token"
    assert found.valid
    assert (tmp_path / "asked").read_text().startswith("auth print-access-token")


def test_gcloud_stands_in_where_there_is_no_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gcloud(tmp_path, monkeypatch, "echo token")
    monkeypatch.delenv(gcs_login.VARIABLE, raising=False)
    monkeypatch.setattr(google.auth, "default", no_default)
    assert isinstance(gcs_login.find_login(), gcs_login.GcloudCredentials)


def test_default_credentials_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gcloud(tmp_path, monkeypatch, "echo token")
    monkeypatch.delenv(gcs_login.VARIABLE, raising=False)
    default = object()
    monkeypatch.setattr(google.auth, "default", lambda: (default, "p"))
    assert gcs_login.find_login() is default


def test_without_either_the_default_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gcs_login.VARIABLE, raising=False)
    monkeypatch.setattr(google.auth, "default", no_default)
    with pytest.raises(DefaultCredentialsError):
        gcs_login.find_login()


def test_a_gcloud_that_is_not_logged_in_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gcloud(tmp_path, monkeypatch, "echo 'no active account' >&2; exit 1")
    monkeypatch.setenv(gcs_login.VARIABLE, "gcloud")
    found = gcs_login.find_login()
    assert isinstance(found, gcs_login.GcloudCredentials)
    with pytest.raises(RefreshError, match=r"gcloud auth login.*no active account"):
        found.refresh(None)


class _Api(http.server.BaseHTTPRequestHandler):
    asked: list[tuple[str, str, Any]]
    granted: list[str]
    answer_code: int

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        content = json.dumps({"permissions": self.granted}).encode()
        self.send_response(self.answer_code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base
        """Keep quiet."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Api]]:
    class Handler(_Api):
        asked: list[tuple[str, str, Any]] = []  # noqa: RUF012 - one for each test
        granted = ["compute.instances.create"]  # noqa: RUF012
        answer_code = 200

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    monkeypatch.setenv(
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
        f"http://127.0.0.1:{server.server_port}/",
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_permissions_that_are_missing_are_told_in_order(api: type[_Api]) -> None:
    wanted = ["compute.z.create", "compute.instances.create", "compute.a.create"]
    missing = permissions.missing("p", "ya29", wanted)
    assert missing == ["compute.z.create", "compute.a.create"]
    (path, token, body) = api.asked[0]
    assert path == "/v1/projects/p:testIamPermissions"
    assert token == "Bearer ya29"
    assert body == {"permissions": wanted}


def test_a_service_that_does_not_say_is_an_error(api: type[_Api]) -> None:
    api.answer_code = 503
    with pytest.raises(MrcoreError, match="permissions on p cannot be asked for"):
        permissions.missing("p", "t", ["x"])
