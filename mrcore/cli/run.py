"""`mrcore run`: run a job and wait for it."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from mrcore.cli import base, job_options, outcome, progress
from mrcore.client.request import JobRequest
from mrcore.engine import api
from mrcore.engine.local_run import run_embedded
from mrcore.errors import MrcoreError
from mrcore.model.master import MAX_MASTERS
from mrcore.model.skipping import is_about_allowance
from mrcore.model.snapshots import JobView, broken_json
from mrcore.util.signals import not_ignored


@base.command()
@job_options.job_options
@base.workers_option
@click.option(
    "--masters",
    type=click.IntRange(1, MAX_MASTERS),
    metavar="N",
    help="Number of embedded masters: one leads, the others stand by.  [1]",
)
@base.slots_option
@click.option(
    "--engine",
    type=click.Choice(["embedded", "inline"]),
    default="embedded",
    show_default=True,
    help="Use inline to run in one process, for debugging.",
)
@click.option("--pdb", is_flag=True, help="Debug exceptions of your code (with --engine inline).")
@base.cluster_options
@base.json_option
def command(**options: Any) -> int:
    """Run a job and wait for it.

    PLUGIN is a Python file, a dotted module, or module:object. It has a function map(key, value)
    and usually reduce(key, values), or a list of steps. INPUT is a file, a folder, a glob or a
    gs:// prefix.

    \b
      mrcore run wc.py books/*.txt -o out -r 4 -w 4
      mrcore run wc.py gs://bucket/in/ -o gs://bucket/out --master 10.0.0.2:7350

    Ctrl-C cancels the job. Exit codes: 0 succeeded, 1 job failed, 2 bad usage or input, 3 master
    unreachable, 130 interrupted.
    """
    request = job_options.take_request(options)
    as_json = options["as_json"]
    # A display that redraws itself would disturb a debugger.
    inline = options["engine"] == "inline"
    shown = progress.PlainProgress() if inline else progress.make_progress()
    with waiting(shown, request.output, as_json=as_json):
        job = _run(request, options, shown)
    return outcome.tell(job, as_json=as_json, hints=_hints(job, options))


def _run(
    request: JobRequest,
    options: dict[str, Any],
    shown: progress.PlainProgress | progress.LiveProgress,
) -> JobView:
    workers, slots = options["workers"], options["slots"]
    job_options.note_doubles(request, shown.note)
    if _on_cluster(options):
        note_ignored(options, shown)
        named = (options["master"], options["state"], options["credentials"])
        found = api.find_cluster(*named)
        return api.run_on_cluster(request, found, find=api.finder(*named), observer=shown)
    if options["masters"] and options["engine"] == "inline":
        raise click.UsageError("--engine inline has no master. Remove --masters")
    if options["engine"] == "inline":
        from mrcore.engine.inline import run_inline

        return run_inline(
            request,
            slots=(workers or 1) * (slots or 1),
            observer=shown,
            post_mortem=options["pdb"],
        )
    if options["pdb"]:
        raise click.UsageError("--pdb needs --engine inline")
    return run_embedded(
        request,
        workers=workers,
        slots=slots or 1,
        masters=options["masters"] or 1,
        observer=shown,
    )


def _on_cluster(options: dict[str, Any]) -> bool:
    """Return whether a cluster is named; the inline engine ignores one in the environment."""
    named = [name for name in ("master", "state", "credentials") if options[name]]
    if named and options["engine"] == "inline":
        source = click.get_current_context().get_parameter_source
        if any(source(name) is ParameterSource.COMMANDLINE for name in named):
            raise click.UsageError(f"--engine inline runs in this process. Remove --{named[0]}")
        return False
    return bool(named)


@contextlib.contextmanager
def waiting(
    shown: progress.PlainProgress | progress.LiveProgress, output: str | None, *, as_json: bool
) -> Iterator[None]:
    """Wait for a job in this block: end its display however it ends, and its JSON where it breaks.

    `output` is where the job writes, if that is known.
    """
    try:
        with interruptible():
            yield
    except MrcoreError as error:
        shown.close()
        if as_json:
            base.print_end_as_json(broken_json(output, str(error), shown.job))
        raise
    except KeyboardInterrupt:
        if as_json:
            base.print_end_as_json(broken_json(output, "interrupted", shown.job))
        raise
    finally:
        shown.close()


def note_ignored(
    options: dict[str, Any], shown: progress.PlainProgress | progress.LiveProgress
) -> None:
    """Note options of embedded workers that were given for a cluster."""
    if options["workers"] is not None or options["slots"] is not None:
        shown.note("-w and --slots apply to embedded workers only; they are ignored on a cluster.")
    if options.get("masters") is not None:
        shown.note("--masters applies to embedded masters only; it is ignored on a cluster.")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C: cancel the job and stop the daemons."""
    numbers = not_ignored(signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def hints(job: JobView, options: dict[str, Any]) -> Iterator[str]:
    """Yield commands that print the logs of a job, debug what failed, and go on with the job.

    `options` may name its cluster.
    """
    named = ((f"--{name}", options[name]) for name in ("master", "state", "credentials"))
    place = [word for name, value in named if value for word in (name, value)]
    yield f"see the output of your code: {shlex.join(['mrcore', 'logs', job.job_id, *place])}"
    if job.recent_failures:
        task = job.recent_failures[-1].attempt.partition("@")[0]
        words = ["mrcore", "replay", job.job_id, task, "--pdb", *place]
        yield f"debug that task on this machine: {shlex.join(words)}"
    if is_about_allowance(job.message):
        words = ["mrcore", "resume", job.job_id, "--max-bad-records", "N", *place]
        yield f"go on with more of them allowed: {shlex.join(words)}"
    words = ["mrcore", "resume", job.job_id, "--plugin", "FILE", *place]
    yield f"go on with mended code: {shlex.join(words)}"


def _hints(job: JobView, options: dict[str, Any]) -> Iterator[str]:
    if options["engine"] != "inline":
        yield from hints(job, options)
    elif not options["pdb"]:
        words = [word for word in sys.argv[1:] if word != "--json"]
        yield f"debug it on this machine: {shlex.join(['mrcore', *words, '--pdb'])}"
