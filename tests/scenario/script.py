"""Scenario files: a script of events for the machine, and the facts and commands that they give.

A file is prose (lines that begin with `#`) and blocks, each an event, a line `----` and what the
machine answered:

    sync w1 slots=2 running:j/map-0@1.1:3
    ----
    reply w1 2: j/map-0@1.1

Time stands still but for `wait SECONDS`, which steps `Ticked` at every deadline on the way. The
events, with what may follow them:

    submit JOB maps=N [reduces=N] [priority=N] [attempts=N] [lease=S] [bad=N] [python=V] [request=R]
    sync WORKER [slots=N] [session=N] [seq=N] [epoch=N] [draining] [blind] [unparked] HELD...
        HELD is STATE:ATTEMPT[:MORE]; the sequence counts by itself; flags and slots are kept
        unstarted:A  running:A:SECONDS  done:A:CONTENT (or SECONDS s)  user:A:WORDS  data:A:WORDS
        infrastructure:A  preempted:A  died:A:OFFSET  raised:A:OFFSET  unread:A:MAP,MAP  skipped:A:N
        ATTEMPT is JOB/map-INDEX@EPOCH.N, and for a reduce of a later version JOB/reduce-0@1.5!2
    cancel JOB   broken JOB   drain WORKER   missing ATTEMPT   stalled SECONDS   wait SECONDS
    prepared JOB   published JOB   refused JOB [ATTEMPT...]   cleaned JOB
    overtaken JOB         the committer takes up `prepare commit`, and finds that it is void
    restart [lost=N]      a new master replays all facts but the last N, and takes over
    show JOB|tasks JOB|workers
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from mrcore.master.core import views
from mrcore.master.core.commands import (
    CheckWinner,
    CleanUp,
    Command,
    PrepareCommit,
    Reply,
    RunCommit,
    StepDown,
    Superseded,
)
from mrcore.master.core.events import (
    CancelAsked,
    CleanedUp,
    CommitFinished,
    CommitPrepared,
    CommitRefused,
    DrainAsked,
    Event,
    Held,
    HeldState,
    JobBroken,
    NothingDone,
    Stalled,
    Submitted,
    Synced,
    Ticked,
    WinnerMissing,
    WorkerAbout,
)
from mrcore.master.core.facts import (
    AttemptFailed,
    EpochTaken,
    Fact,
    JobEnded,
    JobSubmitted,
    ReducesRevoked,
    TaskWon,
    WinnerLost,
    WorkerJoined,
    WorkersLeft,
)
from mrcore.master.core.limits import Limits
from mrcore.master.core.machine import Machine, Outcome
from mrcore.master.core.orders import order
from mrcore.model.ids import AttemptId, AttemptNumber, Phase, TaskId
from mrcore.model.job import JobSpec, Plugin, Versions
from mrcore.model.task import (
    BadRecord,
    FailureKind,
    Mark,
    Progress,
    TaskFailure,
    TaskOutput,
    TaskResult,
)

WALL = 1_000_000.0


@dataclass(slots=True)
class Speaker:
    """What a worker says each time unless the script says otherwise."""

    slots: int = 1
    session: int = 1
    sequence: int = 0
    draining: bool = False
    blind: bool = False
    python: str = ""


def parse_attempt(text: str) -> tuple[AttemptId, int]:
    """Return the attempt, and which version of its inputs it read."""
    text, _, version = text.partition("!")
    task, _, number = text.partition("@")
    job_id, _, name = task.partition("/")
    phase, _, index = name.partition("-")
    attempt = AttemptId(TaskId(job_id, Phase(phase), int(index)), AttemptNumber.parse(number))
    return attempt, int(version or 0)


def shown(attempt: AttemptId) -> str:
    """Return an attempt as scripts write it."""
    task = attempt.task
    return f"{task.job_id}/{task.phase}-{task.index}@{attempt.number}"


def parse_held(word: str) -> Held:
    """Return what `STATE:ATTEMPT[:MORE]` says."""
    state, attempt_text, more = [*word.split(":", 2), "", ""][:3]
    attempt, version = parse_attempt(attempt_text)
    if state == "unstarted":
        return Held(attempt, HeldState.UNSTARTED, version)
    if state == "running":
        seconds = float(more or 0)
        return Held(attempt, HeldState.RUNNING, version, seconds, Progress(fraction=0.5))
    result = parse_result(state, more.replace("_", " "))
    return Held(attempt, HeldState.FINISHED, version, result=result)


def parse_result(state: str, more: str) -> TaskResult:
    """Return how an attempt ended."""
    if state == "done":
        content, _, seconds = more.partition("/")
        return TaskOutput(
            digest=content.encode(),
            counters={"tasks": 1},
            elapsed_seconds=float(seconds or 1),
        )
    if state == "int" or state == "float":
        return TaskOutput(number_kinds={"": state}, elapsed_seconds=1.0)
    if state == "skipped":
        bad = tuple(BadRecord("input", n, "it died", "") for n in range(int(more)))
        return TaskOutput(bad_records=bad, elapsed_seconds=1.0)
    if state in ("died", "raised"):
        mark = Mark("input", int(more)) if more else None
        died = state == "died"
        return TaskFailure(kind=FailureKind.USER, message=state, died=died, mark=mark)
    if state == "unread":
        lost = tuple(int(index) for index in more.split(","))
        return TaskFailure(kind=FailureKind.LOST_INPUT, message="not found", lost_maps=lost)
    return TaskFailure(kind=FailureKind(state), message=more or "it failed")


def show_fact(fact: Fact) -> str:
    """Return a fact as one line."""
    match fact:
        case EpochTaken():
            return f"EpochTaken {fact.epoch}"
        case JobSubmitted():
            return f"JobSubmitted {fact.job_id} maps={fact.maps} reduces={fact.reduces}"
        case TaskWon():
            return f"TaskWon {shown(fact.attempt)} by {fact.worker_id}"
        case WinnerLost():
            return f"WinnerLost {shown(fact.attempt)}: {fact.cause}"
        case ReducesRevoked():
            return f"ReducesRevoked {fact.job_id} version={fact.inputs_version}"
        case AttemptFailed():
            return f"AttemptFailed {shown(fact.attempt)} on {fact.worker_id}: {fact.failure.kind}"
        case WorkerJoined():
            return f"WorkerJoined {fact.worker_id}"
        case WorkersLeft():
            return f"WorkersLeft {' '.join(fact.worker_ids)}"
        case JobEnded():
            message = f": {fact.message}" if fact.message else ""
            return f"JobEnded {fact.job_id} {fact.state}{message}"
        case _:
            return f"{type(fact).__name__} {fact.job_id}"


def show_command(command: Command) -> str:
    """Return a command as one line."""
    match command:
        case Reply():
            flags = [" drain"] * command.drain + [" leave"] * command.leave
            wanted = []
            for each in command.wanted:
                version = f"!{each.inputs_version}" if each.inputs_version else ""
                marks = "+mark" if each.mark_records else ""
                skips = "".join(f"+skip:{skip.mark.offset}" for skip in each.skip)
                wanted.append(f" {shown(each.attempt)}{version}{marks}{skips}")
            rest = "".join(wanted) or " nothing"
            return f"reply {command.worker_id} {command.sequence}:{rest}{''.join(flags)}"
        case Superseded():
            return f"superseded {command.worker_id}: exceed session {command.exceed_session}"
        case StepDown():
            return f"step down: epoch {command.epoch}"
        case CheckWinner():
            return f"check winner {shown(command.attempt)}"
        case PrepareCommit() | RunCommit() | CleanUp():
            words = {PrepareCommit: "prepare commit", RunCommit: "run commit", CleanUp: "clean up"}
            return f"{words[type(command)]} {command.job_id}"


class Script:
    """One machine, driven by the lines of a file."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.facts: list[Fact] = []
        self.now = 0.0
        self.speakers: dict[str, Speaker] = {}
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
            case "submit":
                return self._told(self.machine.step(self._submitted(name, options), self.now))
            case "cancel":
                return self._told(self.machine.step(CancelAsked(name, "not needed"), self.now))
            case "broken":
                return self._told(self.machine.step(JobBroken(name, "its plan is gone"), self.now))
            case "drain":
                return self._told(self.machine.step(DrainAsked(name), self.now))
            case "missing":
                missing = WinnerMissing(parse_attempt(name)[0])
                return self._told(self.machine.step(missing, self.now))
            case "stalled":
                return self._told(self.machine.step(Stalled(float(name)), self.now))
            case _:
                answer = self._of_committer(verb, name, words[1:])
                return self._told(self.machine.step(answer, self.now))

    def _of_committer(self, verb: str, name: str, more: list[str]) -> Event:
        """Return what the committer reports."""
        match verb:
            case "prepared":
                return CommitPrepared(name, ())
            case "overtaken":
                answer = order(self.machine, PrepareCommit(name))
                assert isinstance(answer, NothingDone), "the committer has something to do"
                return answer
            case "published":
                return CommitFinished(name)
            case "refused":
                lost = tuple(parse_attempt(word)[0] for word in more)
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
            self.speakers[name] = speaker = Speaker(slots=speaker.slots, session=session)
        sequence = int(options.get("seq", speaker.sequence + 1))
        speaker.sequence = max(sequence, speaker.sequence)
        speaker.slots = int(options.get("slots", speaker.slots))
        speaker.python = options.get("python", speaker.python)
        speaker.draining = speaker.draining or "draining" in words
        return Synced(
            worker_id=name,
            session=session,
            sequence=sequence,
            epoch=int(options.get("epoch", 0)),
            slots=speaker.slots,
            held=tuple(parse_held(word) for word in words if ":" in word),
            draining=speaker.draining,
            sees_store="blind" not in words,
            park="unparked" not in words,
            about=WorkerAbout(python=speaker.python),
        )

    def _submitted(self, name: str, options: dict[str, str]) -> Submitted:
        reduces = int(options.get("reduces", 0))
        python = options.get("python", "3.11")
        spec = JobSpec(
            name=name,
            plugin=Plugin(sha256="0", name="plugin", has_reduce=reduces > 0),
            inputs=(),
            output_uri=f"mem://out/{name}",
            map_only=reduces == 0,
            max_attempts=int(options.get("attempts", 4)),
            lease_seconds=float(options.get("lease", 10)),
            max_bad_records=int(options.get("bad", 0)),
            priority=int(options.get("priority", 0)),
            versions=Versions(python=python, mrcore="", pyarrow="", cloudpickle=""),
        )
        return Submitted(
            job_id=name,
            request_id=options.get("request", name),
            spec=spec,
            maps=int(options["maps"]),
            reduces=reduces,
            claim_generation="1",
            wall_seconds=WALL + self.now,
        )

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
            for worker in views.worker_views(self.machine, self.now):
                note = f" ({worker.note})" if worker.note else ""
                counts = f"{worker.running} running, {worker.unstarted} unstarted"
                yield f"{worker.worker_id}: {counts}{note}"
        elif words[0] == "tasks":
            for _, task in views.task_views(self.machine, words[1]):
                yield f"{task.phase}-{task.index} {task.state}, {task.failures} failures"
                yield from (f"  {line}" for line in task.story)
        else:
            job = views.job_view(self.machine, words[0], counters=True)
            assert job is not None
            phases = [f"{p.phase} {p.idle}+{p.in_progress}+{p.completed}" for p in job.phases]
            tally = job.attempts
            note = f"; {job.note}" if job.note else ""
            yield f"{job.state}; {', '.join(phases)}; counters {job.counters}{note}"
            yield (
                f"attempts: {tally.started} started, {tally.won} won, {tally.failed} failed, "
                f"{tally.infrastructure} infrastructure, {tally.expired} expired, "
                f"{tally.preempted} preempted, {tally.superseded} superseded"
            )

    def _told(self, outcome: Outcome) -> list[str]:
        self.machine.check()
        self.facts += outcome.facts
        return [
            *(f"fact {show_fact(fact)}" for fact in outcome.facts),
            *(show_command(command) for command in outcome.commands),
        ]
