"""Service accounts of a cluster, their roles, and their rights until the cluster expires."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from mrcore.deploy.payload import HERE as DEPLOY
from mrcore.gce import iam
from mrcore.gce import record as records
from mrcore.gce.console import say
from mrcore.gce.failures import GcloudError, Kind, StepsFailedError
from mrcore.gce.iam import Binding
from mrcore.gce.machines import account_email
from mrcore.gce.options import CONDITION_SEPARATOR, bucket_of
from mrcore.gce.record import Record
from mrcore.gce.runner import Runner

ROLES: Final = (iam.FLEET, iam.AGENT, iam.READER, iam.CREATOR, iam.WRITER)
DAEMONS: Final = ("master", "worker")


def make_accounts(runner: Runner) -> None:
    """Make what a project has once: accounts and roles. They are there where machines are."""
    if not runner.cluster().manage_iam or runner.master_is_there():
        return
    runner.crew.together(
        partial(_make_missing_accounts, runner),
        *(partial(make_role, runner, role) for role in ROLES),
    )


def _make_missing_accounts(runner: Runner) -> None:
    found = runner.gcloud.read(
        "Listing the service accounts",
        *("iam", "service-accounts", "list", "--format=json(email)"),
    )
    there = {account["email"] for account in found or ()}
    missing = [one for one in DAEMONS if account_email(one, runner.project) not in there]
    runner.crew.together(*(partial(_make_account, runner, daemon) for daemon in missing))


def _make_account(runner: Runner, daemon: str) -> None:
    runner.gcloud.make(
        f"Making the account mrcore-{daemon}",
        *("iam", "service-accounts", "create", f"mrcore-{daemon}"),
        f"--display-name=mrcore {daemon}",
    )


def make_role(runner: Runner, role: str) -> None:
    """Make a role, or bring it to what its file says. A deleted one keeps its name for weeks."""
    gcloud, file = runner.gcloud, DEPLOY / "iam" / f"{role}.yaml"
    found = None
    try:
        found = gcloud.read(
            f"Looking at the role {role}",
            *("iam", "roles", "describe", role, "--format=json(deleted,includedPermissions)"),
        )
    except GcloudError as error:
        if error.kind is not Kind.NOT_FOUND:
            raise
    if found is None:
        gcloud.make(f"Making the role {role}", "iam", "roles", "create", role, f"--file={file}")
        return
    if found.get("deleted"):
        gcloud.change(f"Restoring the role {role}", "iam", "roles", "undelete", role)
    if sorted(found.get("includedPermissions") or ()) != role_permissions(role):
        gcloud.change(f"Changing the role {role}", "iam", "roles", "update", role, f"--file={file}")


def role_permissions(role: str) -> list[str]:
    """Return the permissions that the file of a role lists, in order."""
    lines = (DEPLOY / "iam" / f"{role}.yaml").read_text(encoding="utf-8").splitlines()
    items = (line.strip() for line in lines)
    return sorted(item[1:].strip() for item in items if item.startswith("-"))


def bind_accounts(runner: Runner) -> None:
    """Let the accounts do what this cluster needs, in the project and on buckets.

    Another runner may add to the record meanwhile. So the policies are read before the record:
    whatever is there but not wanted has been replaced by something wider, which is made first.
    """
    record = runner.cluster()
    if not record.manage_iam:
        return
    present = list_bindings(runner, record)
    if not runner.dry:
        record = records.change_record(runner.home)
    wanted = list(iam.bindings_of(record))
    resources = sorted({binding.resource for binding in (*wanted, *present)})
    runner.crew.together(
        *(partial(_bind_in, runner, resource, wanted, present) for resource in resources)
    )


def _bind_in(runner: Runner, resource: str, wanted: list[Binding], present: list[Binding]) -> None:
    """Bring one policy to what is wanted. It is replaced whole, so changes come one by one."""
    for binding in wanted:
        if binding.resource != resource or binding in present:
            continue
        try:
            _change_policy(
                runner,
                f"Letting {binding.member} use {resource}",
                "add-iam-policy-binding",
                binding,
            )
        except GcloudError as error:
            if not resource.startswith("gs://") or resource == bucket_of(runner.home):
                raise
            say(str(error))
            say(
                f"you may not grant access to {resource}. The VMs can use it as far as its owner "
                "allows."
            )
    remove_bindings(runner, (one for one in present if one not in wanted), resource)


def remove_bindings(runner: Runner, bindings: Iterable[Binding], start: str) -> None:
    """Remove bindings on resources whose name begins so; one that is not there is fine."""
    for binding in bindings:
        if not binding.resource.startswith(start):
            continue
        try:
            _change_policy(
                runner,
                f"Taking {binding.role} on {binding.resource} from {binding.member}",
                *("remove-iam-policy-binding", binding),
            )
        except GcloudError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise


def _change_policy(runner: Runner, what: str, verb: str, binding: Binding) -> None:
    of = ("storage", "buckets") if binding.resource.startswith("gs://") else ("projects",)
    arguments = (
        *(*of, verb, binding.resource.removeprefix("projects/")),
        *(f"--member={binding.member}", f"--role={binding.role}"),
        f"--condition={_condition(binding)}",
    )
    runner.gcloud.patiently(lambda: runner.gcloud.change(what, *arguments))


def _condition(binding: Binding) -> str:
    """Return a condition as gcloud reads it, with a separator that no field has."""
    fields = {"title": binding.title, "expression": binding.expression}
    if binding.description:
        fields["description"] = binding.description
    pairs = (f"{key}={value}" for key, value in fields.items())
    return f"^{CONDITION_SEPARATOR}^{CONDITION_SEPARATOR.join(pairs)}"


def list_bindings(runner: Runner, record: Record | None) -> list[Binding]:
    """Return the bindings that the cluster has.

    Those on buckets of others may be hidden from us. Its own bucket has to be seen, and the project
    where the cluster has a record.
    """
    own = [bucket_of(runner.home)] if runner.home else []
    project = f"projects/{runner.project}"
    found: list[Binding] = []
    for resource in (*own, *_other_buckets(record, own), project):
        try:
            policy = _policy(runner, resource)
        except GcloudError as error:
            say(str(error))
            if resource in own or (record is not None and resource == project):
                raise StepsFailedError(str(error)) from error
            continue
        found += iam.bindings_in(policy, resource, runner.name)
    return found


def _policy(runner: Runner, resource: str) -> Any:
    if not resource.startswith("gs://"):
        return runner.inventory.policy_of_project()
    return runner.gcloud.read(
        f"Reading the policy of {resource}",
        *("storage", "buckets", "get-iam-policy", resource, "--format=json"),
    )


def _other_buckets(record: Record | None, own: list[str]) -> list[str]:
    """Return the buckets besides its own that a cluster reads or writes."""
    if record is None:
        return []
    uris = (*record.inputs, *record.outputs, *record.temps)
    return sorted({bucket_of(uri) for uri in uris} - set(own))
