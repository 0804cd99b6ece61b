"""`python -m mrcore.gce COMMAND`: what the runner's scripts ask of Python; people use `mrcore gce`.

Answers are lines for a shell to read, on stdout. What is wrong is a sentence on stderr, with the
exit codes of `mrcore`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mrcore.errors import ClusterUnreachableError, MrcoreError, StorageError, UsageError
from mrcore.util.clock import SYSTEM

ABSENT_EXIT: Final = 4
"""There is no such record."""
_PAUSE_SECONDS: Final = 1.0


def main() -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args()
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except MrcoreError as error:
        if os.environ.get("MRCORE_DEBUG"):
            raise
        sys.stderr.write(f"mrcore gce: {error}\n")
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mrcore.gce", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, body: Callable[[argparse.Namespace], int], *options: str) -> None:
        command = commands.add_parser(name)
        command.set_defaults(command=body)
        for option in options:
            required = option.endswith("!")
            command.add_argument(option.rstrip("!"), required=required, default="")
        command.add_argument("rest", nargs="*")

    add("open", _open, "--given")
    add("show", _show, "--home!")
    add("set", _set, "--home!")
    add(
        "wheels",
        _wheels,
        "--home!",
        "--machine-type!",
        "--python!",
        "--requirements",
        "--list!",
        "--store",
    )
    add("put", _put)
    add("get", _get)
    add("plan", _plan)
    add("bindings", _bindings)
    add("bindings-in", _bindings_in, "--resource!", "--name!")
    add("clusters-in", _clusters_in)
    add("homes", _homes, "--project!")
    add("bucket", _bucket, "--bucket!", "--region!", "--iam", "--cross-region")
    add("permissions", _permissions, "--project!", "--bucket!", "--for")
    add("shared", _shared, "--account!")
    add("quota", _quota, "--region!", "--quotas!", "--quotas-of-project!")
    add("await", _await, "--home!", "--master", "--seconds!")
    add("others", _others, "--home!", "--master", "--output!")
    add("clear", _clear, "--home!")
    add("logs", _logs, "--home!", "--vm", "--save")
    add("seconds", _seconds)
    add("prices", _prices)
    return parser


def _pairs(options: argparse.Namespace) -> dict[str, str]:
    pairs = (text.partition("=") for text in options.rest)
    return {key: value for key, _, value in pairs}


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _open(options: argparse.Namespace) -> int:
    """Make or complete a record from FIELD=VALUE; print what then holds."""
    from mrcore.gce import record

    given = frozenset(options.given.split())
    _say(*record.to_lines(record.open_record(record.from_fields(_pairs(options)), given)))
    return 0


def _plan(options: argparse.Namespace) -> int:
    """Print the record that FIELD=VALUE would make where there is none."""
    from mrcore.gce import record

    _say(*record.to_lines(record.from_fields(_pairs(options))))
    return 0


def _show(options: argparse.Namespace) -> int:
    from mrcore.gce import record

    found = record.read_record(options.home)
    if found is None:
        return ABSENT_EXIT
    _say(*record.to_lines(found))
    return 0


def _set(options: argparse.Namespace) -> int:
    """Change fields of a record that is there."""
    from mrcore.gce import record

    changes = _pairs(options)

    def change(found: record.Record | None) -> record.Record:
        if found is None:
            raise UsageError(f"No cluster has its home at {options.home}. See `mrcore gce audit`.")
        fields = dict(line.partition("=")[::2] for line in record.to_lines(found))
        return record.from_fields({**fields, **changes})

    _say(*record.to_lines(record.update_record(options.home, change)))
    return 0


def _wheels(options: argparse.Namespace) -> int:
    """Collect the wheels, upload those that are missing, write the list of them."""
    from mrcore.gce import wheelhouse
    from mrcore.util.units import show_size

    named = Path(options.requirements) if options.requirements else None
    requirements = named and wheelhouse.check_requirements(named)
    target = wheelhouse.Target(options.python, wheelhouse.machine_of(options.machine_type))
    with tempfile.TemporaryDirectory(prefix="mrcore-wheels-") as folder:
        wheels = wheelhouse.resolve(Path(folder), target, requirements)
        sent = wheelhouse.publish(wheels, options.home, options.store.rstrip("/") or None)
        Path(options.list).write_text(wheelhouse.manifest_of(wheels), encoding="utf-8")
        total = sum(path.stat().st_size for path in wheels)
    _say(f"{len(wheels)} wheels, {show_size(total)}, of which {show_size(sent)} uploaded")
    return 0


def _put(options: argparse.Namespace) -> int:
    """Upload FILE as URI, which is named by its content."""
    from mrcore.gce.wheelhouse import upload

    path, uri = options.rest
    upload(Path(path), uri)
    return 0


def _get(options: argparse.Namespace) -> int:
    """Copy the object URI to FILE."""
    from mrcore.storage.registry import storage_for

    uri, path = options.rest
    Path(path).write_bytes(storage_for(uri).read(uri))
    return 0


def _bindings(options: argparse.Namespace) -> int:
    """Print what the accounts of the cluster with these fields need."""
    from mrcore.gce import iam, record

    _say(*iam.to_lines(iam.bindings_of(record.from_fields(_pairs(options)))))
    return 0


def _bindings_in(options: argparse.Namespace) -> int:
    """Print the bindings of a cluster in the policy on stdin."""
    from mrcore.gce import iam

    _say(*iam.to_lines(iam.bindings_in(sys.stdin.read(), options.resource, options.name)))
    return 0


def _clusters_in(options: argparse.Namespace) -> int:
    """Print home, expiry, owner and name of the clusters that the policy on stdin knows of."""
    from mrcore.gce import iam

    for name, facts in iam.clusters_in(sys.stdin.read()):
        told = (facts.get(f"mrcore-{key}", "") for key in ("home", "expires", "owner"))
        _say("|".join((*told, name)))
    return 0


def _homes(options: argparse.Namespace) -> int:
    """Print home, expiry, owner and name of what is left in buckets, or in homes that are named."""
    from mrcore.gce import leave

    for place in options.rest:
        try:
            found = list(leave.homes_in([place], options.project))
        except StorageError as error:
            if "/" not in place.removeprefix("gs://"):
                raise
            # Bindings tell of homes in buckets that may be somebody else's.
            sys.stderr.write(f"mrcore gce: mind: {error}\n")
            continue
        _say(*("|".join((home.uri, home.expires, home.owner, home.cluster)) for home in found))
    return 0


def _bucket(options: argparse.Namespace) -> int:
    """Judge the bucket that gcloud describes on stdin."""
    from mrcore.gce.bucket import findings

    found = findings(
        json.load(sys.stdin),
        options.bucket,
        options.region,
        conditions=bool(options.iam),
        cross_region=bool(options.cross_region),
    )
    _say(*(f"{kind}|{sentence}" for kind, sentence in found))
    return 0


def _quota(options: argparse.Namespace) -> int:
    """Judge the quotas that gcloud describes in two files."""
    import msgspec

    from mrcore.gce import quota

    fields: dict[str, object] = {**_pairs(options)}
    fields["spot"] = fields["spot"] == "yes"
    wish = msgspec.convert(fields, quota.Wish, strict=False)
    here, everywhere = (
        json.loads(Path(path).read_bytes()) for path in (options.quotas, options.quotas_of_project)
    )
    found = quota.findings(wish, options.region, here, everywhere)
    _say(*(f"{kind}|{sentence}" for kind, sentence in found))
    return 0


def _permissions(options: argparse.Namespace) -> int:
    """Print the permissions that are missing; the token comes from the environment."""
    from mrcore.gce import permissions

    uses = options.__dict__["for"].split()
    wanted = list(permissions.NEEDED)
    if "iam" in uses:
        wanted += permissions.NEEDED_FOR_IAM
    if "iap" in uses:
        wanted += permissions.NEEDED_FOR_TUNNEL
    token = os.environ["MRCORE_GCE_TOKEN"]
    _say(*permissions.missing(options.project, token, wanted))
    objects = list(permissions.NEEDED_ON_BUCKET)
    if "iam" in uses:
        objects += permissions.NEEDED_ON_BUCKET_FOR_IAM
    lacking = permissions.missing_on_bucket(options.bucket, token, objects)
    _say(*(f"{permission} on {options.bucket}" for permission in lacking))
    return 0


def _shared(options: argparse.Namespace) -> int:
    """Judge buckets of others, given as `reads=URI` and `writes=URI`; the token is as above."""
    from mrcore.gce import permissions

    token = os.environ["MRCORE_GCE_TOKEN"]
    for how, _, bucket in (text.partition("=") for text in options.rest):
        why = permissions.closed(bucket, token, options.account, writes=how == "writes")
        if why is not None:
            _say(f"error|{why}")
    return 0


def _await(options: argparse.Namespace) -> int:
    """Wait until the cluster's master answers a call; print how many workers it has."""
    from mrcore.client.client import Client
    from mrcore.gce.leave import state_uri
    from mrcore.rpc.credentials import find_credentials

    end = SYSTEM.monotonic() + float(options.seconds)
    while True:
        try:
            found = find_credentials(
                options.master or None, state_uri(options.home), reach_seconds=_PAUSE_SECONDS
            )
            with Client(found) as client:
                _say(str(len(client.workers())))
            return 0
        except ClusterUnreachableError:
            if SYSTEM.monotonic() > end:
                raise
        SYSTEM.sleep(_PAUSE_SECONDS)


def _others(options: argparse.Namespace) -> int:
    """Print the jobs in progress that write elsewhere; nothing where no master answers."""
    from mrcore.client.client import Client
    from mrcore.gce.leave import state_uri
    from mrcore.model import object_names
    from mrcore.rpc.credentials import find_credentials

    try:
        found = find_credentials(
            options.master or None, state_uri(options.home), reach_seconds=_PAUSE_SECONDS
        )
        with Client(found) as client:
            jobs = [job for job in client.list() if not job.state.final]
    except MrcoreError as error:
        sys.stderr.write(f"mrcore gce: {error}\n")
        return 0
    _say(*(job.job_id for job in jobs if object_names.shown(job.output_uri) != options.output))
    return 0


def _clear(options: argparse.Namespace) -> int:
    """Delete all that a cluster whose machines are gone has left in buckets."""
    from mrcore.gce import leave, record

    try:
        found = record.read_record(options.home)
    except UsageError:  # of another version: its objects go all the same
        found = None
    cleared = 0 if found is None else leave.clear_outputs(found)
    _say(f"{cleared + leave.remove_home(options.home)} objects removed")
    return 0


def _logs(options: argparse.Namespace) -> int:
    """Print the logs of a VM, save all logs to a folder, or list the VMs that have some."""
    from mrcore.gce import leave

    if options.save:
        _say(str(leave.save_logs(options.home, Path(options.save))))
        return 0
    prefix = f"{options.home}/logs/"
    infos = [info for info in leave.logs_of(options.home) if info.uri.startswith(prefix)]
    if not options.vm:
        _say(*sorted({info.uri[len(prefix) :].partition("/")[0] for info in infos}))
        return 0
    own = [info for info in infos if info.uri.startswith(f"{prefix}{options.vm}/")]
    for info in own:
        _say(f"==> {info.uri}")
        sys.stdout.buffer.write(leave.read_tail(info, leave.MAX_LOG_BYTES))
        sys.stdout.buffer.flush()
    return 0 if own else ABSENT_EXIT


def _prices(options: argparse.Namespace) -> int:
    """Tell whether a price list can be used."""
    from mrcore.cost.prices import load_prices

    load_prices(options.rest[0])
    return 0


def _seconds(options: argparse.Namespace) -> int:
    """Print a duration such as `2h` in whole seconds."""
    from mrcore.util.units import parse_duration

    try:
        _say(str(round(parse_duration(options.rest[0]))))
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
