"""Access to objects in the test cloud: callers, roles, conditions, needs of verbs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cloud.compute.access import OWNER
from tests.cloud.compute.storage import StorageAccess
from tests.cloud.compute.threaded import ThreadedCloud, running
from tests.contract.gcs_http import JSON, OBJECTS, UPLOAD, Answer, Client, multipart
from tests.gcsserver import GcsServer
from tests.gcsserver.model import Conditions

EMAIL = "worker@test-project.iam.gserviceaccount.com"
TOKEN = {"Authorization": f"Bearer token-of-{EMAIL}"}
ROLE = "projects/test-project/roles/own"
COMPOSED = {"sourceObjects": [{"name": "in/a"}, {"name": "out/a"}]}
VERBS: dict[str, tuple[str, str, Any]] = {
    "get": ("GET", f"{OBJECTS}/in%2Fa", b""),
    "read": ("GET", f"{OBJECTS}/in%2Fa?alt=media", b""),
    "list": ("GET", f"{OBJECTS}?prefix=in/", b""),
    "patch": ("PATCH", f"{OBJECTS}/in%2Fa", {}),
    "update": ("PUT", f"{OBJECTS}/in%2Fa", {}),
    "delete": ("DELETE", f"{OBJECTS}/in%2Fa", b""),
    "make": ("POST", f"{UPLOAD}?uploadType=media&name=out/new", b"x"),
    "replace": ("POST", f"{UPLOAD}?uploadType=media&name=out/a", b"x"),
    "begin": ("POST", f"{UPLOAD}?uploadType=resumable", {"name": "out/new"}),
    "rewrite": ("POST", f"{OBJECTS}/in%2Fa/rewriteTo/b/bkt/o/out%2Fnew", {}),
    "rewrite over": ("POST", f"{OBJECTS}/in%2Fa/rewriteTo/b/bkt/o/out%2Fa", {}),
    "copy": ("POST", f"{OBJECTS}/in%2Fa/copyTo/b/bkt/o/out%2Fnew", {}),
    "compose": ("POST", f"{OBJECTS}/out%2Fnew/compose", COMPOSED),
    "policy": ("GET", "/storage/v1/b/bkt/iam", b""),
    "remove": ("DELETE", "/storage/v1/b/bkt", b""),
}


@dataclass
class GuardedBucket:
    """A bucket with two objects, and who the caller's address is taken for."""

    cloud: ThreadedCloud
    caller: str | None = EMAIL

    def __post_init__(self) -> None:
        access = StorageAccess(self.cloud.server.core.access, lambda _: self.caller)
        self.server = GcsServer(authorise=access.check)
        self.ask = Client(self.server)
        self.server.store.create_bucket("bkt")
        for name in ("in/a", "out/a"):
            self.server.store.insert("bkt", name, b"content")

    def grant(self, *verbs: str, condition: str | None = None) -> None:
        """Let the account do these with the objects that the condition allows."""
        permissions = [f"storage.objects.{verb}" for verb in verbs]
        self.cloud.server.core.access.roles[ROLE] = {"includedPermissions": permissions}
        binding: dict[str, Any] = {"role": ROLE, "members": [f"serviceAccount:{EMAIL}"]}
        if condition is not None:
            binding["condition"] = {"title": "c", "expression": condition}
        policy = {"version": 3, "bindings": [binding]}
        self.server.store.bucket("bkt").set_policy("bkt", policy)

    def may(self, verb: str) -> bool:
        answer = self.ask(*VERBS[verb])
        assert answer.status in (200, 204, 403), answer.body
        return answer.status != 403


@pytest.fixture
def house() -> Iterator[GuardedBucket]:
    with running() as cloud:
        cloud.look(lambda: cloud.server.core.access.add_account("worker", ""))
        house = GuardedBucket(cloud)
        with house.server:
            yield house
            house.ask.close()


def message(answer: Answer) -> str:
    return str(answer.json["error"]["message"])


@pytest.mark.parametrize("verb", VERBS)
def test_an_account_without_a_role_may_do_nothing_and_the_owner_everything(
    house: GuardedBucket, verb: str
) -> None:
    assert not house.may(verb)
    house.caller = OWNER
    if verb == "remove":
        for name in ("in/a", "out/a"):
            house.ask("DELETE", f"{OBJECTS}/{name.replace('/', '%2F')}")
    assert house.may(verb)


def test_the_refusal_is_in_the_words_of_the_real_one(house: GuardedBucket) -> None:
    answer = house.ask(*VERBS["read"])
    sentence = (
        f"{EMAIL} does not have storage.objects.get access to the Google Cloud Storage object. "
        "Permission 'storage.objects.get' denied on resource (or it may not exist)."
    )
    detail = {"message": sentence, "domain": "global", "reason": "forbidden"}
    assert answer.json == {"error": {"code": 403, "message": sentence, "errors": [detail]}}
    told = message(house.ask(*VERBS["list"]))
    assert "storage.objects.list access to the Google Cloud Storage bucket. " in told


def test_callers_are_known_by_a_token_before_their_address(house: GuardedBucket) -> None:
    house.caller = OWNER
    target = f"{OBJECTS}/in%2Fa"
    assert house.ask("GET", target).status == 200
    assert house.ask("GET", target, headers=TOKEN).status == 403
    house.grant("get")
    assert house.ask("GET", target, headers=TOKEN).status == 200
    unknown = {"Authorization": "Bearer token-of-nobody@example.com"}
    assert house.ask("GET", target, headers=unknown).status == 401


def test_a_vm_without_an_account_is_nobody(house: GuardedBucket) -> None:
    house.caller = None
    answer = house.ask("GET", f"{OBJECTS}/in%2Fa", headers={"Authorization": "Bearer fake"})
    assert answer.status == 401
    assert message(answer).startswith("Anonymous caller does not have storage.objects.get access")


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        (("get",), {"get", "read"}),
        (("list",), {"list"}),
        (("update",), {"patch", "update"}),
        (("delete",), {"delete"}),
        (("create",), {"make", "begin"}),
        (("create", "delete"), {"make", "begin", "replace", "delete"}),
        (("create", "get"), {"get", "read", "make", "begin", "rewrite", "copy", "compose"}),
    ],
)
def test_verbs_need_the_permissions_that_the_real_ones_do(
    house: GuardedBucket, granted: tuple[str, ...], allowed: set[str]
) -> None:
    house.grant(*granted)
    for verb in VERBS:
        store = house.server.store
        store.insert("bkt", "in/a", b"content")
        if store.has("bkt", "out/new"):
            store.delete("bkt", "out/new", None, Conditions())
        assert house.may(verb) == (verb in allowed), verb


def objects(prefix: str) -> str:
    return f'resource.name.startsWith("projects/_/buckets/bkt/objects/{prefix}")'


@pytest.mark.parametrize("prefixes", [("in/",), ("out/",), ("in/", "out/")])
def test_what_copies_needs_the_right_to_both_sides(
    house: GuardedBucket, prefixes: tuple[str, ...]
) -> None:
    condition = " || ".join(objects(prefix) for prefix in prefixes)
    house.grant("get", "create", "delete", condition=condition)
    assert house.may("read") == ("in/" in prefixes)
    assert house.may("replace") == ("out/" in prefixes)
    for verb in ("rewrite", "rewrite over", "copy", "compose"):
        assert house.may(verb) == (len(prefixes) == 2), verb


def test_the_name_may_come_in_the_body(house: GuardedBucket) -> None:
    house.grant("create", condition=objects("out/"))
    for name, status in (("in/new", 403), ("out/new", 200)):
        headers = {"Content-Type": "multipart/related; boundary=B"}
        body = multipart({"name": name}, b"media", "\r\n")
        assert house.ask("POST", f"{UPLOAD}?uploadType=multipart", body, headers).status == status
    begun = house.ask("POST", f"{UPLOAD}?uploadType=resumable", b'{"name": "in/x"}', JSON)
    assert begun.status == 403


def test_a_listing_is_held_to_its_prefix(house: GuardedBucket) -> None:
    attribute = 'api.getAttribute("storage.googleapis.com/objectListPrefix", "")'
    house.grant("get", "list", condition=f'{attribute}.startsWith("in/")')
    for prefix, status in (("in/", 200), ("in/a", 200), ("in", 403), ("", 403), ("out/", 403)):
        assert house.ask("GET", f"{OBJECTS}?prefix={prefix}").status == status, prefix
    assert not house.may("read")
