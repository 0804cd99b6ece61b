"""A simulated worker: what a real one promises on the wire, with a body that crashes and pauses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from mrcore.master.core.commands import Reply
from mrcore.master.core.events import Synced
from mrcore.model import object_names
from mrcore.model.attempts import Assignment, AttemptState, HeldAttempt
from mrcore.model.ids import AttemptId
from mrcore.model.job import JobSpec
from mrcore.model.stages import Result, Run
from mrcore.model.task import (
    BadRecord,
    FailureKind,
    Mark,
    Progress,
    TaskFailure,
    TaskOutput,
    TaskRef,
    TaskResult,
)
from mrcore.storage.base import ObjectInfo
from tests.sim.oracles.history import STATE
from tests.sim.world.jobs import SimJob, SimSession, draw_offers
from tests.sim.world.scene import Master, Scene


def runs_prefix(spec: JobSpec, job_id: str) -> str:
    """Return the prefix of the runs of a job."""
    return f"{object_names.temp_prefix(spec, job_id)}runs/"


@dataclass(slots=True)
class Response:
    """A `Reply` with the work that the master's shell adds."""

    reply: Reply
    epoch: int
    slices: dict[AttemptId, dict[TaskRef, ObjectInfo]]
    """Runs that an attempt is to read, by task."""


@dataclass(slots=True, eq=False)
class Holding:
    """One attempt in a worker's hands."""

    wanted: Assignment
    slices: dict[TaskRef, ObjectInfo]
    state: AttemptState = AttemptState.UNSTARTED
    started_at: float = 0.0
    read: tuple[bytes, ...] | TaskFailure | None = None
    """Input that a reduce read as it began, if it did; others read as they end."""
    result: TaskResult | None = None
    seconds: float = 0.0


class SimWorker:
    """One machine, on which one worker process after the other lives."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.world = world = scene.world
        self.scene = scene
        self.store = scene.store
        self.name = name
        self.jobs = scene.jobs
        self.master: Master | None = None
        """The master that it calls."""
        self.slots = world.rng.choice((1, 2, 3))
        self.about = draw_offers(Random(f"{world.seed} {name}"), name)
        self.session = 0
        self.up = False
        self.dead = False
        """The worker never comes back."""
        self.paused_until = 0.0
        self.boot()

    # -- the process -----------------------------------------------------------------------------

    def boot(self) -> None:
        """Start a process, which holds nothing."""
        if self.up or self.dead:
            return
        self.session += 1
        self.up = True
        self.sequence = 0
        self.epoch = 0
        self.draining = False
        self.held: dict[AttemptId, Holding] = {}
        self.sync_seconds = 2.0
        self.world.note(self.name, "boots, session", self.session)
        self.talk()

    def crash(self) -> None:
        """Lose everything at once; a new process comes later."""
        self._vanish_with_results()
        self.world.note(self.name, "crashes")
        self.world.at(self._draw_seconds(0.5, 5.0, 40.0), self.boot)

    def die(self) -> None:
        """Stop for ever, without a word."""
        self.dead = True
        self._vanish_with_results()
        self.world.note(self.name, "dies for ever")

    def _vanish_with_results(self) -> None:
        self.up = False
        finished = (one for one, h in self.held.items() if h.state is AttemptState.FINISHED)
        self.store.unreported.update(finished)
        self.held = {}

    def pause(self) -> None:
        """Freeze with everything in hand, as SIGSTOP does."""
        self.paused_until = self.world.now + self._draw_seconds(1.0, 6.0, 25.0)
        self.world.note(self.name, "pauses until", self.paused_until)

    def preempt(self) -> None:
        """Get notice: hand back what is not done, leave soon."""
        if not self.up:
            return
        self.draining = True
        for holding in self.held.values():
            if holding.state is not AttemptState.FINISHED:
                failure = TaskFailure(kind=FailureKind.PREEMPTED, message="the machine is taken")
                self._finish(holding, failure)
        self.world.note(self.name, "has notice")
        self._mine(6.0, self.crash)
        self.talk()

    def _mine(self, delay: float, action: Callable[[], None]) -> None:
        """Do something later if this process still lives then; a pause moves it on."""
        self.world.at(delay, partial(self._act, self.session, action))

    def _act(self, session: int, action: Callable[[], None]) -> None:
        if not self.up or self.session != session:
            return
        late = self.paused_until - self.world.now
        if late > 0:
            self.world.at(late, partial(self._act, session, action))
        else:
            action()

    def _draw_seconds(self, *seconds: float) -> float:
        return self.world.scale.draw_seconds(self.world.rng, *seconds)

    def runs(self, attempt: AttemptId) -> bool:
        """Return whether this process runs an attempt."""
        holding = self.held.get(attempt)
        return self.up and holding is not None and holding.state is AttemptState.RUNNING

    # -- talking ---------------------------------------------------------------------------------

    def talk(self) -> None:
        """Cancel the parked call, if any, and state everything once more."""
        if not self.up or self.paused_until > self.world.now:
            return
        self.sequence += 1
        sequence, now = self.sequence, self.world.now
        held = tuple(
            HeldAttempt(
                attempt=attempt_id,
                state=holding.state,
                inputs_version=holding.wanted.inputs_version,
                elapsed_seconds=now - holding.started_at
                if holding.state is AttemptState.RUNNING
                else 0.0,
                progress=Progress(fraction=0.5),
                result=holding.result,
            )
            for attempt_id, holding in self.held.items()
        )
        self._call(
            Synced(
                worker_id=self.name,
                session=self.session,
                sequence=sequence,
                epoch=self.epoch,
                slots=self.slots,
                held=held,
                draining=self.draining,
                about=self.about,
            )
        )

        def retry() -> None:
            if self.sequence == sequence:
                self.master = None  # it does not answer: look again who leads
                self.talk()

        self._mine(self.sync_seconds + 1.0, retry)

    def _call(self, request: Synced) -> None:
        self.master = master = self.master or self.scene.announced()
        if master is not None:
            self.world.send(self.name, master.name, lambda: master.synchronize(request))

    def receive(self, response: Response) -> None:
        """Do what the answer says, if it is the one to our newest request."""
        self._mine(0.0, lambda: self._receive(response))

    def _receive(self, response: Response) -> None:
        reply = response.reply
        if reply.session != self.session or response.epoch < self.epoch:
            return
        self.epoch = response.epoch
        if reply.sequence != self.sequence:
            return
        self.sync_seconds = reply.sync_seconds
        wanted = {each.attempt: each for each in reply.wanted}
        for attempt_id in [held for held in self.held if held not in wanted]:
            del self.held[attempt_id]
        for attempt_id, each in wanted.items():
            if attempt_id not in self.held:
                self.held[attempt_id] = Holding(each, response.slices.get(attempt_id, {}))
        if reply.drain and not self.draining:
            self.draining = True
        if self.draining:
            for attempt_id, holding in list(self.held.items()):
                if holding.state is AttemptState.UNSTARTED:
                    del self.held[attempt_id]
        if reply.leave:
            self.up = False
            self.world.note(self.name, "leaves")
            self.world.at(5.0, self.boot)
            return
        self._start()
        self.talk()

    # -- working ---------------------------------------------------------------------------------

    def _start(self) -> None:
        running = sum(1 for h in self.held.values() if h.state is AttemptState.RUNNING)
        for holding in self.held.values():
            if running >= self.slots:
                return
            if holding.state is AttemptState.UNSTARTED and not self.draining:
                running += 1
                self._run(holding)

    def _run(self, holding: Holding) -> None:
        attempt_id = holding.wanted.attempt
        store, job = self.store, self.jobs[attempt_id.task.job_id]
        assert attempt_id not in store.written, f"{attempt_id} runs twice"
        store.written[attempt_id] = None
        holding.state = AttemptState.RUNNING
        holding.started_at = self.world.now
        self._check_resources()
        seconds = job.task_seconds * self.world.rng.uniform(0.5, 1.5)
        if job.stages[attempt_id.task.stage].inputs:
            seconds *= 5.0  # so that inputs are lost meanwhile
            if self.world.rng.random() < 0.7:
                holding.read = self._read(holding, job)
        if self.world.chance(self.world.rates.straggler):
            seconds += self._draw_seconds(20.0, 60.0)
        holding.seconds = seconds

        def end() -> None:
            if self.held.get(attempt_id) is holding and holding.state is AttemptState.RUNNING:
                self._finish(holding, self._result(holding, job))
                self._start()
                self.talk()

        self._mine(seconds, end)

    def _check_resources(self) -> None:
        """Assert that what runs here takes no more than this worker offers."""
        needs = [
            self.jobs[attempt.task.job_id].needs
            for attempt, holding in self.held.items()
            if holding.state is AttemptState.RUNNING
        ]
        assert sum(each.cpus for each in needs) <= self.about.cpus, f"{self.name}: CPUs"
        assert sum(each.memory_bytes for each in needs) <= self.about.memory_bytes, self.name
        assert all(set(each.labels) <= set(self.about.labels) for each in needs), self.name

    def _finish(self, holding: Holding, result: TaskResult) -> None:
        holding.state = AttemptState.FINISHED
        holding.result = result
        if isinstance(result, TaskFailure):
            self.jobs[holding.wanted.attempt.task.job_id].failed(holding.wanted.attempt, result)

    def _result(self, holding: Holding, job: SimJob) -> TaskResult:
        """Run user code, so to say: it fails, dies, cannot read, or writes its object."""
        world, rates, attempt_id = self.world, self.world.rates, holding.wanted.attempt
        task = attempt_id.task
        if world.chance(rates.user_failure):
            # Now and then certain, at one of two records; the others may pass.
            where = {1: "at 0", 2: "at 1"}.get(attempt_id.number.n % 4, "")
            message = f"ValueError in map {where}"
            return TaskFailure(kind=FailureKind.USER, message=message, fingerprint=where)
        if world.chance(rates.data_failure):
            return TaskFailure(kind=FailureKind.DATA, message="the gz is truncated")
        if world.chance(rates.infrastructure_failure):
            return TaskFailure(kind=FailureKind.INFRASTRUCTURE, message="503")
        if isinstance(job, SimSession):
            return self._value(holding, job)
        bad: tuple[BadRecord, ...] = ()
        mark = Mark("input", task.index)
        if task.stage == 0 and task.index in job.killers:
            if all(skip.mark != mark for skip in holding.wanted.skip):
                known = mark if holding.wanted.mark_records else None
                return TaskFailure(kind=FailureKind.USER, message="it died", died=True, mark=known)
            bad = (BadRecord("input", task.index, "it died", ""),)
        read: tuple[bytes, ...] = ()
        if job.stages[task.stage].inputs:
            found = holding.read if holding.read is not None else self._read(holding, job)
            if isinstance(found, TaskFailure):
                return found
            read = found
        return self._write(holding, job, read, bad)

    def _value(self, holding: Holding, job: SimSession) -> TaskResult:
        """Return what a call leaves: a value, or an object with one; its process may also die."""
        attempt_id, rng = holding.wanted.attempt, self.world.rng
        self.store.made_of[attempt_id] = ()
        if self.world.chance(self.world.rates.user_failure / 2):
            return TaskFailure(kind=FailureKind.USER, message="it was killed", died=True)
        output = TaskOutput(result=str(attempt_id).encode(), elapsed_seconds=holding.seconds)
        if rng.random() < 0.3:
            prefix = object_names.session_results_prefix(STATE, attempt_id.task.job_id)
            made = self.store.put(f"{prefix}{attempt_id.number}-{attempt_id.task.index}", b"value")
            output = TaskOutput(object=made, elapsed_seconds=holding.seconds)
        job.values[attempt_id] = output
        return output

    def _read(self, holding: Holding, job: SimJob) -> tuple[bytes, ...] | TaskFailure:
        """Read all runs; return what they hold, or which are lost."""
        rate = self.world.rates.read_failure / 4
        inputs = job.inputs(holding.wanted.attempt.task.stage)
        assert sorted(holding.slices) == inputs, "not given all its inputs"
        lost = tuple(
            run
            for run, made in sorted(holding.slices.items())
            if not self.store.is_there(made.uri) or self.world.chance(rate)
        )
        if lost:
            return TaskFailure(kind=FailureKind.LOST_INPUT, message="no run", lost_runs=lost)
        return tuple(self.store.read(holding.slices[run].uri) for run in inputs)

    def _vanish(self, job: SimJob) -> None:
        """Lose a run just when some reduces have read it and others have not."""
        runs = [info.uri for info in self.store.list(runs_prefix(job.spec, job.job_id))]
        if runs:
            gone = self.world.rng.choice(runs)
            self.store.delete(gone)
            job.vanished += 1
            self.world.note(gone, "vanishes")

    def _write(
        self, holding: Holding, job: SimJob, read: tuple[bytes, ...], bad: tuple[BadRecord, ...]
    ) -> TaskOutput:
        attempt_id, task = holding.wanted.attempt, holding.wanted.attempt.task
        writes, spec = job.stages[task.stage].writes, job.spec
        self.store.made_of[attempt_id] = read
        if isinstance(writes, Result):
            result = f"result of {attempt_id}".encode()
            counters = {"tasks": 1}
            return TaskOutput(counters=counters, elapsed_seconds=holding.seconds, result=result)
        digest = b""
        if isinstance(writes, Run):
            digest = self._digest(job, attempt_id, read)
            made = self.store.put(f"{runs_prefix(spec, task.job_id)}{attempt_id}", digest)
        else:
            content = b" ".join((str(attempt_id).encode(), *read))
            self.scene.outputs.contents[attempt_id] = content
            made = self.store.put(object_names.staged_part_uri(spec, attempt_id), content)
            if self.world.chance(self.world.rates.vanish):
                self._vanish(job)
        self.store.writers[made.uri] = attempt_id
        return TaskOutput(
            object=made,
            digest=digest,
            records_in=10,
            bytes_out=5,
            counters={"tasks": 1},
            bad_records=bad,
            elapsed_seconds=holding.seconds,
        )

    def _digest(self, job: SimJob, attempt: AttemptId, read: tuple[bytes, ...]) -> bytes:
        """Return the content of a run: by its task, and mostly by what was read, or by chance."""
        task = attempt.task
        content = [f"{task.stage}.{task.index}".encode()]
        if TaskRef(task.stage, task.index) not in job.copiers:
            content += read
            if self.world.rates.varied_maps and not read:
                content.append(str(attempt.number).encode())
        return hashlib.sha256(b" ".join(content)).digest()
