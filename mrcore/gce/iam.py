"""Bindings of a cluster's accounts, in the project and on buckets.

User code runs as the worker's account, and can use its token. So that account may read what a
worker needs of the cluster, and make temporaries and logs; it may change or delete nothing that it
has made for a job, and what a job publishes, the journal and the groups of VMs are the master's.

Every binding has a condition: the names of this one cluster, and the time at which it expires. So
one that is forgotten opens nothing, and two clusters that share accounts have bindings of their
own. What the conditions lean on, by Google's documentation of IAM:

- a condition has at most twelve logical operators, and a policy at most twenty bindings of one role
  for one member, a hundred with conditions in all (Quotas and limits; Overview of IAM Conditions);
- basic roles take no conditions, custom roles do (the same overview);
- `resource.name` is known for objects and, of what a cluster has on Compute Engine, for instances,
  instance templates and firewall rules; not for managed groups, operations and networks. A
  condition that says `resource.type != T || …` is true of all that is not of the type T, and
  permissions to list are asked of the project (Configure resource-based access);
- `resource.name.extract("/instances/{name}")` is what follows, in whatever zone (ibid.);
- `api.getAttribute("storage.googleapis.com/objectListPrefix", "")` is the prefix of a listing: its
  `resource.name` is the bucket's (Attribute reference for IAM Conditions).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from mrcore.errors import UsageError
from mrcore.gce.machines import master_name
from mrcore.gce.options import MAX_MASTERS
from mrcore.gce.record import Record

FLEET: Final = "mrcoreFleet"
AGENT: Final = "mrcoreAgent"
READER: Final = "mrcoreObjectReader"
CREATOR: Final = "mrcoreObjectCreator"
WRITER: Final = "mrcoreObjectWriter"
OPERATORS: Final = 12
"""Logical operators that one condition may have."""
BINDINGS: Final = 20
"""Bindings of one role for one member that one policy may have."""
_CLUSTERS: Final = "mrcore/"
"""Below here lie the homes of clusters, with their keys and journals: nobody's input."""

_WORKER_READS: Final = (
    "state/leader.json", "state/tokens/worker.json", "state/cluster.json", "state/plugins/",
    "wheels/", "payload/",
)  # fmt: skip
_TEMPORARY: Final = 'resource.name.extract("/_tmp/{rest}") != ""'
_CLAIM: Final = 'resource.name.endsWith("/_claim")'


class Binding(msgspec.Struct, frozen=True):
    """A role for an account, where a condition holds."""

    resource: str
    """`gs://BUCKET`, or `projects/PROJECT`."""
    member: str
    role: str
    title: str
    expression: str
    description: str
    """Words `KEY=VALUE` on the cluster: whoever meets the binding learns where its home is."""


def bindings_of(record: Record) -> Iterator[Binding]:
    """Yield what the accounts of a cluster need: on its own bucket first, in the project last.

    Raises UsageError for names that no condition can hold, and for too many of them.
    """
    found = sorted(
        _on_buckets(record), key=lambda one: (one.resource != _own(record), one.resource)
    )
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for binding in found:
        key = binding.resource, binding.member, binding.role
        counts[key] += 1
        if counts[key] > BINDINGS:
            raise UsageError(
                f"The cluster {record.name} reads or writes too many places in {binding.resource} "
                "for the policy of a bucket. Name a folder that holds several of them."
            )
    yield from found
    yield from _in_project(record)


def title_prefix(name: str) -> str:
    """Return how the titles of all conditions of a cluster begin."""
    return f"mrcore {name} "


def _own(record: Record) -> str:
    return f"gs://{_split(record.home)[0]}"


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _until(record: Record) -> str:
    moment = datetime.fromtimestamp(record.expires_seconds, UTC)
    return f'request.time < timestamp("{moment:%Y-%m-%dT%H:%M:%SZ}")'


def _binding(
    record: Record, resource: str, member: str, role: str, what: str, expression: str
) -> Binding:
    return Binding(
        resource=resource,
        member=f"serviceAccount:{member}",
        role=f"projects/{record.project}/roles/{role}",
        title=f"{title_prefix(record.name)}{what}",
        expression=f"{expression} && {_until(record)}" if expression else _until(record),
        description=f"mrcore-home={record.home} mrcore-owner={record.owner} "
        f"mrcore-expires={record.expires_seconds}",
    )


# -- in the project ------------------------------------------------------------------------------


def _in_project(record: Record) -> Iterator[Binding]:
    """Yield the bindings in the project: for the fleet, and to write logs and metrics."""
    where = f"projects/{record.project}"
    master, worker = record.master_account, record.worker_account
    yield _binding(record, where, master, FLEET, "fleet", _own_machines(record.name))
    for member in (master, worker):
        yield _binding(record, where, member, AGENT, "agent", "")


def _own_machines(name: str) -> str:
    """Return a condition that is true of this cluster's VMs, templates and firewall rules.

    It is true of every group as well, since groups have no names in conditions.
    """
    models = (f"mrcore-{name}-spot-", f"mrcore-{name}-standard-")
    masters = tuple(master_name(name, number) for number in range(1, MAX_MASTERS + 1))
    rules = (f"mrcore-{name}-internal", f"mrcore-{name}-iap")
    own = (
        ("Instance", "instances", masters, models),
        ("InstanceTemplate", "instanceTemplates", (), models),
        ("Firewall", "firewalls", rules, ()),
    )
    clauses = []
    for kind, collection, names, starts in own:
        named = f'resource.name.extract("/{collection}/{{name}}")'
        allowed = [f'resource.type != "compute.googleapis.com/{kind}"']
        allowed += [f'{named} == "{one}"' for one in names]
        allowed += [f'{named}.startsWith("{start}")' for start in starts]
        clauses.append(f"({' || '.join(allowed)})")
    return " && ".join(clauses)


# -- on buckets ----------------------------------------------------------------------------------


def _on_buckets(record: Record) -> Iterator[Binding]:
    """Yield the bindings on buckets."""
    home, outputs, temps = record.home, record.outputs, record.temps
    master, worker = record.master_account, record.worker_account
    # Boot and tail logs are named after VMs, so a worker cannot touch those of the master.
    machines = [f"{home}/logs/mrcore-{record.name}-{model}-" for model in ("spot", "standard")]
    inner = [uri for uri in outputs if "/_tmp/" in f"/{_split(uri)[1]}"]
    plain = [uri for uri in outputs if uri not in inner]
    folders = [*(f"{uri}_tmp/" for uri in inner), *temps]
    reads = [f"{home}/{name}" for name in _WORKER_READS]
    wanted = (
        (master, WRITER, "master-writes", [f"{home}/", *outputs, *temps], _listed, ""),
        (master, READER, "master-reads", record.inputs, _listed, ""),
        (worker, READER, "worker-reads", [*reads, *record.inputs], _read, ""),
        (worker, READER, "worker-claims", outputs, _named, _CLAIM),
        (worker, WRITER, "worker-logs", machines, _named, ""),
        (worker, CREATOR, "worker-temps", [f"{home}/state/logs/", *folders], _named, ""),
        (worker, CREATOR, "worker-writes", plain, _named, _TEMPORARY),
    )
    for member, role, what, uris, clause, narrowed in wanted:
        by_bucket: dict[str, list[str]] = defaultdict(list)
        for uri in dict.fromkeys(uris):
            bucket, prefix = _split(uri)
            by_bucket[bucket].append(clause(bucket, prefix, home))
        for bucket, clauses in by_bucket.items():
            for number, expression in enumerate(_joined(clauses, narrowed), 1):
                yield _binding(
                    record, f"gs://{bucket}", member, role, f"{what} {number}", expression
                )


def _joined(clauses: Sequence[str], narrowed: str) -> Iterator[str]:
    """Yield expressions, each true where one of some clauses is; earlier ones stay as they are.

    A clause that is added later goes to the end, so that what others lean on is not taken away.
    """
    room = OPERATORS - 1 - bool(narrowed)  # one is for the time
    taken: list[str] = []
    for clause in (*clauses, None):
        used = sum(operators_in(one) + 1 for one in taken) - 1
        if taken and (clause is None or used + 1 + operators_in(clause) > room):
            one_of = " || ".join(taken)
            yield f"({one_of}) && {narrowed}" if narrowed else f"({one_of})"
            taken = []
        if clause is not None:
            taken.append(clause)


def operators_in(expression: str) -> int:
    """Count the logical operators of an expression, as IAM does."""
    nots = expression.count("!") - expression.count("!=")
    return expression.count("&&") + expression.count("||") + nots


def _named(bucket: str, prefix: str, home: str) -> str:
    """Return a clause: the name of the object begins so. Nothing can be listed."""
    del home
    _check(bucket, prefix)
    return f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/{prefix}")'


def _read(bucket: str, prefix: str, home: str) -> str:
    """Return a clause for what is read: of the home it has a name that the reader knows."""
    within = f"gs://{bucket}/{prefix}".startswith(f"{home}/")
    return (_named if within else _listed)(bucket, prefix, home)


def _listed(bucket: str, prefix: str, home: str) -> str:
    """Return a clause: the object, or the prefix of a listing, begins with this.

    A prefix in which homes of clusters lie (`gs://BUCKET/`, say) is for what is beside these.
    """
    own, folder = _split(home)
    homes = [_CLUSTERS, f"{folder}/"] if bucket == own else [_CLUSTERS]
    inside = [name for name in dict.fromkeys(homes) if name.startswith(prefix) and name != prefix]
    named = _named(bucket, prefix, home)
    objects = " && ".join([named, *(f"!{_named(bucket, name, home)}" for name in inside)])
    listing = (
        f'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
    )
    if not prefix:
        # An empty prefix would match every other request, too; listings are of the bucket itself.
        listing = 'resource.type == "storage.googleapis.com/Bucket"'
    return f"{f'({objects})' if inside else objects} || {listing}"


def _check(bucket: str, prefix: str) -> None:
    if any(char in prefix for char in '"\\\n\t') or "%%" in prefix:
        raise UsageError(
            f"gs://{bucket}/{prefix} has a character that no IAM condition can hold. Name another "
            "folder, or give accounts of your own with --service-account-worker and -master."
        )


# -- what is there -------------------------------------------------------------------------------


def bindings_in(
    policy: Mapping[str, Any] | None, resource: str, name: str = ""
) -> Iterator[Binding]:
    """Yield the bindings that a policy has for a cluster, or for every cluster."""
    for entry in (policy or {}).get("bindings", ()):
        condition = entry.get("condition", {})
        title = str(condition.get("title", ""))
        if not title.startswith(title_prefix(name) if name else "mrcore "):
            continue
        for member in entry.get("members", ()):
            yield Binding(
                resource,
                member,
                entry["role"],
                title,
                condition["expression"],
                str(condition.get("description", "")),
            )


def clusters_in(policy: Mapping[str, Any] | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the clusters that a policy has bindings for: name, and what the bindings say of it."""
    said: dict[str, dict[str, str]] = {}
    for binding in bindings_in(policy, ""):
        words = binding.title.split()
        pairs = (word.partition("=") for word in binding.description.split())
        facts = {key: value for key, mark, value in pairs if mark}
        if len(words) > 1 and "mrcore-home" in facts:
            said.setdefault(words[1], {}).update(facts)
    yield from said.items()
