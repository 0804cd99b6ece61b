"""What code on the VMs may do with the bucket: user code can do all that its VM's account can."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from tests.cloud.machines.cloud import STORAGE, VM_ENVIRONMENT, CloudError
from tests.cloud.proof.cluster import BUCKET, HOME, Cluster

_BUCKET = f"/storage/v1/b/{BUCKET}"
_HOME = HOME.removeprefix(f"gs://{BUCKET}/")
_STATE = f"{_HOME}/state"
_TOKEN = (
    f"http://{VM_ENVIRONMENT['GCE_METADATA_HOST']}/computeMetadata/v1/"
    "instance/service-accounts/default/token"
)
_JSON = "Content-Type: application/json"
_READS, _MAKES, _CHANGES, _DELETES, _REFUSED = 200, 200, 200, 204, 403


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, and the status that it must be answered with."""

    method: str
    path: str
    wanted: int
    body: str = "{}"


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
    for vm, attempts in ((worker, _of_worker(names)), (master, _of_master())):
        found = list(attempts)
        _try(cluster, int(vm["id"]), found)
        tried += len(found)
    return f"the VMs may do what they need in the bucket, and no more: {tried} requests"


def _of_worker(names: list[str]) -> Iterator[Attempt]:
    folders = (f"{_STATE}/plugins/", f"{_HOME}/wheels/", f"{_HOME}/payload/", "books/")
    read = [_first(names, folder) for folder in folders]
    journal = _first(names, f"{_STATE}/journal/")
    leader, settings = f"{_STATE}/leader.json", f"{_HOME}/cluster.json"
    for name in (leader, *read):
        yield Attempt("GET", f"{_object(name)}?alt=media", _READS)
        yield from _changes(name, _REFUSED)
    for name in (journal, settings, f"{_STATE}/tls.json"):
        yield Attempt("GET", f"{_object(name)}?alt=media", _REFUSED)
        yield from _changes(name, _REFUSED)
    for name in ("state/journal/0", "state/plugins/0", "wheels/0", "payload/0", "x"):
        yield _make(f"{_HOME}/{name}", _REFUSED)
    yield _make("mrcore/another/state/logs/0", _REFUSED)
    for prefix in ("", "mrcore/", f"{_STATE}/"):
        yield Attempt("GET", f"{_BUCKET}/o?prefix={quote(prefix, safe='')}", _REFUSED)
    yield Attempt("GET", f"{_BUCKET}/o?prefix={quote('books/', safe='')}", _READS)
    own = "counts/_tmp/rights"
    yield _make(own, _MAKES)
    yield Attempt("PATCH", _object(own), _REFUSED)
    yield _rewrite(own, leader, _REFUSED)
    yield _rewrite(journal, f"{own}-2", _REFUSED)
    yield _compose((own,), read[0], _REFUSED)
    yield _compose((own, journal), f"{own}-2", _REFUSED)
    yield _rewrite(own, "counts/rights", _CHANGES)
    yield Attempt("DELETE", _object("counts/rights"), _DELETES)
    yield Attempt("DELETE", _object(own), _DELETES)
    log = f"{_HOME}/logs/rights"
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
    yield _make("books/rights", _REFUSED)
    yield _make("mrcore/another/state/leader.json", _REFUSED)
    yield Attempt("GET", f"{_BUCKET}/o", _REFUSED)
    yield Attempt("PUT", f"{_BUCKET}/iam", _REFUSED)


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


def _try(cluster: Cluster, vm_id: int, attempts: list[Attempt]) -> None:
    """Make the requests on a VM, and compare the statuses."""
    script = [
        f"""token=$(curl -sS --fail -H 'Metadata-Flavor: Google' {_TOKEN} |
        sed 's/.*"access_token": *"\\([^"]*\\)".*/\\1/')"""
    ]
    for header in ("X-Nobody: named", "Authorization: Bearer $token"):
        for attempt in attempts:
            data = [] if attempt.method == "GET" else ["-H", _JSON, "--data", attempt.body]
            words = ["-X", attempt.method, *data, f"{STORAGE}{attempt.path}"]
            curl = "curl -sS -o /dev/null -w '%{http_code}\\n'"
            script.append(f'{curl} -H "{header}" {shlex.join(words)}')
    told = cluster.cloud.shell(vm_id, "\n".join(script)).splitlines()
    for attempt, status in zip(attempts * 2, told, strict=True):
        if status != str(attempt.wanted):
            raise CloudError(
                f"On a VM {attempt.method} {attempt.path} is answered with {status} and not "
                f"with {attempt.wanted}."
            )
