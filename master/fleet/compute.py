"""Compute Engine as a fleet's cloud, by Google's client.

The client's own waiting for operations asks the real service whatever endpoint was set, so the
calls here are the plain ones, and operations are waited for at the same endpoint. The client is
loaded at the first call: it takes more than a second, which a cluster without a fleet does not pay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from mrcore.cost.core.ledger import Machine
from mrcore.master.fleet.cloud import CloudError, CloudSnapshot, Target
from mrcore.master.fleet.core.model import Group, Member, Provisioning, ProvisioningError
from mrcore.util.clock import SYSTEM, Clock

TIMEOUT_SECONDS: Final = 30.0
"""Time limit of one request, and of its retries."""
OPERATION_SECONDS: Final = 60.0
"""An operation that takes longer goes on by itself: the next look shows what became of it."""
DELETE_MAX: Final = 500
"""Machines in one request; the service takes 1,000."""
_PAUSE_SECONDS: Final = 0.5
_LABEL: Final = "mrcore"
_ROLE_LABEL: Final = "mrcore-role"
_PAID: Final = ("PROVISIONING", "STAGING", "RUNNING", "REPAIRING")

T = TypeVar("T")


class ComputeCloud:
    """The groups and machines of one cluster; for one thread at a time."""

    def __init__(
        self,
        target: Target,
        *,
        endpoint: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Clock = SYSTEM,
    ) -> None:
        """`endpoint` is the root of the API, in place of MRCORE_COMPUTE_ENDPOINT and Google's."""
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._endpoint = endpoint or os.environ.get("MRCORE_COMPUTE_ENDPOINT", "")
        self._clock = clock
        self._clients: dict[str, Any] = {}
        self._urls: dict[str, str] = {}
        """URLs of the machines in groups, by name, as the cloud writes them."""
        self._types: dict[str, str] = {}
        """Machine type by template."""

    def close(self) -> None:
        """Close the connections; the next call makes new ones."""
        while self._clients:
            self._clients.popitem()[1].transport.close()

    # -- looking ---------------------------------------------------------------------------------

    def look(self) -> CloudSnapshot:
        """Return the groups and machines of the cluster as they stand."""
        instances = self._instances()
        alive = {instance.name: instance for instance in instances if instance.status in _PAID}
        groups = {}
        for model in Provisioning:
            group = self._group(model, alive)
            if group is not None:
                groups[model] = group
        return CloudSnapshot(groups, tuple(_machine(instance) for instance in alive.values()))

    def _instances(self) -> list[Any]:
        from google.cloud import compute_v1  # noqa: TID251 - this is the driver

        cluster = self._target.cluster
        request = compute_v1.AggregatedListInstancesRequest(
            project=self._target.project,
            filter=f"labels.{_LABEL}={cluster}",
        )
        client = self._client("InstancesClient")
        pages = self._checked(lambda: list(client.aggregated_list(request=request, **self._bounds)))
        found = [instance for _, scoped in pages for instance in scoped.instances]
        return [one for one in found if one.labels.get(_LABEL) == cluster]

    def _group(self, model: Provisioning, alive: dict[str, Any]) -> Group | None:
        """Return one group, or None where there is none."""
        client, where = self._managers(), self._where(model)
        found = self._unless_absent(lambda: client.get(**where, **self._bounds))
        if found is None:
            return None
        listed = self._checked(lambda: list(client.list_managed_instances(**where, **self._bounds)))
        errors = self._checked(lambda: list(client.list_errors(**where, **self._bounds)))
        self._urls |= {_last(one.instance): one.instance for one in listed}
        return Group(
            target_size=found.target_size,
            members=tuple(_member(one, alive) for one in listed),
            errors=tuple(_listed_error(error) for error in errors),
            machine_type=self._machine_type(found),
        )

    def _machine_type(self, group: Any) -> str:
        """Return the machine type that a group prefers; empty where it is not known."""
        selections = group.instance_flexibility_policy.instance_selections.values()
        ranked = sorted(selections, key=lambda selection: selection.rank)
        if ranked and ranked[0].machine_types:
            return str(ranked[0].machine_types[0])
        url = group.instance_template
        if url not in self._types:
            self._types[url] = self._template_type(url)
        return self._types[url]

    def _template_type(self, url: str) -> str:
        place: dict[str, str] = {}
        name = "InstanceTemplatesClient"
        if "/regions/" in url:
            name, place = "RegionInstanceTemplatesClient", {"region": url.split("/")[-3]}
        client, project = self._client(name), self._target.project
        template = self._unless_absent(
            lambda: client.get(
                project=project, instance_template=_last(url), **place, **self._bounds
            )
        )
        return "" if template is None else _last(template.properties.machine_type)

    # -- changing --------------------------------------------------------------------------------

    def grow(self, model: Provisioning, size: int) -> None:
        """Make a group as large as `size`."""
        client, where = self._managers(), self._where(model)
        self._operate(lambda: client.resize_unary(**where, size=size, **self._bounds))

    def delete(self, model: Provisioning, names: Sequence[str]) -> None:
        """Delete machines of a group, by the names that the last look has shown."""
        from google.cloud import compute_v1  # noqa: TID251 - this is the driver

        client, where = self._managers(), self._where(model)
        urls = [self._urls[name] for name in names if name in self._urls]
        kind, field = "InstanceGroupManagersDeleteInstancesRequest", "instance_group_managers"
        if self._target.regional:
            kind, field = f"Region{kind}", f"region_{field}"
        for first in range(0, len(urls), DELETE_MAX):
            body = getattr(compute_v1, kind)(
                instances=urls[first : first + DELETE_MAX],
                # A machine that has gone by itself must not keep the others.
                skip_instances_on_validation_error=True,
            )
            resource = {f"{field}_delete_instances_request_resource": body}

            def send(resource: dict[str, Any] = resource) -> Any:
                return client.delete_instances_unary(**where, **resource, **self._bounds)

            self._operate(send)

    def delete_group(self, model: Provisioning) -> None:
        """Delete a group and its machines; a group that is gone is fine."""
        client, where = self._managers(), self._where(model)
        try:
            self._operate(lambda: client.delete_unary(**where, **self._bounds))
        except CloudError as error:
            if not _not_ready(error):  # it is being deleted already
                raise

    def delete_parts(self) -> None:
        """Delete the templates and firewall rules; raise CloudError once all were tried."""
        errors = []
        for delete in [*self._template_deletions(), *self._firewall_deletions()]:
            try:
                self._unless_absent(delete)
            except CloudError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _template_deletions(self) -> Iterator[Callable[[], Any]]:
        """Yield a call for each template with the cluster's label, global or regional."""
        from google.cloud import compute_v1  # noqa: TID251 - this is the driver

        cluster, project = self._target.cluster, self._target.project
        client = self._client("InstanceTemplatesClient")
        request = compute_v1.AggregatedListInstanceTemplatesRequest(
            project=project, filter=f"properties.labels.{_LABEL}={cluster}"
        )
        pages = self._checked(lambda: list(client.aggregated_list(request=request, **self._bounds)))
        for scope, scoped in pages:
            kind, place = "InstanceTemplatesClient", {}
            if scope.startswith("regions/"):
                kind, place = "RegionInstanceTemplatesClient", {"region": _last(scope)}
            for template in scoped.instance_templates:
                if template.properties.labels.get(_LABEL) == cluster:
                    named = {"instance_template": template.name, "project": project, **place}
                    yield partial(self._client(kind).delete_unary, **named, **self._bounds)

    def _firewall_deletions(self) -> Iterator[Callable[[], Any]]:
        """Yield a call for each firewall rule: they have no labels, but names and a description."""
        client, project = self._client("FirewallsClient"), self._target.project
        for name in self._target.firewalls:
            named = {"firewall": name, "project": project}
            found = self._unless_absent(partial(client.get, **named, **self._bounds))
            if (
                found is not None
                and f"{_LABEL}={self._target.cluster}" in found.description.split()
            ):
                yield partial(client.delete_unary, **named, **self._bounds)

    def delete_machine(self, name: str, zone: str) -> None:
        """Delete a machine of no group, without waiting for it."""
        client, project = self._client("InstancesClient"), self._target.project
        self._unless_absent(
            lambda: client.delete_unary(project=project, zone=zone, instance=name, **self._bounds)
        )

    # -- plumbing --------------------------------------------------------------------------------

    def _managers(self) -> Any:
        kind = "RegionInstanceGroupManagersClient" if self._target.regional else None
        return self._client(kind or "InstanceGroupManagersClient")

    def _where(self, model: Provisioning) -> dict[str, str]:
        return {**self._place(), "instance_group_manager": self._target.group(model)}

    def _place(self) -> dict[str, str]:
        scope = "region" if self._target.regional else "zone"
        return {"project": self._target.project, scope: self._target.place}

    def _client(self, kind: str) -> Any:
        if kind not in self._clients:
            with _errors(self._target):
                self._clients[kind] = self._make_client(kind)
        return self._clients[kind]

    def _make_client(self, kind: str) -> Any:
        from google.auth import compute_engine
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import compute_v1  # noqa: TID251 - this is the driver

        settings: dict[str, Any] = {}
        if self._endpoint:
            settings["client_options"] = {"api_endpoint": self._endpoint.rstrip("/")}
        if os.environ.get("GCE_METADATA_HOST"):
            # With the metadata server named, the client need not find out whether this is a VM.
            settings["credentials"] = compute_engine.Credentials()  # type: ignore[no-untyped-call]
        elif self._endpoint.startswith("http://"):
            settings["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return getattr(compute_v1, kind)(**settings)

    @property
    def _bounds(self) -> dict[str, Any]:
        """Return what every call is given: every one of them may be repeated."""
        from google.api_core import exceptions, retry
        from requests.exceptions import ConnectionError as NoConnectionError

        transient = retry.if_exception_type(
            exceptions.ServerError, exceptions.TooManyRequests, NoConnectionError
        )
        again = retry.Retry(
            predicate=transient, initial=_PAUSE_SECONDS, maximum=8.0, timeout=self._timeout_seconds
        )
        return {"retry": again, "timeout": self._timeout_seconds}

    def _checked(self, call: Callable[[], T]) -> T:
        """Return what a call gives; raise CloudError for whatever goes wrong."""
        with _errors(self._target):
            return call()

    def _unless_absent(self, call: Callable[[], T]) -> T | None:
        """Return what a call gives, or None where its subject does not exist."""
        from google.api_core.exceptions import NotFound

        try:
            with _errors(self._target):
                return call()
        except CloudError as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise

    def _operate(self, call: Callable[[], Any]) -> None:
        """Start an operation and wait for its end, for a while; raise what it failed by.

        A subject that is gone is fine: only what exists is grown or deleted, and looked at again.
        """
        operation = self._unless_absent(call)
        client = self._client(f"{'Region' if self._target.regional else 'Zone'}OperationsClient")
        deadline = self._clock.monotonic() + OPERATION_SECONDS
        while operation is not None and operation.status.name != "DONE":
            if self._clock.monotonic() >= deadline:
                return
            self._clock.sleep(_PAUSE_SECONDS)
            named = {**self._place(), "operation": operation.name}

            def ask(named: dict[str, str] = named) -> Any:
                return client.get(**named, **self._bounds)

            operation = self._unless_absent(ask)
        if operation is not None and operation.error.errors:
            first = operation.error.errors[0]
            raise CloudError(f"Compute Engine refused: {first.message or first.code}.")


@contextmanager
def _errors(target: Target) -> Iterator[None]:
    """Turn errors of the client into a CloudError of one sentence."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except exceptions.Forbidden as error:
        raise CloudError(
            f"The master may not manage machines of {target.project} ({error.message}). Give its "
            "service account the role of the fleet."
        ) from error
    except exceptions.GoogleAPICallError as error:
        raise CloudError(f"Compute Engine refused ({error.message}).") from error
    except (exceptions.GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise CloudError(f"Compute Engine does not answer ({error}).") from error


def _not_ready(error: CloudError) -> bool:
    """Return whether the cloud is busy with the subject of a call."""
    refused = getattr(error.__cause__, "errors", None) or ()
    return any(isinstance(one, dict) and one.get("reason") == "resourceNotReady" for one in refused)


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _zone_of(url: str) -> str:
    """Return the zone in a machine's URL, `…/zones/ZONE/instances/NAME`."""
    parts = url.split("/")
    return parts[parts.index("zones") + 1] if "zones" in parts[:-1] else ""


def _moment(text: str) -> float:
    """Return wall seconds of a time as the API writes it; 0 where it writes none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _member(one: Any, alive: dict[str, Any]) -> Member:
    name, zone = _last(one.instance), _zone_of(one.instance)
    instance = alive.get(name)
    return Member(
        name=name,
        zone=zone,
        action=one.current_action or "NONE",
        exists=instance is not None,
        created_seconds=0.0 if instance is None else _moment(instance.creation_timestamp),
        errors=tuple(
            ProvisioningError(code=error.code, message=error.message, zone=zone)
            for error in one.last_attempt.errors.errors
        ),
    )


def _listed_error(item: Any) -> ProvisioningError:
    return ProvisioningError(
        code=item.error.code,
        message=item.error.message,
        at_seconds=_moment(item.timestamp),
        zone=_zone_of(item.instance_action_details.instance),
    )


def _machine(instance: Any) -> Machine:
    scheduling = instance.scheduling
    return Machine(
        name=instance.name,
        zone=_last(instance.zone),
        machine_type=_last(instance.machine_type),
        spot=scheduling.provisioning_model == "SPOT" or scheduling.preemptible,
        master=instance.labels.get(_ROLE_LABEL) == "master",
        created_seconds=_moment(instance.creation_timestamp),
        disk_gib=float(sum(disk.disk_size_gb for disk in instance.disks)),
    )
