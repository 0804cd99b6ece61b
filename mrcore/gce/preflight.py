"""Run of all checks before anything is made, and their result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from mrcore.cost.prices import load_prices
from mrcore.errors import MrcoreError, UsageError
from mrcore.gce import permissions, quota, wheelhouse
from mrcore.gce.checks import ALL_CHECKS, CHECKS_OF_JOB, Check, Looks, check_versions
from mrcore.gce.console import say
from mrcore.gce.failures import StepsFailedError
from mrcore.gce.findings import Finding, errors_of, sort_out
from mrcore.gce.inventory import first_of_each_cause
from mrcore.gce.job import Job, JobFacts, look_at_job
from mrcore.gce.machines import account_email
from mrcore.gce.options import bucket_of
from mrcore.gce.runner import Runner, Uses

WITHOUT_WORKERS: Final = ("image",)
"""Commands whose cluster has none."""


def check_options(runner: Runner) -> None:
    """Raise UsageError for options that cannot be, where place and home are known."""
    options = runner.options
    if not options.most_workers and runner.command not in WITHOUT_WORKERS:
        raise UsageError(
            "a cluster without workers runs no job. Give --workers N or --max-workers N."
        )
    if not runner.where:
        raise UsageError(
            "the place of the VMs is not known. Give --zone or --region, or run: gcloud config set "
            "compute/zone ZONE"
        )
    if f"{options.wheels.removesuffix('/')}/".startswith(f"{runner.home}/"):
        raise UsageError(
            f"--wheels {options.wheels} lies in the cluster's home, and would be deleted with "
            "it. Name another folder."
        )
    if options.requirements:
        wheelhouse.check_requirements(Path(options.requirements))
    # Here, since the master on its VM could not start with a list that cannot be read.
    if os.environ.get("MRCORE_PRICES"):
        load_prices()


def uses_of_options(runner: Runner) -> Uses:
    """Return the prefixes that `--input` and `--output` open for jobs."""
    options = runner.options
    outputs = (f"{options.output.removesuffix('/')}/",) if options.output else ()
    return Uses(inputs=(options.input,) if options.input else (), outputs=outputs)


def uses_of_job(facts: JobFacts, runner: Runner) -> Uses:
    """Return the prefixes that a job reads and writes, and the one that `--input` names."""
    own = (runner.options.input,) if runner.options.input else ()
    return Uses(inputs=(*facts.inputs, *own), outputs=facts.written, temps=facts.temporaries)


def check_before(runner: Runner, job: Job | None = None) -> JobFacts | None:
    """Run all checks; return what was found out about the job.

    Reports what was found. Raises StepsFailedError if something is wrong.
    """
    check_options(runner)
    if not runner.dry:
        say(f"checking project {runner.project} and {runner.where} …")
    findings, facts = collect_findings(runner, job)
    for finding in findings:
        if finding.kind == "error":
            say(finding.message)
        elif finding.kind == "warn":
            say(f"warning: {finding.message}")
    if errors_of(findings):
        raise StepsFailedError("something has to be put right first")
    return facts


def collect_findings(
    runner: Runner, job: Job | None = None
) -> tuple[list[Finding], JobFacts | None]:
    """Return what is wrong and what is well, and the facts of the job.

    What the cloud has of the cluster is looked up meanwhile. A dry run asks the cloud nothing, and
    looks at the job alone.
    """
    looks, jobs = Looks(runner), list[JobFacts]()
    checks = dict[str, Callable[[], Iterator[Finding]]]()
    if job is not None:
        checks["job"] = lambda: _check_job(runner, job, jobs)
    for check in _checks_of(runner):
        checks[check.__name__] = _bound(check, looks)
    found = _run_checks(runner, checks)
    if runner.dry:
        # The other checks have put into the plan what they read; there is nothing to judge.
        return sort_out(found.get("job", ())), jobs[0] if jobs else None
    facts = jobs[0] if jobs else None
    judged = [*judge_quotas(looks), *runner.crew.do(lambda: judge_buckets(looks, facts))]
    return sort_out([*(one for some in found.values() for one in some), *judged]), facts


def _checks_of(runner: Runner) -> tuple[Check, ...]:
    if runner.dry:
        return ALL_CHECKS
    is_there = runner.command == "run" and runner.master_runs()
    return (check_versions, *(CHECKS_OF_JOB if is_there else ALL_CHECKS))


def _bound(check: Check, looks: Looks) -> Callable[[], Iterator[Finding]]:
    return lambda: check(looks)


def _run_checks(
    runner: Runner, checks: dict[str, Callable[[], Iterator[Finding]]]
) -> dict[str, list[Finding]]:
    """Run checks, and look what there is of the cluster, at the same time."""
    found: dict[str, list[Finding]] = {name: [] for name in checks}
    failures: list[str] = []

    def judged(name: str) -> Callable[[], None]:
        def run() -> None:
            try:
                found[name].extend(checks[name]())
            except MrcoreError as error:  # a check that cannot ask has found an error, too
                found[name].append(Finding("error", str(error)))

        return run

    def listed(listing: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                listing()
            except MrcoreError as error:
                failures.append(str(error))

        return run

    inventory = runner.inventory
    listings = []
    if not runner.dry and not inventory.is_known(runner.name):
        listings = inventory.listings(runner.name)
    runner.crew.together(*map(listed, listings), *map(judged, checks))
    if failures:
        found["listings"] = [Finding("error", text) for text in first_of_each_cause(failures)]
    elif listings:
        inventory.read_listings(runner.name)
    return found


def _check_job(runner: Runner, job: Job, jobs: list[JobFacts]) -> Iterator[Finding]:
    facts = look_at_job(job.request, runner.home)
    jobs.append(facts)
    for sentence in facts.errors:
        yield Finding("error", sentence)
    if not facts.errors:
        yield Finding("ok", "the job")


def judge_quotas(looks: Looks) -> list[Finding]:
    """Return whether the quotas leave room for what is to come; what is there is in use already."""
    options, inventory = looks.options, looks.runner.inventory
    types = options.first_machine_type, options.master_type
    if not looks.quotas or not looks.quotas_of_project or not all(t in looks.cpus for t in types):
        return []
    rows = inventory.of("instance")
    there = sum(row.role == "worker" for row in rows)
    demand = quota.Demand(
        workers=max(options.wanted_workers - there, 0),
        most=max(options.most_workers - there, 0),
        masters=max(options.wanted_masters - sum(row.role == "master" for row in rows), 0),
        worker_type=types[0],
        worker_cpus=looks.cpus[types[0]],
        master_type=types[1],
        master_cpus=looks.cpus[types[1]],
        spot=not options.on_demand,
        disk_gib=options.disk,
    )
    found = quota.findings(
        demand, looks.runner.wanted_region, looks.quotas, looks.quotas_of_project
    )
    return [Finding(kind, sentence) for kind, sentence in found]


def judge_buckets(looks: Looks, facts: JobFacts | None) -> list[Finding]:
    """Return which buckets of others are closed to the VMs, and cannot be opened by this person."""
    runner, options = looks.runner, looks.options
    # Who has accounts of their own sees to what these may do.
    if options.service_account_worker or not looks.token:
        return []
    uses = runner.uses if facts is None else uses_of_job(facts, runner)
    known = {bucket_of(runner.home), *options.shared_buckets}
    wanted = [(uri, False) for uri in uses.inputs]
    wanted += [(uri, True) for uri in (*uses.outputs, *uses.temps)]
    asked = dict.fromkeys(
        (bucket_of(uri), writes)
        for uri, writes in wanted
        if uri.startswith("gs://") and bucket_of(uri) not in known
    )
    account = account_email("worker", runner.project)
    found = []
    for bucket, writes in asked:
        try:
            why = permissions.closed(bucket, looks.token, account, writes=writes)
        except MrcoreError as error:  # nobody knows; the VMs will see
            say(str(error))
            continue
        if why is not None:
            found.append(Finding("error", why))
    return found
