"""The worker's machine under any order of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mrcore.model.attempts import AttemptState
from mrcore.model.ids import AttemptId
from mrcore.worker.core.commands import (
    Command,
    Enqueue,
    KeepJob,
    Kill,
    ReadNonce,
    Warn,
    Withdraw,
)
from mrcore.worker.core.events import (
    Answered,
    Begun,
    DrainBegun,
    Ended,
    Withdrawn,
)
from mrcore.worker.core.limits import Limits
from mrcore.worker.core.machine import Machine
from tests.support.worker_driver import DONE, SPEC, assignment, attempt


class WorkerRules(RuleBasedStateMachine):
    """Any order of events, with a master that wants anything and whose answers come late."""

    @initialize()
    def begin(self) -> None:
        self.machine = Machine(session=1, limits=Limits(held_max=9))
        self.given: set[AttemptId] = set()
        self.gone: set[AttemptId] = set()
        self.said: list[dict[AttemptId, AttemptState]] = []
        self.request()

    def held(self) -> dict[AttemptId, AttemptState]:
        return {attempt: held.state for attempt, held in self.machine._held.items()}

    @rule()
    def request(self) -> None:
        state = self.machine.state()
        self.said.append({held.attempt: held.state for held in state.held})
        assert state.sequence == len(self.said)
        assert self.said[-1] == self.held(), "a request tells everything"
        assert not self.machine.has_news()

    @rule(wanted=st.lists(st.integers(0, 12), unique=True), back=st.sampled_from([0, 0, 0, 1]))
    def answer(self, wanted: list[int], back: int) -> None:
        sequence = max(1, len(self.said) - back)
        before, said = self.held(), self.said[sequence - 1]
        # The master never uses the number of an attempt again.
        fresh = tuple(assignment(n) for n in wanted if attempt(n) not in self.gone)
        commands = self.machine.step(
            Answered(cluster_id="c", epoch=1, sequence=sequence, wanted=fresh, jobs={"j": SPEC})
        )
        if sequence < len(self.said):
            assert commands == []
            assert self.held() == before
            return
        for command in commands:
            self.obey(command, said, before)
        for lost in before.keys() - self.held().keys():
            assert lost not in {one.attempt for one in fresh}, "what is wanted is kept"
            assert said.get(lost) is before[lost], "nothing goes unheard"
            self.gone.add(lost)

    def obey(
        self,
        command: Command,
        said: dict[AttemptId, AttemptState],
        before: dict[AttemptId, AttemptState],
    ) -> None:
        match command:
            case Enqueue(given):
                assert given.attempt not in self.given
                assert not self.machine.draining
                self.given.add(given.attempt)
            case Kill(killed):
                assert said[killed] is before[killed] is AttemptState.RUNNING
            case Withdraw(back):
                assert said[back] is before[back] is AttemptState.UNSTARTED
                self.machine.step(Withdrawn(back))
            case _:
                assert isinstance(command, KeepJob | ReadNonce | Warn)

    @rule(n=st.integers(0, 12), event=st.sampled_from([Begun, Begun, Ended]))
    def happen(self, n: int, event: type[Begun] | type[Ended]) -> None:
        before = self.held().get(attempt(n))
        self.machine.step(Ended(attempt(n), DONE) if event is Ended else Begun(attempt(n)))
        if before in (AttemptState.UNSTARTED, AttemptState.RUNNING):
            expected = AttemptState.FINISHED if event is Ended else AttemptState.RUNNING
            assert self.held()[attempt(n)] is expected
        else:
            assert self.held().get(attempt(n)) is before

    @precondition(lambda self: len(self.said) > 10)
    @rule()
    def drain(self) -> None:
        self.machine.step(DrainBegun("test"))

    @invariant()
    def holds_together(self) -> None:
        if hasattr(self, "machine"):
            self.machine.check()


TestWorkerRules = WorkerRules.TestCase
TestWorkerRules.settings = settings(max_examples=60, stateful_step_count=40)
