"""Price of a job, or of an hour of a cluster, before it is made."""

from __future__ import annotations

from mrcore.cost.core.estimate import Estimate, Plan, estimate
from mrcore.cost.prices import load_prices
from mrcore.cost.text import estimate_brief, estimate_text
from mrcore.errors import MrcoreError
from mrcore.gce.job import JobFacts
from mrcore.gce.runner import Runner


def price_of_job(runner: Runner, facts: JobFacts) -> list[str]:
    """Return lines on the cost of a job; without a price where its input could not be read."""
    if facts.input_bytes is None:
        return ["cost      unknown, since the input could not be read"]
    return estimate_text(_estimate(runner, facts)).splitlines()


def price_of_job_briefly(runner: Runner, facts: JobFacts) -> str:
    """Return one sentence on the cost of a job; nothing where it cannot be said."""
    if facts.input_bytes is None:
        return ""
    try:
        return estimate_brief(_estimate(runner, facts), len(facts.files))
    except MrcoreError:  # the job can run without it
        return ""


def price_of_hour(runner: Runner) -> list[str]:
    """Return lines on the cost of an hour of work."""
    found = _estimate(runner, JobFacts(input_bytes=0), hours=1.0)
    return estimate_text(found, with_input=False).splitlines()


def _estimate(runner: Runner, facts: JobFacts, hours: float | None = None) -> Estimate:
    options = runner.options
    plan = Plan(
        # A group that is empty at first is grown for the work.
        workers=options.wanted_workers or options.most_workers,
        machine_types=options.all_machine_types,
        spot=not options.on_demand,
        region=runner.wanted_region,
        input_bytes=facts.input_bytes or 0,
        input_files=len(facts.files),
        files=facts.files,
        map_tasks=facts.map_tasks,
        total_order=facts.total_order,
        cpus=facts.cpus,
        reduces=facts.reduces,
        stages=facts.stages,
        hours=hours,
        master_type=options.master_type,
        masters=options.wanted_masters,
        disk_gib=float(options.disk),
    )
    return estimate(plan, load_prices())
