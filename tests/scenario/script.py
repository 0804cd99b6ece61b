"""Scenario files: a script of events for the machine, and the facts and commands that they give.

A file is prose (lines that begin with `#`) and blocks, each an event, a line `----` and what the
machine answered:

    sync w1 slots=2 running:j/map-0@1.1:3
    ----
    reply w1 2: j/map-0@1.1

Time stands still but for `wait SECONDS`, which steps `Ticked` at every deadline on the way. The
events, with what may follow them:

    submit JOB maps=N [reduces=N] [priority=N] [attempts=N] [lease=S] [bad=N|P%] [python=V]
           [request=R] [needs=cpu=N,memory=SIZE,label=NAME] [backup=no]
           [resumes=JOB keep=TASK@E.N:CONTENT,...]   results of a former job that stand for its own
    submit JOB after=JOB,JOB [priority=N]   a job that waits; `planned` says what its stages are
    planned JOB maps=N [reduces=N]          (or stages=…, as of `submit`)
    submit JOB stages=N,N<0,N<0+1,...  a stage is its number of tasks and the stages that it reads
    sync WORKER [slots=N] [session=N] [seq=N] [epoch=N] [draining] [blind] [unparked]
           [offers=cpu=N,memory=SIZE,label=NAME] HELD...
        HELD is STATE:ATTEMPT[:MORE]; the sequence counts by itself; flags and slots are kept
        unstarted:A  running:A:SECONDS  done:A:CONTENT (or SECONDS s)  user:A:WORDS  data:A:WORDS
        infrastructure:A  preempted:A  died:A:OFFSET  raised:A:OFFSET  setup:A:ERROR
        unplaced:A:ERROR, which only a careful attempt can place
        unread:A:N,N  skipped:A:N or :N/RECORDS (that were mapped)
        result:A:BYTES and large:A:URI, of calls and of a stage that is written N= in `stages`
        ATTEMPT is JOB/map-INDEX@EPOCH.N, and for a reduce of a later version JOB/reduce-0@1.5!2
    cancel JOB   broken JOB   drain WORKER   missing ATTEMPT   stalled SECONDS   wait SECONDS
    rest SECONDS   time passes in which each worker says every 3 s what it has said last; what is
                   answered is not shown
    prepared JOB   published JOB   refused JOB [ATTEMPT...]   cleaned JOB
    open SESSION [retries=N] [attempts=N] [priority=N] [needs=…] [python=V] [request=R]
    calls SESSION FIRST CALL...   CALL is `.`, or `<` and calls whose values it takes: `<0+other/3`
    unwanted SESSION N...   release SESSION N...   close SESSION [REASON]
    overtaken JOB         the committer takes up `prepare commit`, and finds that it is void
    restart [lost=N]      a new master replays all facts but the last N, and takes over
    show JOB|tasks JOB|results JOB|calls SESSION|workers|stalls
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from mrcore.master.core import views
from mrcore.master.core.commands import PrepareCommit
from mrcore.master.core.events import (
    CancelAsked,
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    DrainAsked,
    Event,
    JobBroken,
    NothingDone,
    Planned,
    Stalled,
    Submitted,
    Synced,
    Ticked,
    WinnerMissing,
    WorkerAbout,
)
from mrcore.master.core.facts import EpochTaken, Fact
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine, Outcome
from mrcore.master.core.orders import order
from mrcore.model.commit_plan import CommitPlan
from mrcore.model.job import ANY_WORKER, Resources
from mrcore.model.resources import parse_resources
from mrcore.model.stages import KINDS, StagePlan
from tests.scenario.calls import event_of_client, opened, show_calls
from tests.scenario.words import Words, parse_kept, parse_stages
from tests.support.specs import NO_VERSIONS, job_spec
from tests.support.stage_plans import two_stages

WALL = 1_000_000.0


@dataclass(slots=True)
class Speaker:
    """Report of a worker unless the script has another."""

    slots: int = 1
    session: int = 1
    sequence: int = 0
    draining: bool = False
    blind: bool = False
    python: str = ""
    words: list[str] = field(default_factory=list)
    """Words of its newest request."""
    offers: Resources = ANY_WORKER


class Script:
    """One machine, driven by the lines of a file."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.facts: list[Fact] = []
        self.now = 0.0
        self.speakers: dict[str, Speaker] = {}
        self.words = Words(self.stages)
        self.machine = self.start()

    def start(self) -> Machine:
        """Return a new master's machine that has taken over; its answer is in `self.begun`."""
        epoch = 1 + sum(1 for fact in self.facts if isinstance(fact, EpochTaken))
        self.facts.append(EpochTaken(epoch, "writer", WALL))
        machine = Machine(self.limits, Random(0))
        for fact in self.facts:
            machine.apply(fact)
        self.begun = machine.take_over(epoch, self.now, WALL + self.now)
        return machine

    def stages(self, job_id: str) -> Sequence[str]:
        """Return the names of a job's stages; those of any job where none has this id."""
        job = self.machine.cluster.job(job_id)
        return KINDS if job is None else [stage.name for stage in job.stages]

    def replayed(self) -> Machine:
        """Return a machine that knows the facts and nothing else."""
        machine = Machine(self.limits, Random(0))
        for fact in self.facts:
            machine.apply(fact)
        return machine

    def obey(self, line: str) -> list[str]:
        """Do what one line says; return what the machine answered."""
        verb, *words = line.split()
        if verb == "wait":
            return list(self._wait(float(words[0])))
        if verb == "rest":
            self._rest(float(words[0]))
            return []
        if verb == "show":
            return list(self._show(words))
        if verb == "restart":
            lost = int(words[0].partition("=")[2]) if words else 0
            self.facts = self.facts[: len(self.facts) - lost]
            self.machine = self.start()
            return self._told(self.begun)
        options = {key: value for key, _, value in (word.partition("=") for word in words)}
        return self._step(verb, words, options)

    def _step(self, verb: str, words: list[str], options: dict[str, str]) -> list[str]:
        name = words[0]
        match verb:
            case "sync":
                event = self._synced(name, words[1:], options)
                return self._told(self.machine.step(event, self.now))
            case "planned":
                planned = Planned(job_id=name, stages=self._stages(options))
                return self._told(self.machine.step(planned, self.now))
            case "submit":
                return self._told(self.machine.step(self._submitted(name, options), self.now))
            case "open":
                submitted = opened(name, options, WALL + self.now)
                return self._told(self.machine.step(submitted, self.now))
            case "cancel":
                return self._told(self.machine.step(CancelAsked(name, "not needed"), self.now))
            case "broken":
                return self._told(self.machine.step(JobBroken(name, "its plan is gone"), self.now))
            case "drain":
                return self._told(self.machine.step(DrainAsked(name), self.now))
            case "missing":
                missing = WinnerMissing(self.words.parse_attempt(name)[0])
                return self._told(self.machine.step(missing, self.now))
            case "stalled":
                return self._told(self.machine.step(Stalled(float(name)), self.now))
            case _:
                answer = event_of_client(verb, name, words[1:])
                answer = answer or self._of_committer(verb, name, words[1:])
                return self._told(self.machine.step(answer, self.now))

    def _of_committer(self, verb: str, name: str, more: list[str]) -> Event:
        """Return what the committer reports."""
        match verb:
            case "prepared":
                return CommitPrepared(name, CommitPlan())
            case "overtaken":
                answer = order(self.machine.cluster, PrepareCommit(name))
                assert isinstance(answer, NothingDone), "the committer has something to do"
                return answer
            case "published":
                return CommitFinished(name)
            case "refused":
                lost = tuple(self.words.parse_attempt(word)[0] for word in more)
                message = "staged parts are gone" if lost else "the claim was taken"
                return CommitRefused(name, message, lost)
            case "cleaned":
                return CleanedUp(name)
            case _:
                raise ValueError(f"no event is called {verb}")

    def _synced(self, name: str, words: list[str], options: dict[str, str]) -> Synced:
        speaker = self.speakers.setdefault(name, Speaker())
        session = int(options.get("session", speaker.session))
        if session > speaker.session:
            self.speakers[name] = speaker = Speaker(
                slots=speaker.slots, session=session, offers=speaker.offers
            )
        sequence = int(options.get("seq", speaker.sequence + 1))
        speaker.sequence = max(sequence, speaker.sequence)
        speaker.slots = int(options.get("slots", speaker.slots))
        speaker.python = options.get("python", speaker.python)
        if "offers" in options:
            speaker.offers = parse_resources(options["offers"])
        speaker.draining = speaker.draining or "draining" in words
        speaker.words = words
        return Synced(
            worker_id=name,
            session=session,
            sequence=sequence,
            epoch=int(options.get("epoch", 0)),
            slots=speaker.slots,
            held=tuple(self.words.parse_held(word) for word in words if ":" in word),
            draining=speaker.draining,
            sees_store="blind" not in words,
            park="unparked" not in words,
            about=WorkerAbout(
                python=speaker.python,
                cpus=speaker.offers.cpus,
                memory_bytes=speaker.offers.memory_bytes,
                labels=speaker.offers.labels,
            ),
        )

    def _stages(self, options: dict[str, str]) -> tuple[StagePlan, ...]:
        if "stages" in options:
            return parse_stages(options["stages"])
        return two_stages(int(options["maps"]), int(options.get("reduces", 0)))

    def _submitted(self, name: str, options: dict[str, str]) -> Submitted:
        after = tuple(options["after"].split(",")) if "after" in options else ()
        stages = () if after else self._stages(options)
        python = options.get("python", "3.11")
        spec = job_spec(
            name,
            map_only=len(stages) == 1,
            max_attempts=int(options.get("attempts", 4)),
            lease_seconds=float(options.get("lease", 10)),
            max_bad_records=_allowance(options.get("bad", "0")),
            priority=int(options.get("priority", 0)),
            after=after,
            backup=options.get("backup") != "no",
            resources=parse_resources(options["needs"]) if "needs" in options else ANY_WORKER,
            versions=replace(NO_VERSIONS, python=python),
        )
        return Submitted(
            job_id=name,
            request_id=options.get("request", name),
            spec=spec,
            stages=stages,
            claim_generation="1",
            wall_seconds=WALL + self.now,
            resumes=tuple(options["resumes"].split(",")) if "resumes" in options else (),
            kept=tuple(parse_kept(options.get("keep", ""), stages)),
        )

    def _rest(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            list(self._wait(min(3.0, end - self.now)))
            for name, speaker in self.speakers.items():
                self._told(self.machine.step(self._synced(name, speaker.words, {}), self.now))

    def _wait(self, seconds: float) -> Iterator[str]:
        end = self.now + seconds
        idle_ticks = 0
        while (due := self.machine.next_deadline()) is not None and due <= end:
            idle_ticks = idle_ticks + 1 if due <= self.now else 0
            assert idle_ticks < 3, "ticks change nothing"
            self.now = max(self.now, due)
            for line in self._told(self.machine.step(Ticked(WALL + self.now), self.now)):
                yield f"{self.now:g} s: {line}"
        self.now = end

    def _show(self, words: list[str]) -> Iterator[str]:
        if words[0] == "workers":
            for worker in views.worker_views(self.machine.cluster, self.now):
                note = f" ({worker.note})" if worker.note else ""
                counts = f"{worker.running} running, {worker.unstarted} unstarted"
                yield f"{worker.worker_id}: {counts}{note}"
        elif words[0] == "stalls":
            watchdog = self.machine.watchdog
            yield f"{watchdog.count} so far"
            yield from (f"{stall.job_id}: {stall.sentence}" for stall in watchdog.news)
            watchdog.news = []
        elif words[0] == "calls":
            yield from show_calls(self.machine, words[1])
        elif words[0] == "results":
            yield from self._results(words[1])
        elif words[0] == "tasks":
            for _, task in views.task_views(self.machine.cluster, words[1]):
                yield f"{task.stage}-{task.index} {task.state}, {task.failures} failures"
                yield from (f"  {line}" for line in task.story)
        else:
            job = views.job_view(self.machine.cluster, words[0], counters=True)
            assert job is not None
            stages = [f"{s.name} {s.idle}+{s.in_progress}+{s.completed}" for s in job.stages]
            tally = job.attempts
            note = f"; {job.note}" if job.note else ""
            yield f"{job.state}; {', '.join(stages) or 'no stages'}; counters {job.counters}{note}"
            yield (
                f"attempts: {tally.started} started, {tally.won} won, {tally.failed} failed, "
                f"{tally.infrastructure} infrastructure, {tally.expired} expired, "
                f"{tally.preempted} preempted, {tally.superseded} superseded"
            )

    def _results(self, job_id: str) -> Iterator[str]:
        job = self.machine.cluster.job(job_id)
        assert job is not None
        for stage in job.stages:
            for index, task in enumerate(stage.tasks):
                if task.output is not None and task.output.result:
                    yield f"{stage.name}-{index}: {task.output.result.decode()}"

    def _told(self, outcome: Outcome) -> list[str]:
        self.machine.check()
        self.facts += outcome.facts
        return [
            *(f"fact {self.words.show_fact(fact)}" for fact in outcome.facts),
            *(self.words.show_command(command) for command in outcome.commands),
        ]


def _allowance(text: str) -> int | str:
    return text if text.endswith("%") else int(text)
