"""Who may touch which objects: the bindings of a cluster's accounts, each within prefixes.

User code runs as the worker's account, and can use its token. So that account may read what a
worker needs of the cluster, and write output, temporaries and logs; the journal is the master's.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from mrcore.errors import UsageError
from mrcore.gce.record import Record

READER: Final = "mrcoreObjectReader"
WRITER: Final = "mrcoreObjectWriter"
_PREFIXES: Final = 5
"""Prefixes of one condition: IAM takes twelve logical operators, and each needs two."""
_CLUSTERS: Final = "mrcore/"
"""Below here lie the homes of clusters, with their keys and journals: nobody's input."""

_WORKER_READS: Final = (
    "state/leader.json", "state/cluster.json", "state/plugins/", "wheels/", "payload/",
)  # fmt: skip
_WORKER_WRITES: Final = ("state/logs/", "logs/")


class Binding(msgspec.Struct, frozen=True):
    """A role on a bucket for an account, where a condition holds."""

    bucket: str
    member: str
    role: str
    title: str
    expression: str

    def line(self) -> str:
        """Return the fields as the shell reads them."""
        return "\t".join((self.bucket, self.member, self.role, self.title, self.expression))


def bindings_of(record: Record) -> Iterator[Binding]:
    """Yield what the accounts of a cluster need on buckets, those on its own bucket first."""
    home = record.home
    master = f"serviceAccount:{record.master_account}"
    worker = f"serviceAccount:{record.worker_account}"
    reads = [f"{home}/{name}" for name in _WORKER_READS]
    writes = [f"{home}/{name}" for name in _WORKER_WRITES]
    wanted = (
        ("master-writes", master, WRITER, [f"{home}/", *record.outputs]),
        ("worker-reads", worker, READER, [*reads, *record.inputs]),
        ("worker-writes", worker, WRITER, [*writes, *record.outputs]),
        ("master-reads", master, READER, record.inputs),
    )
    found = [
        Binding(bucket, member, f"projects/{record.project}/roles/{role}", title, expression)
        for what, member, role, uris in wanted
        for bucket, title, expression in _conditions(
            f"{title_prefix(record.name)}{what}", uris, home
        )
    ]
    own = home.removeprefix("gs://").partition("/")[0]
    yield from sorted(found, key=lambda binding: (binding.bucket != own, binding.bucket))


def title_prefix(name: str) -> str:
    """Return how the titles of all conditions of a cluster begin."""
    return f"mrcore {name} "


def _conditions(title: str, uris: Iterable[str], home: str) -> Iterator[tuple[str, str, str]]:
    """Yield bucket, title and expression, few prefixes each.

    A prefix in which homes of clusters lie (`gs://BUCKET/`, say) is for what is beside these.
    """
    own, _, folder = home.removeprefix("gs://").partition("/")
    by_bucket: dict[str, list[str]] = defaultdict(list)
    for uri in dict.fromkeys(uris):
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        by_bucket[bucket].append(prefix)
    for bucket, prefixes in by_bucket.items():
        homes = [_CLUSTERS, f"{folder}/"] if bucket == own else [_CLUSTERS]
        wide = {p: [h for h in homes if h.startswith(p) and h != p] for p in prefixes}
        narrow = [prefix for prefix, inside in wide.items() if not inside]
        found = [
            " || ".join(_within(bucket, prefix) for prefix in narrow[start : start + _PREFIXES])
            for start in range(0, len(narrow), _PREFIXES)
        ]
        found += [_within(bucket, prefix, inside) for prefix, inside in wide.items() if inside]
        for number, expression in enumerate(found, 1):
            yield bucket, f"{title} {number}", expression


def _within(bucket: str, prefix: str, but: Iterable[str] = ()) -> str:
    """Return an expression: the object, or the prefix of a listing, begins with this.

    Objects that begin with one of `but` are left out.
    """
    if any(char in prefix for char in '"\\\n\t') or "%%" in prefix:
        raise UsageError(
            f"gs://{bucket}/{prefix} has a character that no IAM condition can hold: name another "
            "folder, or give accounts of your own with --service-account-worker and -master."
        )
    named = f'resource.name.startsWith("projects/_/buckets/{bucket}/objects/'
    objects = " && ".join([f'{named}{prefix}")', *(f'!{named}{name}")' for name in but)])
    listing = (
        f'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
    )
    if not prefix:
        # That would be true of whatever is no listing, too; listings are of the bucket itself.
        listing = 'resource.type == "storage.googleapis.com/Bucket"'
    return f"{f'({objects})' if but else objects} || {listing}"


def bindings_in(policy: str, bucket: str, name: str) -> Iterator[Binding]:
    """Yield the bindings that a bucket's policy, as JSON, has for a cluster."""
    found: dict[str, Any] = json.loads(policy or "{}")
    for entry in found.get("bindings", ()):
        title = str(entry.get("condition", {}).get("title", ""))
        if not title.startswith(title_prefix(name)):
            continue
        for member in entry.get("members", ()):
            yield Binding(bucket, member, entry["role"], title, entry["condition"]["expression"])
