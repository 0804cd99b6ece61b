"""Inventory of what the cloud has: the truth about a cluster, or about all of a project."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from mrcore.errors import MrcoreError, StorageError
from mrcore.gce import iam, leave
from mrcore.gce.console import say
from mrcore.gce.crew import Crew
from mrcore.gce.failures import GcloudError, StepsFailedError
from mrcore.gce.gcloud import Gcloud

COLUMNS: Final = (
    *("kind", "name", "place", "state", "machine", "role", "expires", "owner", "cluster"),
)
_HOME: Final = "mrcore-home"


class Row(msgspec.Struct, frozen=True):
    """One thing of a cluster."""

    kind: str
    """`instance`, `template`, `group`, `firewall`, `bindings`, `home` or `image`."""
    name: str
    place: str = ""
    """Zone or region; empty for what is in neither."""
    state: str = ""
    machine: str = ""
    """Machine type; of a group its template."""
    role: str = ""
    expires: str = ""
    """Wall-clock seconds since 1970; empty where nothing says it."""
    owner: str = ""
    cluster: str = ""


class Inventory:
    """Rows of what is there."""

    def __init__(self, gcloud: Gcloud, crew: Crew) -> None:
        self._gcloud = gcloud
        self._crew = crew
        self._listed: dict[str, list[Row]] = {}
        self._homes: dict[str, str] = {}
        self._looked: str | None = None
        self.rows: list[Row] = []
        self.home = ""
        """Home that the machines of the cluster were given; empty where there are none."""

    # -- looking ---------------------------------------------------------------------------------

    def take(self, cluster: str = "") -> None:
        """Look what there is of one cluster, or of all; raise StepsFailedError when that fails."""
        failures: list[str] = []

        def quietly(listing: Callable[[], None]) -> Callable[[], None]:
            def run() -> None:
                try:
                    listing()
                except MrcoreError as error:
                    failures.append(str(error))
                    raise StepsFailedError(str(error)) from error

            return run

        try:
            self._crew.together(*(quietly(listing) for listing in self.listings(cluster)))
        except StepsFailedError:
            for text in first_of_each_cause(failures):
                say(text)
            raise
        self.read_listings(cluster)

    def take_once(self, cluster: str) -> None:
        """Look what there is of a cluster, unless nothing was changed since the last look."""
        if self._looked != cluster or self._gcloud.changed:
            self.take(cluster)

    def is_known(self, cluster: str) -> bool:
        """Return whether the rows are those of the cluster."""
        return self._looked == cluster

    def forget(self) -> None:
        """Let the next `take_once` look again."""
        self._looked = None

    def listings(self, cluster: str) -> list[Callable[[], None]]:
        """Return the functions that have to run before `read_listings`."""
        self._gcloud.changed = False
        self._listed, self._homes = {}, {}
        listers: dict[str, Callable[[str], list[Any]]] = {
            "instance": self._list_instances,
            "template": self._list_templates,
            "group": self._list_groups,
            "firewall": self._list_firewalls,
        }

        def run(kind: str) -> Callable[[], None]:
            def listing() -> None:
                found = listers[kind](cluster)
                self._listed[kind] = [row for row in map(_ROWS[kind], found) if row.cluster]
                self._homes[kind] = next(_homes_of(found), "")

            return listing

        return [run(kind) for kind in listers]

    def read_listings(self, cluster: str) -> None:
        """Take what the listings have found as what there is."""
        found = (row for kind in _ROWS for row in self._listed.get(kind, ()))
        self.rows = [row for row in found if not cluster or row.cluster == cluster]
        self.home = self._homes.get("instance") or self._homes.get("template") or ""
        self._looked = cluster

    # -- asking ----------------------------------------------------------------------------------

    def find(self, kind: str, name: str) -> Row | None:
        """Return the row of one thing, or None."""
        return next((row for row in self.rows if (row.kind, row.name) == (kind, name)), None)

    def of(self, kind: str) -> list[Row]:
        """Return the rows of one kind."""
        return [row for row in self.rows if row.kind == kind]

    def clusters(self) -> list[str]:
        """Return the names of all clusters that there is something of, in order."""
        return sorted({row.cluster for row in self.rows if row.cluster})

    def owner_of(self, cluster: str) -> str:
        """Return whose a cluster is; nothing where no part of it says."""
        return next((row.owner for row in self.rows if row.cluster == cluster and row.owner), "")

    def latest_expiry(self, cluster: str) -> int:
        """Return when all of a cluster has expired, in seconds since 1970; 0 if nothing says it.

        What was made by an earlier `up` may name an earlier end; the last one holds for all.
        """
        of = (row.expires for row in self.rows if row.cluster == cluster)
        return max((int(expires) for expires in of if expires.isdecimal()), default=0)

    # -- traces ----------------------------------------------------------------------------------

    def policy_of_project(self) -> Any:
        """Return the IAM policy of the project."""
        project = self._gcloud.project
        return self._gcloud.read(
            f"Reading the policy of {project}",
            *("projects", "get-iam-policy", project, "--format=json"),
        )

    def home_by_bindings(self, cluster: str) -> str:
        """Return the home that the bindings of a cluster name; nothing where none can be seen."""
        try:
            policy = self.policy_of_project()
        except GcloudError:
            return ""
        facts = dict(iam.clusters_in(policy))
        return facts.get(cluster, {}).get(_HOME, "")

    def add_traces(self, bucket: str, cluster: str = "") -> None:
        """Add what outlives the machines of one cluster, or of all.

        These are bindings in the project, and homes in buckets: those that bindings name, and all
        in `bucket`, where one is given. Raises StorageError where that one cannot be read.
        """
        try:
            policy = self._crew.do(self.policy_of_project)
        except GcloudError as error:  # there is more to be found without it
            say(str(error))
            policy = None
        places = []
        for name, facts in iam.clusters_in(policy):
            home = facts.get(_HOME, "")
            if not home or (cluster and name != cluster):
                continue
            places.append(home)
            self.rows.append(
                Row(
                    *("bindings", self._gcloud.project, "", "", "", "project"),
                    *(facts.get("mrcore-expires", ""), facts.get("mrcore-owner", ""), name),
                )
            )
        if bucket:
            places.append(f"gs://{bucket}")
        homes = self._crew.do(lambda: self._homes_in(places))
        for found in homes:
            row = Row(
                *("home", found.uri, "", "", "", "bucket"),
                *(found.expires, found.owner, found.cluster),
            )
            # Found twice, by the bindings and in the bucket, it is one home all the same.
            is_new = self.find("home", found.uri) is None
            if is_new and (not cluster or found.cluster == cluster):
                self.rows.append(row)

    def _homes_in(self, places: list[str]) -> list[leave.Home]:
        found: list[leave.Home] = []
        for place in places:
            try:
                found += leave.homes_in([place], self._gcloud.project)
            except StorageError as error:
                if "/" not in place.removeprefix("gs://"):
                    raise
                # Bindings name homes in buckets that may be somebody else's.
                say(f"warning: {error}")
        return found

    def add_images(self) -> None:
        """Add baked images: they belong to no cluster, and stay until they are deleted by hand."""
        found = self._gcloud.read(
            "Listing the images",
            *("compute", "images", "list", "--no-standard-images"),
            *("--filter=labels.mrcore-image:*", "--format=json(name,status,labels)"),
        )
        for image in found or ():
            owner = (image.get("labels") or {}).get("mrcore-owner", "")
            self.rows.append(Row("image", image["name"], state=image["status"], owner=owner))

    # -- listings --------------------------------------------------------------------------------

    def machine_states(self, cluster: str) -> list[Row]:
        """Return the VMs of a cluster as they are now."""
        return [_instance(item) for item in self._list_instances(cluster)]

    def _list_instances(self, cluster: str) -> list[Any]:
        return self._list(
            "Listing the VMs",
            *("compute", "instances", "list", _labelled("labels", cluster)),
            "--format=json(name,zone.basename(),status,machineType.basename(),labels,"
            f'metadata.items.filter("key:{_HOME}"))',
        )

    def _list_templates(self, cluster: str) -> list[Any]:
        return self._list(
            "Listing the instance templates",
            *("compute", "instance-templates", "list", _labelled("properties.labels", cluster)),
            "--format=json(name,region.basename(),properties.machineType,properties.labels,"
            f'properties.metadata.items.filter("key:{_HOME}"))',
        )

    def _list_groups(self, cluster: str) -> list[Any]:
        return self._list(
            "Listing the instance groups",
            *("compute", "instance-groups", "managed", "list"),
            _named(cluster, "spot|standard"),
            "--format=json(name,zone.basename(),region.basename(),targetSize,"
            "instanceTemplate.basename(),description)",
        )

    def _list_firewalls(self, cluster: str) -> list[Any]:
        return self._list(
            "Listing the firewall rules",
            *("compute", "firewall-rules", "list", _named(cluster, "internal|iap")),
            "--format=json(name,direction,description)",
        )

    def _list(self, what: str, *arguments: str) -> list[Any]:
        return list(self._gcloud.read(what, *arguments) or ())


def first_of_each_cause(sentences: Iterable[str]) -> list[str]:
    """Return sentences, but one for each cause: it may make many calls fail."""
    by_cause: dict[str, str] = {}
    for text in sentences:
        by_cause.setdefault(text.partition(" failed: ")[2] or text, text)
    return list(by_cause.values())


def _homes_of(found: Iterable[Any]) -> Iterator[str]:
    """Yield the homes that machines or templates name in their metadata."""
    for item in found:
        metadata = item.get("metadata") or item.get("properties", {}).get("metadata") or {}
        for entry in metadata.get("items") or ():
            if entry.get("key") == _HOME and str(entry.get("value")).startswith("gs:"):
                yield str(entry["value"])


def _labelled(field: str, cluster: str) -> str:
    return f"--filter={field}.mrcore={cluster}" if cluster else f"--filter={field}.mrcore:*"


def _named(cluster: str, ends: str) -> str:
    return f'--filter=name~"^mrcore-{cluster or ".*"}-({ends})$"'


def _text(item: Any, key: str) -> str:
    value = item.get(key)
    return "" if value is None else str(value)


def _with_labels(row: Row, labels: dict[str, str]) -> Row:
    return msgspec.structs.replace(
        row,
        role=labels.get("mrcore-role", ""),
        expires=labels.get("mrcore-expires", ""),
        owner=labels.get("mrcore-owner", ""),
        cluster=labels.get("mrcore", ""),
    )


def _said(description: str) -> dict[str, str]:
    """Return the `KEY=VALUE` words of a description: what takes no labels has them there."""
    return dict(re.findall(r"(?:^|(?<=\s))([^\s=]+)=(\S*)", description))


def _instance(item: Any) -> Row:
    row = Row("instance", item["name"], _text(item, "zone"), item["status"])
    row = msgspec.structs.replace(row, machine=_text(item, "machineType"))
    return _with_labels(row, item.get("labels") or {})


def _template(item: Any) -> Row:
    properties = item.get("properties") or {}
    row = Row("template", item["name"], _text(item, "region"))
    row = msgspec.structs.replace(row, machine=_text(properties, "machineType"))
    return _with_labels(row, properties.get("labels") or {})


def _group(item: Any) -> Row:
    place = _text(item, "zone") or _text(item, "region")
    row = Row(
        *("group", item["name"], place, _text(item, "targetSize")),
        _text(item, "instanceTemplate"),
    )
    return _with_labels(row, _said(_text(item, "description")))


def _firewall(item: Any) -> Row:
    row = Row("firewall", item["name"], state=_text(item, "direction"))
    return _with_labels(row, _said(_text(item, "description")))


_ROWS: Final[dict[str, Callable[[Any], Row]]] = {
    "instance": _instance,
    "template": _template,
    "group": _group,
    "firewall": _firewall,
}
