"""Long-running operations: made by every change, waited for by whoever asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from tests.cloud.compute import links
from tests.cloud.compute.errors import CloudError, OperationError
from tests.cloud.compute.store import Resource, Store

WAIT_SECONDS = 120.0
"""The longest that `wait` takes to answer, as the real one."""

LINGER_SECONDS = 0.1
"""Longest wait of a change for its own operation, so that quick ones are done in the answer."""

_logger = logging.getLogger(__name__)


class Operations:
    """The operations of the project, under `…/operations/NAME` in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._by_request: dict[str, str] = {}
        self.seconds = 0.0
        """Shortest time of each operation."""

    async def run(
        self,
        kind: str,
        target: str,
        work: Coroutine[Any, Any, None],
        *,
        user: str = "",
        params: dict[str, str] | None = None,
        target_id: str | None = None,
    ) -> Resource:
        """Start the work under an operation, and return that after a moment.

        `target` is a path of the store; the operation lives in the same scope.
        """
        request_id = (params or {}).get("requestId")
        path = self.begin(kind, target, user=user, target_id=target_id)
        if request_id is not None:
            self._by_request[request_id] = path
        return await self.follow(path, work)

    def repeated(self, params: dict[str, str]) -> Resource | None:
        """Return the operation that an earlier request with the same id has made."""
        path = self._by_request.get(params.get("requestId", ""))
        return None if path is None else self._store.get(path)

    def begin(self, kind: str, target: str, *, user: str, target_id: str | None = None) -> str:
        """Make an operation that runs, and return its path."""
        now = self._store.now()
        found = self._store.find(target)
        scope = "global" if target.startswith("global/") else "/".join(target.split("/")[:2])
        rng = self._store.rng
        name = (
            f"operation-{int(now * 1000)}-{rng.randrange(16**13):013x}-{rng.randrange(16**8):08x}"
        )
        path = f"{scope}/operations/{name}"
        self._store.add(
            path,
            "operation",
            {
                "operationType": kind,
                "targetLink": found["selfLink"] if found else self._store.link(target),
                "targetId": target_id or (found or {}).get("id"),
                "status": "RUNNING",
                "user": user,
                "progress": 0,
                "insertTime": links.timestamp(now),
                "startTime": links.timestamp(now),
            },
        )
        return path

    async def follow(self, path: str, work: Coroutine[Any, Any, None]) -> Resource:
        """Do the work under an operation that has begun, and return that after a moment."""
        task = asyncio.get_running_loop().create_task(self._do(path, work))
        self._tasks[path] = task
        task.add_done_callback(lambda _: self._tasks.pop(path))
        await asyncio.wait([task], timeout=LINGER_SECONDS)
        return self._store.get(path)

    async def _do(self, path: str, work: Coroutine[Any, Any, None]) -> None:
        operation = self._store.get(path)
        try:
            await work
            await asyncio.sleep(self.seconds)
        except OperationError as error:
            _fail(operation, error)
        except CloudError as error:
            _fail(
                operation, OperationError(_code(error), error.message, error.status, error.reason)
            )
        except Exception:
            _logger.exception("%s", path)
            _fail(operation, OperationError("INTERNAL_ERROR", "Internal error.", 500, "INTERNAL"))
        self.end(path)

    def end(self, path: str) -> None:
        operation = self._store.get(path)
        operation |= {
            "status": "DONE",
            "progress": 100,
            "endTime": links.timestamp(self._store.now()),
        }

    def fail(self, path: str, error: OperationError) -> None:
        """End an operation that was begun without a task of its own."""
        _fail(self._store.get(path), error)
        self.end(path)

    async def wait(self, path: str) -> Resource:
        """Return an operation when it is done, or after two minutes as it is; raise 404."""
        operation = self._store.get(path)
        task = self._tasks.get(path)
        if task is not None:
            await asyncio.wait([task], timeout=WAIT_SECONDS)
        return operation

    async def stop(self) -> None:
        """Cancel all that run, and wait for their ends."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _code(error: CloudError) -> str:
    return "RESOURCE_NOT_FOUND" if error.status == 404 else error.reason


def _fail(operation: Resource, error: OperationError) -> None:
    operation |= {
        "error": {"errors": [{"code": error.code, "message": error.message}]},
        "httpErrorStatusCode": error.http_status,
        "httpErrorMessage": error.http_message,
    }
