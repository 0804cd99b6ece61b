"""`mrcore gce cost`: what a cluster has cost so far, by what its master has counted."""

from __future__ import annotations

from mrcore.cost.report import read_books, report_json, report_text
from mrcore.gce import leave
from mrcore.gce.console import show, show_json
from mrcore.gce.options import Options
from mrcore.gce.runner import Runner


def cost(options: Options, word: str = "") -> int:
    """Show useful work, boot, idle time, work lost to preemption, and storage operations."""
    runner = Runner("cost", options)
    runner.settle_place()
    runner.settle_name(word)
    runner.settle_home()
    runner.need_home(
        f"where is the home of {runner.name}? Give --bucket, since no VM is there to tell."
    )
    if runner.plan is not None:
        runner.note(f"Reads {runner.home}/state; no gcloud command.")
        runner.plan.show()
        return 0
    books = runner.crew.do(lambda: read_books(leave.state_uri(runner.home)))
    if options.as_json:
        show_json(report_json(books))
    else:
        show(report_text(books))
    return 0
