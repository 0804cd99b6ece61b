"""Permissions of the runner's user: asked as the real services are, of servers of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mrcore.errors import MrcoreError
from mrcore.gce import permissions
from tests.gcsserver import GcsServer
from tests.gcsserver.access import Need
from tests.gcsserver.errors import ApiError
from tests.gcsserver.wire import Request

ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"


def only_reads(request: Request, need: Need, bindings: Sequence[Mapping[str, Any]]) -> None:
    if request.headers.get("authorization") != "Bearer ada" or not need.permission.endswith(".get"):
        raise ApiError(403, "forbidden", "no")


def test_what_is_lacking_on_a_bucket_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = permissions.NEEDED_ON_BUCKET
    with GcsServer(authorise=only_reads) as server:
        monkeypatch.setenv(ENDPOINT, f"{server.url}/")
        server.store.create_bucket("bkt", {})
        assert permissions.missing_on_bucket("gs://bkt", "ada", wanted) == [
            permission for permission in wanted if permission != "storage.objects.get"
        ]
        assert permissions.missing_on_bucket("gs://bkt", "bob", wanted) == list(wanted)
        # Another check tells that it is not there.
        assert permissions.missing_on_bucket("gs://none", "ada", wanted) == []


def everybody_reads(request: Request, need: Need, bindings: Sequence[Mapping[str, Any]]) -> None:
    if request.headers.get("authorization") == "Bearer owner":
        return
    if need.permission not in ("storage.objects.get", "storage.objects.list"):
        raise ApiError(403, "forbidden", "no")


def test_a_bucket_of_others_is_told_before_the_vms_meet_it(monkeypatch: pytest.MonkeyPatch) -> None:
    account = "mrcore-worker@p.iam.gserviceaccount.com"
    with GcsServer(authorise=everybody_reads) as server:
        monkeypatch.setenv(ENDPOINT, f"{server.url}/")
        server.store.create_bucket("public", {})
        assert permissions.closed("gs://public", "ada", account, writes=False) is None
        why = permissions.closed("gs://public", "ada", account, writes=True)
        assert why is not None
        assert (
            f"gs://public --member=serviceAccount:{account} --role=roles/storage.objectAdmin" in why
        )
        assert "mrcore-master@p" in why
        assert permissions.closed("gs://public", "owner", account, writes=True) is None
    with GcsServer(authorise=only_reads) as server:
        monkeypatch.setenv(ENDPOINT, f"{server.url}/")
        server.store.create_bucket("theirs", {})
        why = permissions.closed("gs://theirs", "ada", account, writes=False)
        assert why is not None
        assert why.startswith("gs://theirs is not yours, so you cannot let the VMs read it")
        assert why.endswith("then say --shared-bucket gs://theirs.")


def test_silence_is_no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9/")
    with pytest.raises(MrcoreError, match="permissions on gs://bkt cannot be asked for"):
        permissions.missing_on_bucket("gs://bkt", "ada", permissions.NEEDED_ON_BUCKET)
