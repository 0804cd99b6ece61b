"""`mrcore resume`: go on with a job that failed or was cancelled."""

from __future__ import annotations

from typing import Any

import click

from mrcore.cli import base, job_options, outcome, places, progress
from mrcore.cli.run import hints, note_ignored, waiting
from mrcore.client.resuming import Asked, ask
from mrcore.engine import api, resumption
from mrcore.errors import UsageError
from mrcore.model.snapshots import JobView


@base.command()
@click.argument("job_id", type=base.JOB, metavar="JOB")
@click.option("--plugin", metavar="PLUGIN", type=base.FILE, help="Mended code for the rest.")
@click.option(
    "--files",
    "files",
    type=base.FILE,
    multiple=True,
    metavar="F",
    help="Side file for the code of --plugin. Repeatable.",
)
@click.option(
    "--keep-results",
    "keep_results",
    multiple=True,
    metavar="STAGE",
    help="Keep what the former code made in this stage, e.g. map, or all. Repeatable.",
)
@job_options.resumed_options
@base.workers_option
@base.slots_option
@base.cluster_options
@base.json_option
def command(**options: Any) -> int:
    """Go on with a job that failed or was cancelled, and wait for it.

    \b
      mrcore resume wc-20261121-022301-k3f9qz
      mrcore resume wc-20261121-022301-k3f9qz --plugin mended.py --keep-results map

    It goes on as a new job on the same output. With the same code it keeps every accepted result
    that is still there. With --plugin it keeps those of the stages that --keep-results names: only
    you know whether the former code was right there. Without --master and --state, an embedded run
    on this machine goes on. Ctrl-C and exit codes are as for `mrcore run`.
    """
    if options["files"] and options["plugin"] is None:
        raise UsageError("--files goes with the code of --plugin. Add it, or leave out --files.")
    asked = ask(
        options["job_id"],
        plugin=options["plugin"],
        files=options["files"],
        keep_results=options["keep_results"],
        cwd=base.here(),
        **job_options.take_changes(options),
    )
    as_json = options["as_json"]
    shown = progress.make_progress()
    with waiting(shown, None, as_json=as_json):
        job = _resume(asked, options, shown)
    return outcome.tell(job, as_json=as_json, hints=hints(job, options))


def _resume(
    asked: Asked,
    options: dict[str, Any],
    shown: progress.PlainProgress | progress.LiveProgress,
) -> JobView:
    named = (options["master"], options["state"], options["credentials"])
    if places.names_cluster(*named):
        note_ignored(options, shown)
        return resumption.resume_on_cluster(
            asked, places.cluster(*named), find=api.finder(*named), observer=shown
        )
    return resumption.resume_embedded(
        places.find_run(asked.wanted.job_id),
        asked,
        workers=options["workers"],
        slots=options["slots"] or 1,
        cwd=base.here(),
        observer=shown,
    )
