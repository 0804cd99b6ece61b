"""`mrcore gce preflight`: what would go wrong, before anything is made."""

from __future__ import annotations

import msgspec

from mrcore.gce import preflight as checks
from mrcore.gce.console import show, show_json
from mrcore.gce.findings import errors_of
from mrcore.gce.job import Job
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner

_MARKS = {"ok": "ok     ", "warn": "warn   ", "error": "WRONG  "}


def preflight(options: Options, job: Job | None = None) -> int:
    """Show all findings; return 0 if it would work, and 2 if something has to be put right."""
    runner = Runner("preflight", options)
    runner.settle_place()
    runner.name = options.name or "preflight"
    runner.settle_home()
    runner.need_home("which bucket? Give --bucket, or -o gs://BUCKET/OUT.")
    checks.check_options(runner)
    runner.uses = checks.uses_of_options(runner)
    if runner.plan is not None:
        runner.note("A preflight reads only.")
        runner.plan.show()
        return 0
    findings, _ = checks.collect_findings(runner, job)
    if options.as_json:
        show_json([msgspec.to_builtins(finding) for finding in findings])
    else:
        for finding in findings:
            show(f"{_MARKS[finding.kind]}{finding.message}")
    return 2 if errors_of(findings) else 0
