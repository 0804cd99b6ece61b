"""Requests of a test to the cloud itself: `POST /_cloud/VERB` with JSON, and what has been called.

    preempt     {"instance": NAME}                    notice, grace, termination
    crash       {"instance": NAME}                    the host dies
    cut         {"instance": NAME, "on": true}        off the network; false mends it
    stockout    {"zone", "machine_type", "model", "on"}     patterns; all are optional
    quota       {"metric": M, "limit": N, "region": R}      no region: the project's
    delay       {"operation_seconds": N} or {"method": PATTERN, "seconds": N, "count": N}
    error       {"method": PATTERN, "status": N, "count": N}
    permission  {"deny": [PATTERN], "caller": PATTERN}      replaces what was denied before
    service     {"disable": [SERVICE]}                      replaces what was off before
    advance     {"seconds": N}                        the cloud's time goes on at once

GET calls: every API call so far; DELETE forgets them. GET state: the path of every resource that
someone has made. GET faults: what is in force.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from tests.cloud.compute import catalog
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, not_found
from tests.cloud.compute.faults import Refusal, Stockout
from tests.cloud.compute.lifecycle import Instance, Instances
from tests.gcsserver.wire import Request, Response, json_response

MADE = ("instances", "disks", "instanceGroupManagers", "instanceTemplates", "firewalls", "images")
"""The collections whose resources somebody has made."""


class Control:
    """Answers what comes to `/_cloud/`."""

    def __init__(self, core: Core, instances: Instances, calls: list[dict[str, Any]]) -> None:
        self._core = core
        self._instances = instances
        self._calls = calls

    async def answer(self, request: Request) -> Response:
        verb = request.path.removeprefix("/_cloud/")
        match (request.method, verb):
            case ("GET", "calls"):
                return json_response(self._calls)
            case ("DELETE", "calls"):
                self._calls.clear()
            case ("GET", "state"):
                return json_response(self.made())
            case ("GET", "faults"):
                return json_response(self._core.faults.as_json())
            case ("POST", "cut"):
                instance = self._instance(request.json())
                is_cut = bool(request.json().get("on", True))
                await self._core.machines.cut(self._instances.vm(instance), is_cut)
            case ("POST", _):
                self._post(verb, request.json())
            case _:
                raise CloudError(404, "notFound", f"There is no {request.path}.")
        return json_response({})

    def made(self) -> list[str]:
        """Return the paths of all resources that somebody has made."""
        return [path for collection in MADE for path in self._core.store.paths(collection)]

    def _post(self, verb: str, body: dict[str, Any]) -> None:
        known: dict[str, Callable[[dict[str, Any]], None]] = {
            "preempt": self.preempt,
            "crash": self.crash,
            "stockout": self.stockout,
            "quota": self.quota,
            "delay": self.delay,
            "error": self.error,
            "permission": self.permission,
            "service": self.service,
            "advance": self.advance,
        }
        if verb not in known:
            raise CloudError(404, "notFound", f"There is no fault {verb}.")
        try:
            known[verb](body)
        except (KeyError, TypeError, ValueError) as error:
            raise CloudError(400, "invalid", f"{verb}: {error!r} in {body}.") from None

    def _instance(self, body: dict[str, Any]) -> Instance:
        name = body.get("instance")
        for instance in self._instances.all():
            if instance.resource["name"] == name:
                return instance
        raise not_found(f"instances/{name}")

    def preempt(self, body: dict[str, Any]) -> None:
        instance = self._instance(body)
        if not instance.resource["scheduling"]["preemptible"]:
            raise CloudError(400, "invalid", "Only spot VMs are preempted.")
        self._core.background.start(self._instances.preempt(instance))

    def crash(self, body: dict[str, Any]) -> None:
        self._core.background.start(self._instances.crash(self._instance(body)))

    def stockout(self, body: dict[str, Any]) -> None:
        given = dict(body)
        is_on = given.pop("on", True)
        unknown = set(given) - {field.name for field in fields(Stockout)}
        if unknown:
            raise CloudError(400, "invalid", f"A stockout has no {sorted(unknown)}.")
        rule = Stockout(**given)
        if is_on:
            self._core.faults.stockouts.add(rule)
        elif given:
            self._core.faults.stockouts.discard(rule)
        else:
            self._core.faults.stockouts.clear()

    def quota(self, body: dict[str, Any]) -> None:
        region, metric = body.get("region") or "", body["metric"]
        known = catalog.REGION_QUOTAS if region else catalog.PROJECT_QUOTAS
        if metric not in known:
            raise CloudError(400, "invalid", f"There is no quota {metric}.")
        self._core.faults.quotas[region, metric] = float(body["limit"])

    def delay(self, body: dict[str, Any]) -> None:
        if "operation_seconds" in body:
            self._core.operations.seconds = float(body["operation_seconds"])
        else:
            self._core.faults.refusals.append(Refusal(**body))

    def error(self, body: dict[str, Any]) -> None:
        self._core.faults.refusals.append(Refusal(**body))

    def permission(self, body: dict[str, Any]) -> None:
        who = body.get("caller", "*")
        self._core.access.denied[:] = [(who, what) for what in body.get("deny", ())]

    def service(self, body: dict[str, Any]) -> None:
        self._core.access.disabled.clear()
        self._core.access.disabled.update(body.get("disable", ()))

    def advance(self, body: dict[str, Any]) -> None:
        self._core.time.advance(float(body["seconds"]))
        self._instances.time_has_moved()
