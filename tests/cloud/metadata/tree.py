"""Metadata of a VM, and the text of one place in it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.cloud.compute.machines import Vm

Query = Mapping[str, str]
TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """A value made for each request, such as a token; not part of recursive answers."""

    make: Callable[[Query], str]


Node = str | Sequence[str] | Mapping[str, "Node"] | Answer
"""A leaf, a list (as lines of text, or a list in JSON), a directory, or an answer."""

_FREE_NAMES = ("attributes", "service-accounts")
"""Directories whose names are the user's: these are not spelled in camel case in JSON."""


def tree_of(vm: Vm, *, is_preempted: bool) -> Mapping[str, Node]:
    """Return everything below `/computeMetadata/v1/` for one VM."""
    return {
        "instance": _instance(vm, is_preempted=is_preempted),
        "project": {
            "attributes": dict(vm.project_metadata),
            "numeric-project-id": str(vm.project_number),
            "project-id": vm.project,
        },
        "universe": {"universe-domain": "googleapis.com"},
    }


def _instance(vm: Vm, *, is_preempted: bool) -> Mapping[str, Node]:
    project = f"projects/{vm.project_number}"
    account = _service_account(vm)
    return {
        "attributes": dict(vm.metadata),
        "hostname": vm.hostname,
        "id": str(vm.id),
        "image": f"projects/{vm.project}/global/images/{vm.image}",
        "machine-type": f"{project}/machineTypes/{vm.machine_type}",
        "maintenance-event": "NONE",
        "name": vm.name,
        "network-interfaces": {
            "0": {"ip": vm.network_ip, "mtu": "1500", "network": f"{project}/networks/default"}
        },
        "preempted": _flag(is_preempted),
        "scheduling": {
            "automatic-restart": _flag(vm.scheduling.automatic_restart),
            "on-host-maintenance": "TERMINATE" if vm.scheduling.is_spot else "MIGRATE",
            "preemptible": _flag(vm.scheduling.is_spot),
        },
        "service-accounts": {"default": account, vm.service_account or "": account}
        if account
        else {},
        "tags": json.dumps(list(vm.tags)),
        "zone": f"{project}/zones/{vm.zone}",
    }


def _service_account(vm: Vm) -> Mapping[str, Node] | None:
    email = vm.service_account
    if email is None:
        return None

    def token(_: Query) -> str:
        return json.dumps(
            {
                "access_token": f"token-of-{email}",
                "expires_in": TOKEN_SECONDS,
                "token_type": "Bearer",
            }
        )

    return {
        "aliases": ["default"],
        "email": email,
        "identity": Answer(lambda query: _identity(vm, email, query)),
        "scopes": list(vm.scopes),
        "token": Answer(token),
    }


def _identity(vm: Vm, email: str, query: Query) -> str:
    """Return an identity token for `audience`, in the form of a JWT but without a signature."""
    claims: dict[str, object] = {"aud": query.get("audience", ""), "email": email, "sub": email}
    if query.get("format") == "full":
        claims["google"] = {
            "compute_engine": {
                "instance_id": str(vm.id),
                "instance_name": vm.name,
                "project_id": vm.project,
                "project_number": vm.project_number,
                "zone": vm.zone,
            }
        }
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b""]).decode()


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def find(tree: Node, path: str) -> Node | None:
    """Return what lies at a path, with or without a slash at its end; None where nothing does."""
    node: Node = tree
    for name in filter(None, path.split("/")):
        if not isinstance(node, Mapping) or name not in node:
            return None
        node = node[name]
    return node


def write(node: Node, query: Query) -> tuple[str, str]:
    """Return the text and the content type of a node, as the query asks for it."""
    is_recursive = query.get("recursive", "").lower() == "true"
    is_json = query.get("alt", "json" if is_recursive else "text") == "json"
    if isinstance(node, Answer):
        return node.make(query), "application/json"
    if is_json:
        value = _as_json(node) if is_recursive or not isinstance(node, Mapping) else list(node)
        return json.dumps(value, sort_keys=True), "application/json"
    if isinstance(node, Mapping):
        lines = _flattened(node, "") if is_recursive else _listing(node)
        return "".join(f"{line}\n" for line in lines), "application/text"
    if isinstance(node, str):
        return node, "application/text"
    return "".join(f"{line}\n" for line in node), "application/text"


def etag_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _listing(node: Mapping[str, Node]) -> list[str]:
    return [name + "/" * isinstance(node[name], Mapping) for name in sorted(node)]


def _flattened(node: Node, path: str) -> list[str]:
    if isinstance(node, Answer):
        return []
    if isinstance(node, Mapping):
        return [
            line
            for name in sorted(node)
            for line in _flattened(node[name], f"{path}/{name}" if path else name)
        ]
    return [f"{path} {node if isinstance(node, str) else ','.join(node)}"]


def _as_json(node: Node, name: str = "") -> object:
    if isinstance(node, Mapping):
        members = {
            key if name in _FREE_NAMES else _camel(key): _as_json(child, key)
            for key, child in node.items()
            if not isinstance(child, Answer)
        }
        # Interfaces are a directory of numbers in text, and a list in JSON.
        return list(members.values()) if name == "network-interfaces" else members
    return node if isinstance(node, str) else list(node) if isinstance(node, Sequence) else None


def _camel(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(word.capitalize() for word in rest)
