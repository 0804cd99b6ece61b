"""The methods of networks, subnetworks and firewalls."""

from __future__ import annotations

import ipaddress

from tests.cloud.compute import catalog, links
from tests.cloud.compute.core import Core
from tests.cloud.compute.errors import CloudError, invalid, required, stale
from tests.cloud.compute.routing import Call, Route, merged
from tests.cloud.compute.store import Resource, Store, aggregated, listing


def add_default_network(store: Store, *, private_google_access: bool) -> None:
    """Add the network `default` with a subnetwork in each region, as every new project has."""
    network = store.add(
        "global/networks/default",
        "network",
        {"autoCreateSubnetworks": True, "subnetworks": [], "description": "Default network"},
    )
    network["routingConfig"] = {"routingMode": "REGIONAL"}
    ranges = ipaddress.IPv4Network("10.128.0.0/9").subnets(new_prefix=20)
    for region, block in zip(catalog.ZONES, ranges, strict=False):
        subnetwork = store.add(
            f"regions/{region}/subnetworks/default",
            "subnetwork",
            {
                "network": network["selfLink"],
                "ipCidrRange": str(block),
                "gatewayAddress": str(block[1]),
                "privateIpGoogleAccess": private_google_access,
                "purpose": "PRIVATE",
                "stackType": "IPV4_ONLY",
                "fingerprint": links.fingerprint(private_google_access),
            },
        )
        network["subnetworks"].append(subnetwork["selfLink"])


class Network:
    """The methods of networks, subnetworks and firewalls."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store

    def routes(self) -> list[Route]:
        net, sub, wall = "compute.networks", "compute.subnetworks", "compute.firewalls"
        nets, subs, walls = "/{global}/networks", "/{regional}/subnetworks", "/{global}/firewalls"
        access = "setPrivateIpGoogleAccess"
        return [
            Route("GET", walls, f"{wall}.list", self.list_firewalls),
            Route("POST", walls, f"{wall}.insert", self.insert_firewall),
            Route("GET", walls + "/{name}", f"{wall}.get", self.get_firewall),
            Route("PATCH", walls + "/{name}", f"{wall}.patch", self.patch_firewall),
            Route("DELETE", walls + "/{name}", f"{wall}.delete", self.delete_firewall),
            Route("GET", nets, f"{net}.list", self.list_networks),
            Route("GET", nets + "/{name}", f"{net}.get", self.get_network),
            Route("GET", subs, f"{sub}.list", self.list_subnetworks),
            Route("GET", subs + "/{name}", f"{sub}.get", self.get_subnetwork),
            Route("GET", "/aggregated/subnetworks", f"{sub}.aggregatedList", self.all_subnetworks),
            Route("PATCH", subs + "/{name}", f"{sub}.patch", self.patch_subnetwork),
            Route("POST", f"{subs}/{{name}}/{access}", f"{sub}.{access}", self.set_access),
        ]

    # Firewalls

    def list_firewalls(self, call: Call) -> Resource:
        found = list(self._store.all("firewalls"))
        return listing(self._store, "firewall", "global/firewalls", found, call.params)

    def get_firewall(self, call: Call) -> Resource:
        return self._store.get(call.path("firewalls"))

    async def insert_firewall(self, call: Call) -> Resource:
        body = call.body
        name = links.check_name(body.get("name"))
        path = f"global/firewalls/{name}"
        network = self._store.get(
            self._store.path_of(body.get("network", "global/networks/default"))
        )
        self._core.access.check(
            call.caller,
            "compute.networks.updatePolicy",
            self._store.full("global/networks/default"),
        )
        direction = body.get("direction", "INGRESS")
        if not body.get("allowed") and not body.get("denied"):
            raise required("resource.allowed")
        for block in (*body.get("sourceRanges", ()), *body.get("destinationRanges", ())):
            _check_range(block)
        links.check_tags(body.get("targetTags", ()), "resource.targetTags")
        links.check_tags(body.get("sourceTags", ()), "resource.sourceTags")
        fields = {
            "network": network["selfLink"],
            "direction": direction,
            "priority": 1000,
            "disabled": False,
            "logConfig": {"enable": False},
        }
        made = {**fields, **body, "network": network["selfLink"]}
        if direction == "INGRESS" and not body.get("sourceRanges") and not body.get("sourceTags"):
            made["sourceRanges"] = ["0.0.0.0/0"]
        self._store.add(path, "firewall", made)
        return await self._done("insert", call, path)

    async def patch_firewall(self, call: Call) -> Resource:
        path = call.path("firewalls")
        firewall = self._store.get(path)
        for block in call.body.get("sourceRanges", ()):
            _check_range(block)
        firewall.update(merged(firewall, call.body))
        return await self._done("patch", call, path)

    async def delete_firewall(self, call: Call) -> Resource:
        path = call.path("firewalls")
        firewall = self._store.get(path)
        self._store.remove(path)
        return await self._done("delete", call, path, firewall["id"])

    async def _done(
        self, kind: str, call: Call, path: str, target_id: str | None = None
    ) -> Resource:
        """Answer a change that is made already."""

        async def work() -> None:
            """Nothing is left to be done."""

        return await self._core.operations.run(
            kind, path, work(), user=call.caller, params=call.params, target_id=target_id
        )

    # Networks and subnetworks

    def list_networks(self, call: Call) -> Resource:
        found = list(self._store.all("networks"))
        return listing(self._store, "network", "global/networks", found, call.params)

    def get_network(self, call: Call) -> Resource:
        return self._store.get(call.path("networks"))

    def list_subnetworks(self, call: Call) -> Resource:
        scope = self._store.check_scope(call.scope)
        found = list(self._store.all("subnetworks", scope))
        return listing(self._store, "subnetwork", f"{scope}/subnetworks", found, call.params)

    def all_subnetworks(self, call: Call) -> Resource:
        return aggregated(self._store, "subnetwork", "subnetworks", call.params)

    def get_subnetwork(self, call: Call) -> Resource:
        return self._store.get(call.path("subnetworks"))

    async def set_access(self, call: Call) -> Resource:
        path = call.path("subnetworks")
        self._set_access(path, bool(call.body.get("privateIpGoogleAccess")))
        return await self._done("setPrivateIpGoogleAccess", call, path)

    async def patch_subnetwork(self, call: Call) -> Resource:
        path = call.path("subnetworks")
        subnetwork = self._store.get(path)
        if not links.is_same(call.body.get("fingerprint"), subnetwork["fingerprint"]):
            raise stale("subnetwork")
        unknown = set(call.body) - {"fingerprint", "privateIpGoogleAccess"}
        if unknown:
            raise CloudError(400, "unsupported", f"This cloud cannot patch {sorted(unknown)}.")
        self._set_access(path, bool(call.body.get("privateIpGoogleAccess")))
        return await self._done("patch", call, path)

    def _set_access(self, path: str, is_on: bool) -> None:
        subnetwork = self._store.get(path)
        subnetwork["privateIpGoogleAccess"] = is_on
        subnetwork["fingerprint"] = links.fingerprint(is_on)


def _check_range(block: str) -> None:
    try:
        ipaddress.ip_network(block)
    except ValueError:
        raise invalid("resource.sourceRanges", block, "Must be a CIDR address range.") from None
