"""Lookup of the image that a link means: one of the project, or a public one."""

from __future__ import annotations

import re

from tests.cloud.compute import catalog, links
from tests.cloud.compute.errors import invalid, not_found
from tests.cloud.compute.store import Resource, Store

_CREATED = "2025-06-10T00:00:00.000-07:00"


def _public(image: catalog.PublicImage) -> Resource:
    return {
        "kind": "compute#image",
        "id": str(int.from_bytes(image.name.encode()) % 10**18),
        "creationTimestamp": _CREATED,
        "name": image.name,
        "family": image.family,
        "status": "READY",
        "sourceType": "RAW",
        "archiveSizeBytes": str(1 << 30),
        "diskSizeGb": str(image.disk_gb),
        "architecture": "X86_64",
        "selfLink": f"{links.ROOT}projects/{image.project}/global/images/{image.name}",
    }


def images_of(store: Store, project: str) -> list[Resource]:
    if project in (store.project, str(store.number)):
        return list(store.all("images"))
    return [_public(image) for image in catalog.PUBLIC_IMAGES if image.project == project]


def newest_of(store: Store, project: str, family: str) -> Resource:
    """Return the newest image of a family that is ready and not deprecated; raise 404."""
    found = [
        image
        for image in images_of(store, project)
        if image.get("family") == family
        and image["status"] == "READY"
        and "deprecated" not in image
    ]
    if not found:
        raise not_found(f"projects/{project}/global/images/family/{family}")
    # Images of one moment differ by their names, which end in dates.
    return max(found, key=lambda image: (image["creationTimestamp"], image["name"]))


def resolve_image(store: Store, link: str) -> Resource:
    """Return the image that a link to an image or a family means; raise 404."""
    project, path = links.split_link(link)
    project = project or store.project
    # gcloud names a family by the view that a zone has of it.
    path = re.sub(r"^zones/[^/]+/imageFamilyViews/", "global/images/family/", path)
    collection, _, name = path.removeprefix("global/").partition("/")
    if collection != "images" or not name:
        raise invalid(
            "resource.disks[0].initializeParams.sourceImage", link, "The URL is malformed."
        )
    if name.startswith("family/"):
        return newest_of(store, project, name.removeprefix("family/"))
    for image in images_of(store, project):
        if image["name"] == name:
            return image
    raise not_found(f"projects/{project}/{path}")
