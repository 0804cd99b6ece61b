"""Simulated clients: they open sessions, add calls to them, and hear of the ends of these."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from mrcore.master.core.events import (
    CallsDone,
    CallsSent,
    CallsUnwanted,
    CloseAsked,
    Event,
)
from mrcore.master.core.facts import CallsAdded, Fact, JobEnded, JobSubmitted
from mrcore.model.calls import CALL_STAGE, CallPlan
from mrcore.model.ids import TaskId
from mrcore.model.job import JobState
from mrcore.model.task import TaskOutput
from tests.sim.oracles.sessions import ends_of
from tests.sim.world.jobs import SimSession
from tests.sim.world.rates import Size
from tests.sim.world.scene import Scene

TIMEOUT_SECONDS = 20.0
"""Time after which the session of a client that has vanished is ended."""
CALLS_MAX = 24
"""Calls that a client adds to a session, at most."""


class SimClient:
    """A process that opens a session, adds calls to it, and hears their ends."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.world = world = scene.world
        self.rng = Random(f"{world.seed} {name}")  # a draw of its own: others stay the same
        self.name = name
        self.jobs = scene.jobs
        self.history = scene.history
        is_small = world.scale.size is Size.SMALL
        self.calls_max = 4 if is_small else CALLS_MAX
        lease, workers = world.rates.lease_seconds, world.scale.workers
        self.session = SimSession.draw_session(self.rng, f"s-{name}", lease, workers)
        self.opened = False
        self.ended: dict[int, bool] = {}
        """Calls whose ends it has heard, and whether they have values."""
        self.closing = False
        self.over = False
        """The session has ended, and the client knows, or will never ask."""
        self.vanished = False
        self._heard = 0
        world.at(self.rng.uniform(0.0, world.scale.chaos_seconds / 5), self._act)

    # -- acts ------------------------------------------------------------------------------------

    def _act(self) -> None:
        """Do one thing, and look for news; repeat what was not acknowledged."""
        if self.over or self.vanished:
            return
        self.world.at(self.rng.choice((0.2, 1.0, 2.0)), self._act)
        self._watch()
        if not self.opened:
            self._submit()
        elif self.world.calm:
            self._wind_up()
        else:
            acts: dict[Callable[[], None], float] = {
                self._add: 8.0,
                self._release: 3.0,
                self._cancel: 1.0,
                self._close: 0.2,
                self._end: 0.1,
                self._vanish: 0.1,
            }
            ((act),) = self.rng.choices(list(acts), list(acts.values()))
            act()

    def _add(self) -> None:
        """Make some calls; send those that are not acknowledged, or the first of them."""
        plans = self.session.plans
        if not self.closing and len(plans) < self.calls_max:
            plans += [self._plan(len(plans) + n) for n in range(self.rng.randint(1, 6))]
        first = max(0, self.session.added - self.rng.choice((0, 0, 1, 3)))
        if first < len(plans):
            last = self.rng.choice((len(plans), first + 1))
            self._send(CallsSent(self.session.job_id, first, tuple(plans[first:last])))

    def _plan(self, index: int) -> CallPlan:
        """Draw a call, often with values of others: of calls before it, in any known session."""
        known = [
            TaskId(other.job_id, CALL_STAGE, number)
            for job_id, other in self.jobs.items()
            if isinstance(other, SimSession) and other.job_id == job_id
            for number in range(index if other is self.session else other.added)
        ]
        needs = self.rng.sample(known, min(len(known), self.rng.choice((0, 0, 1, 2))))
        return CallPlan(
            "0" * 64, str(index).encode(), needs=tuple(needs), each=self.rng.random() < 0.2
        )

    def _release(self) -> None:
        """Release calls that have ended, and once in a while any."""
        known = range(self.session.added + 2)
        candidates = sorted(self.ended) if self.rng.random() < 0.8 else known
        if candidates:
            indexes = tuple(self.rng.choice(candidates) for _ in range(4))
            self._send_release(indexes)

    def _send_release(self, indexes: tuple[int, ...]) -> None:
        self.session.released.update(indexes)
        self._send(CallsDone(self.session.job_id, indexes))

    def _cancel(self) -> None:
        indexes = tuple(self.rng.randrange(self.session.added + 2) for _ in range(2))
        self.session.cancelled.update(indexes)
        self._send(CallsUnwanted(self.session.job_id, indexes))

    def _close(self) -> None:
        """Make no more calls, and close the session once all are added."""
        self.closing = True
        if self.session.added == len(self.session.plans):
            self._send_close()

    def _send_close(self) -> None:
        self.session.closed = True
        self._send(CloseAsked(self.session.job_id))

    def _end(self) -> None:
        self.session.ending = True
        self._send(CloseAsked(self.session.job_id, "its client has closed it"))

    def _vanish(self) -> None:
        """Leave without a word: the master ends the session after a while."""
        self.vanished = self.session.ending = True
        self.world.note(self.name, "vanishes")
        self.world.at(TIMEOUT_SECONDS, self._end_vanished)

    def _end_vanished(self) -> None:
        """Ask as a master's shell does, until the session has ended."""
        record = self.history.durable.jobs.get(self.session.job_id)
        if record is None or not record.state.final:
            master = self.scene.announced()
            if master is not None:
                master.event(CloseAsked(self.session.job_id, "its client has vanished"))
            self.world.at(TIMEOUT_SECONDS, self._end_vanished)
        else:
            self.over = True

    def _wind_up(self) -> None:
        """Have everything added, hear all ends, release all, and close."""
        name, plans = self.session.job_id, self.session.plans
        if self.session.added < len(plans):
            self._send(CallsSent(name, self.session.added, tuple(plans[self.session.added :])))
        elif len(self.ended) == len(plans):
            self._send_close()
            self._send_release(tuple(range(len(plans))))

    # -- the wire --------------------------------------------------------------------------------

    def _submit(self) -> None:
        master = self.scene.announced()
        if master is not None:
            self.world.send(self.name, master.name, lambda: master.submit(self.session))

    def _send(self, event: Event) -> None:
        master = self.scene.announced()
        if master is not None:
            self.world.send(self.name, master.name, lambda: master.event(event))

    def _watch(self) -> None:
        """Ask for all that is durable."""
        master = self.scene.announced()
        if master is None:
            return

        def answer() -> None:
            known = master.facts_known()
            if known is not None:
                self.world.send(master.name, self.name, lambda: self._hear(known))

        self.world.send(self.name, master.name, answer)

    def _hear(self, known: int) -> None:
        """Take in what has become durable; an answer may be late, or come twice."""
        for fact in self.history.facts[self._heard : known]:
            self._hear_fact(fact)
        self._heard = max(self._heard, known)

    def _hear_fact(self, fact: Fact) -> None:
        name = self.session.job_id
        match fact:
            case JobSubmitted() if fact.request_id == self.session.request_id:
                self.opened = True
            case CallsAdded() if fact.job_id == name:
                sent = tuple(self.session.plans[fact.first : fact.first + len(fact.calls)])
                assert fact.first == self.session.added, f"{name} skips calls, or has them twice"
                assert fact.calls == sent, f"{name} has other calls than were sent"
                self.session.added += len(fact.calls)
            case JobEnded() if fact.job_id == name:
                self.over = True
                assert fact.state in (JobState.SUCCEEDED, JobState.CANCELLED), f"{fact.message}"
                all_ended = len(self.ended) == self.session.added
                assert all_ended or fact.state is JobState.CANCELLED, f"{name} has lost calls"
            case _:
                for task_id, output in ends_of(fact):
                    if task_id.job_id == name:
                        assert task_id.index not in self.ended, f"{task_id} has ended twice"
                        self.ended[task_id.index] = isinstance(output, TaskOutput)
