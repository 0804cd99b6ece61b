"""A rehearsal: the job once in sequence, once undisturbed, and then again and again amid disasters.

All runs use one cluster, which lives on with what was done to it. Each run has a schedule of its
own, drawn from the seed and the number of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random  # noqa: TID251 - made here from the seed, passed on
from typing import Final, Protocol

import msgspec

from mrcore.chaos.core.costs import priced
from mrcore.chaos.core.settings import Settings
from mrcore.chaos.core.strikes import Strike, make_schedule
from mrcore.chaos.network import check_network
from mrcore.chaos.outputs import first_difference
from mrcore.chaos.report import Report, RunReport, Verdict
from mrcore.chaos.site import Site, open_site
from mrcore.chaos.striker import Striker
from mrcore.client.client import MasterClient
from mrcore.client.follow import CANCELLING, Observer
from mrcore.client.request import JobRequest, folder_uri, is_local, load_plugin, prepare
from mrcore.engine.local_run import submit_and_follow
from mrcore.errors import JobFailedError, MrcoreError, OutputError, UsageError
from mrcore.model import object_names
from mrcore.model.job import JobDraft, JobState
from mrcore.model.snapshots import JobView, TaskView
from mrcore.storage.injected import count_hits
from mrcore.storage.registry import storage_for
from mrcore.util.clock import SYSTEM, Clock
from mrcore.util.units import show_duration

GENEROUS_ATTEMPTS: Final = 100
"""Attempts of a task, unless given: killed processes count against the user's code."""
PAPER_SHARE: Final = 0.11
"""Share of the workers that the MapReduce paper kills: 200 of 1,746."""
PAPER_NAMES: Final = ("as usual", "without backup tasks", "11 % of the workers killed")
"""The experiments of its section 5, in order."""
EXPECTED: Final = "sequential"
"""Folder of the output of the sequential run."""
_SIGNS: Final = ("was made to", "signal 9", "no space left", "file too large")
"""Words by which the reason of a failed job shows that a disaster of ours was the cause."""


class Shown(Observer, Protocol):
    """Display of a rehearsal and of its runs."""

    def begin(self, text: str) -> None:
        """Show that another part of the rehearsal begins."""
        ...

    def close(self) -> None:
        """Remove what is redrawn."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Request for a rehearsal."""

    request: JobRequest
    """The job; its output is the folder of all outputs."""
    settings: Settings
    seed: int
    seconds: float
    """Time for which runs are begun; there is one in any case."""
    only: int = 0
    """The one run that is played; 0 for all from the first."""
    slots: int = 1
    paper: bool = False
    """Whether the experiments of the MapReduce paper are played, and nothing else."""
    repeat: str = ""
    """Command that repeats it, for the report."""


@dataclass(slots=True)
class _Stage:
    """Things that the runs of a rehearsal share."""

    asked: Rehearsal
    shown: Shown
    clock: Clock
    site: Site
    client: MasterClient
    expected: JobView
    output_uri: str
    runs: list[RunReport] = field(default_factory=list)


def rehearse(asked: Rehearsal, shown: Shown, *, clock: Clock = SYSTEM) -> Report:
    """Play a rehearsal to its end and report it.

    Raises UsageError for what cannot work, before any process is started, and JobFailedError where
    the job fails in sequence.
    """
    request = _generous(asked.request, asked.settings)
    draft = prepare(_at(request, EXPECTED), look=False)
    if asked.settings.partition:
        _check_places(draft.job)
        check_network()
    output_uri = _checked_output(request)
    prepared = load_plugin(draft)
    began = clock.monotonic()
    expected = _run_in_sequence(_at(request, EXPECTED), asked, shown)
    sequential_seconds = clock.monotonic() - began
    request = _pinned(request, expected)
    memory_bytes = prepared.spec.memory_bytes
    with (
        open_site(
            asked.settings,
            slots=asked.slots,
            memory_bytes=memory_bytes,
            cwd=request.cwd,
            clock=clock,
        ) as site,
        site.client() as client,
    ):
        asked = replace(asked, request=request)
        stage = _Stage(asked, shown, clock, site, client, expected, output_uri)
        if asked.paper:
            _play_paper(stage)
        else:
            _play(stage)
        notes = site.notes
    return Report(
        seed=asked.seed,
        sequential_seconds=sequential_seconds,
        runs=tuple(stage.runs),
        repeat=asked.repeat,
        notes=notes,
    )


def _play(stage: _Stage) -> None:
    asked, clock = stage.asked, stage.clock
    stage.shown.begin("once on the cluster, without disasters")
    stage.runs.append(_run(stage, 0, ()))
    if stage.runs[0].verdict is not Verdict.EQUAL:
        return  # a disaster would not make it better
    began, number = clock.monotonic(), asked.only or 1
    while True:
        schedule = make_schedule(asked.settings, Random(f"{asked.seed}/{number}"))
        left = max(0.0, asked.seconds - (clock.monotonic() - began))
        stage.shown.begin(f"run {number}, {show_duration(left)} left")
        report = _run(stage, number, schedule)
        stage.runs.append(report)
        stage.shown.note(_line(report))
        number += 1
        if report.verdict is Verdict.DIFFERENT or asked.only:
            return
        if clock.monotonic() - began >= asked.seconds:
            return


def _play_paper(stage: _Stage) -> None:
    """Run the job as usual, without backup tasks and with workers killed, beside a slow worker."""
    asked = stage.asked
    without = replace(asked.request, options={**asked.request.options, "no_backup": False})
    killing = replace(asked.settings, kill_workers=PAPER_SHARE)
    schedule = make_schedule(killing, Random(f"{asked.seed}/paper"))
    experiments: tuple[tuple[JobRequest, tuple[Strike, ...]], ...] = (
        (asked.request, ()),
        (without, ()),
        (asked.request, schedule),
    )
    with stage.site.slowed(stage.site.worker(asked.settings.workers - 1)):
        for number, (name, (request, strikes)) in enumerate(
            zip(PAPER_NAMES, experiments, strict=True), 1
        ):
            stage.shown.begin(name)
            report = _run(stage, number, strikes, request)
            stage.runs.append(msgspec.structs.replace(report, name=name))


def _run(
    stage: _Stage,
    number: int,
    schedule: tuple[Strike, ...],
    request: JobRequest | None = None,
) -> RunReport:
    """Run the job once on the cluster, amid the strikes, and compare what it wrote."""
    asked, site, clock = stage.asked, stage.site, stage.clock
    request = _at(request or asked.request, f"run-{number}")
    prepared = load_plugin(prepare(request, look=False))
    rate = asked.settings.storage_faults if number else 0.0
    hits = count_hits(site.faults_path).total()
    striker = Striker(site, number, schedule, clock=clock, tell=stage.shown.note)
    began = clock.monotonic()
    job: JobView | None = None
    problem = ""
    try:
        site.set_faults(errors=rate, slow=rate)
        job = submit_and_follow(
            stage.client, prepared, _Both(stage.shown, striker), on_poll=site.check
        )
    except MrcoreError as error:
        site.check()
        problem = str(error)
    finally:
        site.set_faults(errors=0.0, slow=0.0)
        seconds = clock.monotonic() - began
        striker.finish()
    tasks = _tasks(stage.client, job)
    blows, others = priced(striker.blows, tasks)
    verdict, detail = _judge(stage, job, problem, request)
    report = RunReport(
        run=number,
        job_id=job.job_id if job is not None else "",
        verdict=verdict,
        seconds=seconds,
        detail=detail,
        blows=tuple(blows),
        missed=striker.missed,
        storage_faults=count_hits(site.faults_path).total() - hits,
        other_failures=others,
    )
    if verdict is Verdict.EQUAL:
        _remove(folder_uri(request.output or "", request.cwd))
    return report


def _judge(
    stage: _Stage, job: JobView | None, problem: str, request: JobRequest
) -> tuple[Verdict, str]:
    if job is None or job.state is not JobState.SUCCEEDED:
        reason = problem or (job.message if job is not None else "") or "the job was cancelled"
        is_clear = any(sign in reason.lower() for sign in _SIGNS)
        return (Verdict.FAILED if is_clear else Verdict.FAILED_UNCLEARLY), reason
    expected = f"{stage.output_uri}/{EXPECTED}"
    difference = first_difference(expected, job.output_uri)
    if difference is None and job.counters != stage.expected.counters:
        difference = _counter_difference(stage.expected.counters, job.counters)
    if difference is not None:
        return Verdict.DIFFERENT, difference
    return Verdict.EQUAL, ""


def _counter_difference(expected: dict[str, int], found: dict[str, int]) -> str:
    names = sorted(expected.keys() | found.keys())
    name = next(one for one in names if expected.get(one, 0) != found.get(one, 0))
    return (
        f"the counter {name} is {found.get(name, 0):,}, and {expected.get(name, 0):,} in a "
        "sequential run."
    )


@dataclass(slots=True)
class _Both:
    """The display and the striker, as one observer. Failures are what is asked for: not shown."""

    shown: Shown
    striker: Striker

    def update(self, job: JobView) -> None:
        """Deal what is due, then show the job."""
        self.striker.update(job)
        self.shown.update(msgspec.structs.replace(job, recent_failures=()))

    def tick(self) -> None:
        """Let the display go on."""
        self.shown.tick()

    def note(self, text: str) -> None:
        """Show a sentence."""
        if text == CANCELLING:
            self.striker.give_up()  # or the master that is to cancel might be cut off
        self.shown.note(text)


def _run_in_sequence(request: JobRequest, asked: Rehearsal, shown: Shown) -> JobView:
    from mrcore.engine.inline import run_inline

    shown.begin("once in sequence, in this process")
    slots = asked.settings.workers * asked.slots
    job = run_inline(request, slots=slots, observer=shown)
    if job.state is not JobState.SUCCEEDED:
        trace = job.failure.traceback if job.failure is not None else ""
        raise JobFailedError(
            f"The job fails without any disaster: {job.message}\n{trace}".rstrip("\n")
        )
    return job


def _checked_output(request: JobRequest) -> str:
    """Return the URI of the folder for all outputs; raise OutputError where something is in it."""
    uri = folder_uri(request.output or "", request.cwd)
    if next(iter(storage_for(uri).list(f"{uri}/")), None) is not None:
        raise OutputError(
            f"{object_names.shown(uri)} is not empty. Name a folder that is new or empty."
        )
    return uri


def _check_places(spec: JobDraft) -> None:
    """Raise UsageError for places that processes in networks of their own could not reach."""
    uris = [*(given.uri for given in spec.inputs), spec.output_uri, spec.temp_uri or ""]
    for uri in uris:
        if uri and not is_local(uri):
            raise UsageError(
                f"{object_names.shown(uri)} cannot be reached from networks that can be cut. Give "
                "files of this machine, or leave partitions out."
            )


def _generous(request: JobRequest, settings: Settings) -> JobRequest:
    """Return the job with attempts for many disasters, and a lease that suits them."""
    defaults = {"max_attempts": GENEROUS_ATTEMPTS, "lease": settings.lease_seconds}
    return replace(request, options={**defaults, **request.options})


def _pinned(request: JobRequest, expected: JobView) -> JobRequest:
    """Return the job with as many reduce tasks as the sequential run: the bytes depend on them."""
    last = expected.stages[-1]
    if len(expected.stages) < 2 or "reduces" in request.options:
        return request
    return replace(request, options={**request.options, "reduces": last.tasks})


def _at(request: JobRequest, name: str) -> JobRequest:
    """Return the job with an output of its own."""
    return replace(request, output=f"{(request.output or '').rstrip('/')}/{name}")


def _tasks(client: MasterClient, job: JobView | None) -> list[TaskView]:
    if job is None:
        return []
    try:
        return list(client.tasks(job.job_id))
    except MrcoreError:
        return []  # the costs are for people: a run without them is compared all the same


def _remove(uri: str) -> None:
    storage = storage_for(uri)
    for info in list(storage.list(f"{uri}/")):
        storage.delete(info.uri)
    storage.prune(uri)


def _line(report: RunReport) -> str:
    detail = f": {report.detail}" if report.detail else ""
    return f"run {report.run} was {report.verdict} after {show_duration(report.seconds)}{detail}"
