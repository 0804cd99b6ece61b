"""The whole cloud behind one port."""

from __future__ import annotations

import asyncio
import inspect
import socket
from contextlib import AsyncExitStack
from typing import Any, Self

from mrcore.util.clock import SYSTEM, Clock
from tests.cloud.compute import catalog
from tests.cloud.compute.access import Access
from tests.cloud.compute.control import Control
from tests.cloud.compute.core import Background, CloudTime, Core
from tests.cloud.compute.errors import not_found
from tests.cloud.compute.faults import Faults
from tests.cloud.compute.groups import Groups
from tests.cloud.compute.http import HttpServer, answer, batch
from tests.cloud.compute.identity import Identity
from tests.cloud.compute.images import Images
from tests.cloud.compute.instances import InstanceMethods
from tests.cloud.compute.lifecycle import Instances
from tests.cloud.compute.machines import Addresses, Machines, MemoryMachines, Pools
from tests.cloud.compute.network import Network, add_default_network
from tests.cloud.compute.operations import Operations
from tests.cloud.compute.places import Places
from tests.cloud.compute.policy import Policies
from tests.cloud.compute.quotas import Quotas
from tests.cloud.compute.routing import Call, Route, Router
from tests.cloud.compute.store import Store
from tests.cloud.compute.templates import Templates
from tests.gcsserver.wire import Request, Response, json_response

PROJECT = "test-project"

_COMPUTE = r"/compute/(?:v1|beta|alpha)/projects/(?P<project>[^/]+)"
_SERVICE_OF = {
    "compute": "compute.googleapis.com",
    "iam": "iam.googleapis.com",
    "resourcemanager": "cloudresourcemanager.googleapis.com",
    "serviceusage": "serviceusage.googleapis.com",
}


class ComputeServer:
    """Compute Engine, IAM, Resource Manager and Service Usage of one project, on one port.

        async with ComputeServer(machines, addresses, listener=listener) as cloud:
            cloud.url

    The project is one that is ready for use: the APIs are on, the network `default` is there,
    and with `private_google_access` so is Private Google Access.
    """

    def __init__(
        self,
        machines: Machines | None = None,
        addresses: Addresses | None = None,
        *,
        listener: socket.socket | None = None,
        project: str = PROJECT,
        clock: Clock = SYSTEM,
        private_google_access: bool = True,
        retry_seconds: float = 1.0,
        preempt_grace_seconds: float = 30.0,
    ) -> None:
        self.listener = listener or socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self.listener.getsockname()[:2])
        time = CloudTime(clock)
        store = Store(project, time.now)
        faults = Faults()
        self.machines: Machines = machines or MemoryMachines()
        self.core = Core(
            time=time,
            store=store,
            operations=Operations(store),
            access=Access(store),
            faults=faults,
            quotas=Quotas(store, faults),
            machines=self.machines,
            addresses=addresses or Pools(),
            background=Background(),
            retry_seconds=retry_seconds,
            preempt_grace_seconds=preempt_grace_seconds,
        )
        self.instances = Instances(self.core)
        self.calls: list[dict[str, Any]] = []
        self.control = Control(self.core, self.instances, self.calls)
        self._router = Router(self._routes())
        self._http = HttpServer(self._handle)
        self._stack = AsyncExitStack()
        add_default_network(store, private_google_access=private_google_access)

    def _routes(self) -> dict[str, list[Route]]:
        core, instances = self.core, self.instances
        policies = Policies(core)
        compute = [
            *Places(core, instances).routes(),
            *InstanceMethods(core, instances).routes(),
            *Templates(core).routes(),
            *Groups(core, instances).routes(),
            *Network(core).routes(),
            *Images(core, instances).routes(),
        ]
        return {_COMPUTE: compute, "": [*Identity(core, policies).routes(), *policies.routes()]}

    async def __aenter__(self) -> Self:
        self.core.background.start(self.instances.watch_deadlines())
        await self._http.start(self.listener)
        self._stack.push_async_callback(self.machines.close)
        self._stack.push_async_callback(self.core.background.stop)
        self._stack.push_async_callback(self.core.operations.stop)
        self._stack.push_async_callback(self._http.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _handle(self, request: Request) -> Response:
        """Answer one request; raise CloudError where it is refused."""
        if request.path.startswith("/_cloud/"):
            return await self.control.answer(request)
        if request.path.startswith("/batch/"):
            return await batch(self._handle, request)
        return await self._call(request)

    async def _call(self, request: Request) -> Response:
        entry: dict[str, Any] = {
            "time": self.core.time.now(),
            "method": "",
            "http": request.method,
            "path": request.path,
            "params": dict(request.params),
            "body": request.json() if request.body else None,
            "caller": "",
            "status": 0,
        }
        self.calls.append(entry)

        async def logged(_: Request) -> Response:
            return await self._answer(request, entry)

        response = await answer(logged, request)
        entry["status"] = response.status
        return response

    async def _answer(self, request: Request, entry: dict[str, Any]) -> Response:
        route, names = self._router.find(request)
        entry["method"] = route.id
        access = self.core.access
        call = Call(request, access.caller(request), names)
        entry["caller"] = call.caller
        access.check_service(_SERVICE_OF[route.id.partition(".")[0]])
        is_public = self._is_public(route, names.get("project"))
        await asyncio.sleep(self.core.faults.seconds_of(route.id))
        if route.permission and not is_public:
            access.check(call.caller, route.permission, self._resource(call))
        if (operation := self.core.operations.repeated(call.params)) is not None:
            return json_response(operation)
        result = route.handler(call)
        return json_response(await result if inspect.isawaitable(result) else result)

    def _is_public(self, route: Route, project: str | None) -> bool:
        """Return whether everybody may make the call; raise 404 for a project that is not ours."""
        store = self.core.store
        if project in (None, "-", store.project, str(store.number)):
            return False
        is_image = route.id.startswith("compute.images.") and route.http == "GET"
        if not is_image or project not in catalog.PUBLIC_IMAGE_PROJECTS:
            raise not_found(f"projects/{project}")
        return True

    def _resource(self, call: Call) -> str:
        """Return the full path of what a call is about, as conditions see it."""
        _, found, below = call.request.path.partition("/projects/")
        if not found:
            return self.core.access.project_name
        made = call.body.get("name") if call.request.method == "POST" else None
        return f"projects/{below}/{made}" if made else f"projects/{below}"
