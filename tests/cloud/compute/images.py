"""The methods of images and disks."""

from __future__ import annotations

from tests.cloud.compute import links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, in_use, required
from tests.cloud.compute.lifecycle import Instances
from tests.cloud.compute.resolve import images_of, newest_of, resolve_image
from tests.cloud.compute.routing import Call, Route
from tests.cloud.compute.store import Resource, Store, aggregated, listing

_WRITABLE = ("description", "family", "labels", "sourceDisk", "rawDisk", "storageLocations")


class Images:
    """The methods of images and disks."""

    def __init__(self, core: Core, instances: Instances) -> None:
        self._core = core
        self._store = core.store
        self._instances = instances

    def routes(self) -> list[Route]:
        image, disk = "compute.images", "compute.disks"
        images, disks = "/{global}/images", "/{zonal}/disks"
        one, one_disk = images + "/{name}", disks + "/{name}"
        return [
            Route("POST", images, f"{image}.insert", self.insert),
            Route("GET", images, f"{image}.list", self.list),
            Route("GET", one, f"{image}.get", self.get),
            Route("GET", images + "/family/{name}", f"{image}.getFromFamily", self.family),
            Route("DELETE", one, f"{image}.delete", self.delete),
            Route("POST", f"{one}/deprecate", f"{image}.deprecate", self.deprecate),
            Route("POST", f"{one}/setLabels", f"{image}.setLabels", self.label),
            Route("GET", disks, f"{disk}.list", self.list_disks),
            Route("GET", one_disk, f"{disk}.get", self.get_disk),
            Route("DELETE", one_disk, f"{disk}.delete", self.delete_disk),
            Route("GET", "/aggregated/disks", f"{disk}.aggregatedList", self.all_disks),
        ]

    def list(self, call: Call) -> Resource:
        project = call.names["project"]
        return listing(
            self._store, "image", "global/images", images_of(self._store, project), call.params
        )

    def get(self, call: Call) -> Resource:
        project = call.names["project"]
        return resolve_image(self._store, f"projects/{project}/{call.path('images')}")

    def family(self, call: Call) -> Resource:
        return newest_of(self._store, call.names["project"], call.names["name"])

    async def insert(self, call: Call) -> Resource:
        body = call.body
        name = links.check_name(body.get("name"))
        labels = links.check_labels(body.get("labels", {}))
        path = f"global/images/{name}"
        source = body.get("sourceDisk")
        if source is None and "rawDisk" not in body:
            raise required("resource.sourceDisk")
        disk = None if source is None else self._store.get(self._store.path_of(source))
        if disk is not None:
            self._check_off(disk, call.params.get("forceCreate", "").lower() == "true")
        image = add_image(self._store, name, labels)
        image |= {key: body[key] for key in _WRITABLE if key in body} | {"status": "PENDING"}
        if disk is not None:
            image |= {"sourceDisk": disk["selfLink"], "sourceDiskId": disk["id"]}
            image["diskSizeGb"] = disk["sizeGb"]
            image["sourceImage"] = disk["sourceImage"]
        work = self._capture(image, disk)
        return await self._core.operations.run(
            "insert", path, work, user=call.caller, params=call.params
        )

    def _check_off(self, disk: Resource, force: bool) -> None:
        users = [self._store.get(self._store.path_of(user)) for user in disk.get("users", ())]
        if users and users[0]["status"] != "TERMINATED" and not force:
            disk_path = self._store.full(self._store.path_of(disk["selfLink"]))
            by = self._store.full(self._store.path_of(users[0]["selfLink"]))
            raise in_use(disk_path, by)

    async def _capture(self, image: Resource, disk: Resource | None) -> None:
        if disk is not None:
            users = disk.get("users", ())
            if not users:
                # The machines keep a disk as long as its VM.
                self._store.remove(self._store.path_of(image["selfLink"]))
                raise CloudError(
                    400, "unsupported", "This cloud can only image a disk that a VM still has."
                )
            await self._instances.capture(self._store.path_of(users[0]), image["name"])
        image |= {"status": "READY", "archiveSizeBytes": str(1 << 30)}

    async def delete(self, call: Call) -> Resource:
        path = call.path("images")
        target_id = self._store.get(path)["id"]

        async def work() -> None:
            self._store.remove(path)

        return await self._core.operations.run(
            "delete", path, work(), user=call.caller, params=call.params, target_id=target_id
        )

    async def deprecate(self, call: Call) -> Resource:
        image = self._store.get(call.path("images"))

        async def work() -> None:
            state = call.body.get("state", "ACTIVE")
            image.pop("deprecated", None)
            if state != "ACTIVE":
                image["deprecated"] = call.body

        return await self._core.operations.run(
            "deprecate", call.path("images"), work(), user=call.caller
        )

    async def label(self, call: Call) -> Resource:
        return await set_labels(self._core, call, call.path("images"))

    def list_disks(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        found = list(self._store.all("disks", scope))
        return listing(self._store, "disk", f"{scope}/disks", found, call.params)

    def all_disks(self, call: Call) -> Resource:
        return aggregated(self._store, "disk", "disks", call.params)

    def get_disk(self, call: Call) -> Resource:
        return self._store.get(call.path("disks"))

    async def delete_disk(self, call: Call) -> Resource:
        path = call.path("disks")
        disk = self._store.get(path)
        if disk.get("users"):
            by = self._store.full(self._store.path_of(disk["users"][0]))
            raise in_use(self._store.full(path), by)

        async def work() -> None:
            self._store.remove(path)

        return await self._core.operations.run(
            "delete", path, work(), user=call.caller, params=call.params, target_id=disk["id"]
        )


def add_image(store: Store, name: str, labels: dict[str, str]) -> Resource:
    """Add an image of the project that is ready for use; raise 409 where there is one."""
    fields = {
        "status": "READY",
        "sourceType": "RAW",
        "diskSizeGb": "10",
        "architecture": "X86_64",
        "labels": labels,
        "labelFingerprint": links.fingerprint(labels),
    }
    return store.add(f"global/images/{name}", "image", fields)


async def set_labels(core: Core, call: Call, path: str) -> Resource:
    """Answer `setLabels` of any resource: raise 412 where the fingerprint is not today's."""
    resource = core.store.get(path)
    labels = links.check_labels(call.body.get("labels", {}), "labels")
    if not links.is_same(call.body.get("labelFingerprint"), resource["labelFingerprint"]):
        raise CloudError(
            412,
            "conditionNotMet",
            "Labels fingerprint either invalid or resource labels have changed",
        )

    async def work() -> None:
        resource.update(labels=labels, labelFingerprint=links.fingerprint(labels))

    return await core.operations.run(
        "setLabels", path, work(), user=call.caller, params=call.params
    )
