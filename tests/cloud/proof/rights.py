"""Rights of code on the VMs: user code can do all that its VM's account can."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.cloud.compute.server import PROJECT
from tests.cloud.machines.cloud import COMPUTE, STORAGE, VM_ENVIRONMENT, CloudError
from tests.cloud.proof.cluster import BUCKET, HOME, NAME, ZONE, Cluster

_BUCKET = f"/storage/v1/b/{BUCKET}"
_HOME = HOME.removeprefix(f"gs://{BUCKET}/")
_STATE = f"{_HOME}/state"
_TOKEN = (
    f"http://{VM_ENVIRONMENT['GCE_METADATA_HOST']}/computeMetadata/v1/"
    "instance/service-accounts/default/token"
)
_JSON = "Content-Type: application/json"
_READS, _MAKES, _CHANGES, _DELETES, _REFUSED, _ABSENT = 200, 200, 200, 204, 403, 404
_COMPUTE = f"/compute/v1/projects/{PROJECT}"
_MADE = ("counts/_tmp/rights", f"{_STATE}/logs/rights")
"""Objects that the worker makes, may not delete, and leaves to the master."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, and the status that it must be answered with."""

    method: str
    path: str
    wanted: int
    body: str = "{}"
    server: str = STORAGE


def check(cluster: Cluster) -> str:
    """Try it from a worker and from the master, and return what has been seen, for a person.

    Every request is made twice: as the VM's address, and with the token that it is given.
    Raises CloudError at the first that is answered as it must not be.
    """
    names = cluster.objects()
    joined = {worker.rpartition("-")[0] for worker in cluster.workers()}
    [master] = cluster.instances("master")
    [worker, *_] = [vm for vm in cluster.instances("worker") if vm["name"] in joined]
    tried = 0
    for header in ("X-Nobody: named", "Authorization: Bearer $token"):
        for vm, attempts in (
            (worker, [*_of_worker(names, str(worker["name"])), *_of_compute(worker, ours=False)]),
            (master, [*_of_master(), *_of_compute(master, ours=True)]),
        ):
            tried += _try(cluster, int(vm["id"]), header, attempts)
    return f"the VMs may do what they need, and no more: {tried} requests"


def _of_worker(names: list[str], vm: str) -> Iterator[Attempt]:
    folders = (f"{_STATE}/plugins/", f"{_HOME}/wheels/", f"{_HOME}/payload/", "books/")
    read = [_first(names, folder) for folder in folders]
    journal = _first(names, f"{_STATE}/journal/")
    leader, settings = f"{_STATE}/leader.json", f"{_HOME}/cluster.json"
    for name in (leader, f"{_STATE}/tokens/worker.json", *read):
        yield Attempt("GET", f"{_object(name)}?alt=media", _READS)
        yield from _changes(name, _REFUSED)
    boot = f"{_HOME}/logs/mrcore-{NAME}-master/boot.log"
    users = f"{_STATE}/tokens/user.json"
    part = _first(names, "counts/part-")
    for name in (journal, settings, f"{_STATE}/tls.json", users, boot, part, "counts/_SUCCESS"):
        yield Attempt("GET", f"{_object(name)}?alt=media", _REFUSED)
        yield from _changes(name, _REFUSED)
    for name in ("state/journal/0", "state/plugins/0", "wheels/0", "payload/0", "x", "logs/x"):
        yield _make(f"{_HOME}/{name}", _REFUSED)
    for name in ("mrcore/another/state/logs/0", "counts/part-99999", "counts/_bad/x", "x/_tmp/x"):
        yield _make(name, _REFUSED)
    for prefix in ("", "mrcore/", f"{_STATE}/", "counts/"):
        yield Attempt("GET", f"{_BUCKET}/o?prefix={quote(prefix, safe='')}", _REFUSED)
    yield Attempt("GET", f"{_BUCKET}/o?prefix={quote('books/', safe='')}", _READS)
    for name in _MADE:
        yield _make(name, _MAKES)
        yield Attempt("GET", f"{_object(name)}?alt=media", _READS)
        yield from _changes(name, _REFUSED)  # what is there stays as it is
    own = _MADE[0]
    yield _rewrite(own, leader, _REFUSED)
    yield _rewrite(own, part, _REFUSED)
    yield _rewrite(own, "counts/part-99999", _REFUSED)
    yield _rewrite(journal, f"{own}-2", _REFUSED)
    yield _compose((own,), read[0], _REFUSED)
    yield _compose((own, journal), f"{own}-2", _REFUSED)
    log = f"{_HOME}/logs/{vm}/rights"
    for _ in range(2):
        yield _make(log, _MAKES)
    yield Attempt("DELETE", _object(log), _DELETES)
    for method in ("GET", "PUT"):
        yield Attempt(method, f"{_BUCKET}/iam", _REFUSED)


def _first(names: list[str], folder: str) -> str:
    for name in names:
        if name.startswith(folder):
            return name
    raise CloudError(f"Nothing lies in gs://{BUCKET}/{folder}.")


def _of_master() -> Iterator[Attempt]:
    entry = f"{_STATE}/journal-of-rights"
    yield _make(entry, _MAKES)
    yield Attempt("DELETE", _object(entry), _DELETES)
    yield _rewrite(_MADE[0], "counts/rights", _CHANGES)
    for name in ("counts/rights", *_MADE):
        yield Attempt("DELETE", _object(name), _DELETES)
    yield _make("books/rights", _REFUSED)
    yield _make("mrcore/another/state/leader.json", _REFUSED)
    yield Attempt("GET", f"{_BUCKET}/o", _REFUSED)
    yield Attempt("PUT", f"{_BUCKET}/iam", _REFUSED)


def _of_compute(vm: dict[str, Any], *, ours: bool) -> Iterator[Attempt]:
    """Yield requests to Compute Engine, which are about nothing that is there, or change nothing.

    `ours` is whether the VM may act on what has the cluster's name.
    """
    instances, rules = f"zones/{ZONE}/instances", "global/firewalls"
    templates = "global/instanceTemplates"
    allowed = _ABSENT if ours else _REFUSED
    for path, wanted in (
        (f"{instances}/mrcore-{NAME}-spot-none", allowed),
        (f"{instances}/mrcore-{NAME}2-master", _REFUSED),
        (f"{instances}/web", _REFUSED),
        (f"{templates}/mrcore-{NAME}-standard-none", allowed),
        (f"{templates}/mrcore-{NAME}2-spot-none", _REFUSED),
        (f"{rules}/mrcore-{NAME}2-iap", _REFUSED),
        (f"{rules}/default-allow-ssh", _REFUSED),
        (f"zones/{ZONE}/instanceGroupManagers/none", allowed),
    ):
        yield _compute("DELETE", path, wanted)
    yield _compute("GET", f"{instances}/{vm['name']}", _READS if ours else _REFUSED)
    yield _compute("GET", instances, _READS if ours else _REFUSED)
    yield _compute("POST", instances, _REFUSED)
    yield _compute("POST", f"{instances}/{vm['name']}/setMetadata", _REFUSED)
    policy = f"/v1/projects/{PROJECT}:setIamPolicy"
    yield Attempt("POST", policy, _REFUSED, server=COMPUTE)


def _compute(method: str, path: str, wanted: int) -> Attempt:
    return Attempt(method, f"{_COMPUTE}/{path}", wanted, server=COMPUTE)


def _changes(name: str, wanted: int) -> Iterator[Attempt]:
    yield _make(name, wanted)
    yield Attempt("PATCH", _object(name), wanted)
    yield Attempt("DELETE", _object(name), wanted)


def _object(name: str) -> str:
    return f"{_BUCKET}/o/{quote(name, safe='')}"


def _make(name: str, wanted: int) -> Attempt:
    target = f"/upload{_BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
    return Attempt("POST", target, wanted)


def _rewrite(source: str, target: str, wanted: int) -> Attempt:
    return Attempt(
        "POST",
        f"{_object(source)}/rewriteTo/{_object(target).removeprefix('/storage/v1/')}",
        wanted,
    )


def _compose(sources: tuple[str, ...], target: str, wanted: int) -> Attempt:
    listed = ", ".join(f'{{"name": "{source}"}}' for source in sources)
    body = f'{{"sourceObjects": [{listed}]}}'
    return Attempt("POST", f"{_object(target)}/compose", wanted, body)


def _try(cluster: Cluster, vm_id: int, header: str, attempts: list[Attempt]) -> int:
    """Make the requests on a VM, and compare the statuses; return how many there were.

    Compute Engine knows callers by their tokens alone.
    """
    script = [
        f"""token=$(curl -sS --fail -H 'Metadata-Flavor: Google' {_TOKEN} |
        sed 's/.*"access_token": *"\\([^"]*\\)".*/\\1/')"""
    ]
    made = [one for one in attempts if one.server == STORAGE or "token" in header]
    for attempt in made:
        data = [] if attempt.method == "GET" else ["-H", _JSON, "--data", attempt.body]
        words = ["-X", attempt.method, *data, f"{attempt.server}{attempt.path}"]
        curl = "curl -sS -o /dev/null -w '%{http_code}\\n'"
        script.append(f'{curl} -H "{header}" {shlex.join(words)}')
    told = cluster.cloud.shell(vm_id, "\n".join(script)).splitlines()
    for attempt, status in zip(made, told, strict=True):
        if status != str(attempt.wanted):
            raise CloudError(
                f"On a VM {attempt.method} {attempt.path} is answered with {status} and not "
                f"with {attempt.wanted}."
            )
    return len(made)
