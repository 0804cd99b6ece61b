"""`mrcore chaos`: rehearse disasters with a job of the user's on this machine."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from dataclasses import replace
from random import SystemRandom  # noqa: TID251 - a seed that nobody has given
from typing import TYPE_CHECKING, Any, Final

import click

from mrcore.chaos.core.settings import Settings, parse_share, with_default_mix
from mrcore.cli import base, job_options, progress, tables
from mrcore.cli.run import interruptible
from mrcore.model.master import MAX_MASTERS
from mrcore.model.snapshots import JobView
from mrcore.util.units import show_duration, show_exact

if TYPE_CHECKING:
    from mrcore.chaos.report import Report

DISASTERS: Final = (
    *("kill_workers", "kill_master", "pause", "storage_faults", "full_disk", "memory_kills"),
    "partition",
)
"""Names of the options that ask for disasters."""
_SEEDS: Final = 1_000_000
_DEFAULT_WORKERS: Final = 3


class ShareType(click.ParamType[float]):
    """A share such as `30%` or `0.3`, as a number from 0 to 1."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return a number from 0 to 1."""
        try:
            return parse_share(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_SHARE = ShareType()
_COUNT = click.IntRange(0, 100)


@base.command()
@job_options.rehearsed_options
@click.option(
    "-w", "--workers", type=click.IntRange(1, 1024), metavar="N", help="Number of workers.  [3]"
)
@click.option(
    "--slots",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    metavar="N",
    help="Tasks that each worker runs at once.",
)
@click.option(
    "--masters",
    type=click.IntRange(1, MAX_MASTERS),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of masters: one leads, and others take over.",
)
@click.option(
    "--kill-workers",
    type=_SHARE,
    default="0%",
    metavar="SHARE",
    help="Kill this share of the workers in each run, e.g. 30%.",
)
@click.option(
    "--kill-master",
    type=_COUNT,
    default=0,
    metavar="N",
    help="Kill the master that leads N times in each run.",
)
@click.option("--pause", is_flag=True, help="Stop processes for a while, and let them go on.")
@click.option(
    "--storage-faults",
    type=_SHARE,
    default="0%",
    metavar="SHARE",
    help="Let this share of the store's operations fail, and as many be slow.",
)
@click.option("--full-disk", is_flag=True, help="Fill the disk for temporary files for a moment.")
@click.option(
    "--memory-kills",
    is_flag=True,
    help="Let memory run short, so that the kernel kills your code (without root a signal does).",
)
@click.option(
    "--partition",
    is_flag=True,
    help="Cut off masters and workers, which have networks of their own (needs root).",
)
@click.option(
    "--paper",
    is_flag=True,
    help="Play the experiments of the MapReduce paper: as usual, without backups, 11 % killed.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, 7 * 24 * 60, min_open=True),
    default=1.0,
    show_default=True,
    metavar="T",
    help="Begin runs for this time; there is one in any case.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="S",
    help="Repeat the rehearsal that had this seed.  [random]",
)
@click.option(
    "--only",
    type=click.IntRange(1),
    metavar="RUN",
    help="Play only the run with this number.",
)
@base.json_option
def command(**options: Any) -> int:
    """Rehearse disasters with a job on this machine.

    The job runs in sequence once, then again and again on a cluster of processes that are killed,
    stopped and starved. Each output must equal the sequential one, byte for byte. Without an
    option that names a disaster there is some of each that needs no root.

    \b
      mrcore chaos wc.py books/*.txt -w 4 --kill-workers 30% --minutes 5
      mrcore chaos wc.py books/*.txt --masters 3 --kill-master 2 --pause

    Exit codes: 0 all outputs equal, 1 a difference, or a job that failed without a clear reason,
    2 bad usage or input, 130 interrupted.
    """
    settings = _settings(options)
    if options["paper"] and not settings.is_quiet:
        raise click.UsageError("--paper has disasters of its own. Leave out the other ones")
    seed = SystemRandom().randrange(_SEEDS) if options["seed"] is None else options["seed"]
    from mrcore.chaos.rehearsal import Rehearsal, rehearse

    temporary = None
    if options["output"] is None:
        temporary = options["output"] = tempfile.mkdtemp(prefix="mrcore-chaos-out-")
    as_json = options["as_json"]
    request = job_options.take_request(options)
    asked = Rehearsal(
        request=request,
        settings=settings,
        seed=seed,
        seconds=options["minutes"] * 60,
        only=options["only"] or 0,
        slots=options["slots"],
        paper=options["paper"],
        repeat=repeated(seed),
    )
    shown = _Display()
    kept = False
    try:
        with interruptible():
            shown.note(f"seed {seed}")
            report = rehearse(asked, shown)
        kept = report.exit_code != 0
    finally:
        shown.close()
        if temporary is not None and not kept:
            shutil.rmtree(temporary, ignore_errors=True)
    if as_json:
        base.print_json(report.as_json())
    elif options["paper"]:
        _tell_paper(report)
    else:
        _tell(report)
    if kept:
        base.note(f"the outputs are in {shlex.quote(request.output or '')}.")
    return report.exit_code


def _settings(options: dict[str, Any]) -> Settings:
    """Remove the options of disasters and return them as settings."""
    given = {name: options.pop(name) for name in DISASTERS}
    lease = options["lease"]
    settings = Settings(
        workers=options.pop("workers") or _DEFAULT_WORKERS,
        masters=options.pop("masters"),
        **given,
    )
    source = click.get_current_context().get_parameter_source("lease")
    if source is click.core.ParameterSource.COMMANDLINE:
        settings = replace(settings, lease_seconds=lease)
    is_mixed = settings.is_quiet and not options["paper"]
    return with_default_mix(settings) if is_mixed else settings


def repeated(seed: int) -> str:
    """Return the command line that was typed, with its seed and without `--json`."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    for index, word in enumerate(words):
        if word == "--seed" or word.startswith("--seed="):
            del words[index : index + (2 if word == "--seed" else 1)]
            break
    return shlex.join(["mrcore", *words, "--seed", str(seed)])


class _Display:
    """The progress of one run after the other."""

    def __init__(self) -> None:
        self._progress = progress.make_progress()

    def begin(self, text: str) -> None:
        """Show a sentence, and the progress of another run from then on."""
        self._progress.close()
        self._progress = progress.make_progress()
        self.note(text)

    def update(self, job: JobView) -> None:
        """Show the job."""
        self._progress.update(job)

    def tick(self) -> None:
        """Redraw what shows the time."""
        self._progress.tick()

    def note(self, text: str) -> None:
        """Show a sentence."""
        self._progress.note(text)

    def close(self) -> None:
        """Remove what is redrawn."""
        self._progress.close()


def _tell_paper(report: Report) -> None:
    """Print the experiments of the paper, each in relation to the usual run."""
    usual = report.runs[0].seconds
    rows = [
        (run.name, str(run.verdict), show_duration(run.seconds), f"{run.seconds / usual:.0%}")
        for run in report.runs
    ]
    tables.print_table(("EXPERIMENT", "OUTPUT", "TIME", "OF USUAL"), rows)
    click.echo("\nOne worker runs your code ten times slower in each experiment.")
    click.echo(f"repeat it with: {report.repeat}")


def _tell(report: Report) -> None:
    """Print the report for people."""
    rows = [
        (
            _run_name(run.run),
            str(run.verdict),
            show_duration(run.seconds),
            str(len(run.blows)),
            str(run.missed),
            f"{run.storage_faults:,}",
        )
        for run in report.runs
    ]
    tables.print_table(("RUN", "OUTPUT", "TIME", "STRIKES", "TOO LATE", "STORE FAULTS"), rows)
    sums = [
        (
            str(one.kind),
            f"{one.count:,}",
            f"{one.attempts_lost:,}",
            show_duration(one.seconds_lost) if one.seconds_lost else "-",
            _seconds(one.mean_recovery_seconds),
            _seconds(one.slowest_recovery_seconds),
        )
        for one in report.sums()
    ]
    if sums:
        click.echo()
        columns = ("DISASTER", "COUNT", "ATTEMPTS LOST", "WORK LOST", "BACK AFTER", "AT MOST")
        tables.print_table(columns, sums)
    if alone := report.failed_by_themselves:
        shown = show_exact(alone, "other attempt")
        click.echo(f"\n{shown} failed where no disaster was, as code may at bad records.")
    for run in report.runs:
        if run.detail:
            click.echo(f"\nrun {run.run} was {run.verdict}: {run.detail}")
    for note in report.notes:
        click.echo(f"\n{note}")
    struck = [run for run in report.runs if run.run]
    if struck and report.quiet_seconds:
        mean = show_duration(sum(run.seconds for run in struck) / len(struck))
        quiet = show_duration(report.quiet_seconds)
        click.echo(
            f"\nA run took {mean} on average, and {quiet} without disasters. In sequence it took "
            f"{show_duration(report.sequential_seconds)}."
        )
    equal = sum(run.verdict == "equal" for run in struck)
    click.echo(f"{equal} of {len(struck)} outputs equal the sequential one, byte for byte.")
    click.echo(f"repeat it with: {report.repeat}")


def _run_name(number: int) -> str:
    """Return the name of a run in the table."""
    return str(number) if number else "quiet"


def _seconds(value: float | None) -> str:
    return "-" if value is None else show_duration(value)
