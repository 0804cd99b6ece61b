"""The striker: deals the strikes of one run when they are due, and sees how each one ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mrcore.chaos.core.costs import Blow, Held, running
from mrcore.chaos.core.strikes import DONE, LEADER, Kind, Strike
from mrcore.chaos.site import Site
from mrcore.engine.daemons import Daemon
from mrcore.errors import MrcoreError
from mrcore.model.job import JobState, TaskState
from mrcore.model.snapshots import JobView
from mrcore.util.clock import Clock
from mrcore.util.units import show_duration

_POLL_SECONDS: Final = 0.05
_HEARD_SECONDS: Final = 1.5
"""A worker that was heard within this time works again."""
_RECOVER_SECONDS: Final = 120.0
"""Time after which nobody waits any longer for a recovery."""


def share_done(job: JobView) -> float:
    """Return how much of a job is done, 0 to 1; 1 from its commit on."""
    if job.state is JobState.COMMITTING or job.state.final:
        return DONE
    tasks = sum(stage.tasks for stage in job.stages)
    return min(0.999, sum(stage.done_tasks for stage in job.stages) / tasks) if tasks else 0.0


class Striker:
    """An observer of one run that hurts its cluster. Threads of its own do the waiting."""

    def __init__(
        self,
        site: Site,
        run: int,
        schedule: Sequence[Strike],
        *,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self.blows: list[Blow] = []
        """Strikes that were dealt, in the order in which they were over."""
        self.missed = 0
        """Strikes that came too late: the job had ended."""
        self._site = site
        self._run = run
        self._schedule = list(schedule)
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._client = site.client()

    def update(self, job: JobView) -> None:
        """Deal what is due by now."""
        if job.state.final or self._ended.is_set():
            return
        done = share_done(job)
        while self._schedule and self._schedule[0].at <= done:
            strike = self._schedule.pop(0)
            thread = threading.Thread(
                target=self._deal_safely, args=(strike, job.job_id, done), daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def give_up(self) -> None:
        """Deal no more, and let what was stopped or cut off go on: somebody wants to leave."""
        self._ended.set()

    def finish(self) -> None:
        """Let all strikes end: the job has."""
        self.missed = len(self._schedule)
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _deal_safely(self, strike: Strike, job_id: str, done: float) -> None:
        try:
            blow = self._deal(strike, job_id, done)
        except (MrcoreError, OSError) as error:
            self._tell(f"{strike.kind} came to nothing: {error}")
            return
        if blow is not None:
            with self._lock:
                self.blows.append(blow)

    def _deal(self, strike: Strike, job_id: str, done: float) -> Blow | None:
        match strike.kind:
            case Kind.KILL_WORKER:
                worker = self._site.worker(strike.target)
                held = self._held(job_id, worker)
                former = worker.process_id
                began = self._announce(strike, done, worker.name)
                self._site.kill(worker, strike.seconds)
                after = self._until(began, lambda: self._works(worker, former))
                return self._blow(strike, done, worker.name, held, after)
            case Kind.KILL_MASTER:
                master = self._site.leader()
                began = self._announce(strike, done, master.name)
                self._site.kill(master, strike.seconds)
                after = self._until(began, lambda: self._answers(job_id))
                return self._blow(strike, done, master.name, (), after)
            case Kind.PAUSE_WORKER:
                return self._pause_worker(strike, job_id, done)
            case Kind.PAUSE_MASTER:
                return self._pause_master(strike, job_id, done)
            case Kind.FULL_DISK:
                return self._fill_disk(strike, done)
            case Kind.PARTITION:
                return self._cut(strike, job_id, done)
            case Kind.PARTITION_MASTER:
                return self._cut_master(strike, job_id, done)
            case Kind.MEMORY_KILL:
                return self._kill_child(strike, job_id, done)
            case _:
                raise AssertionError(strike.kind)

    def _pause_worker(self, strike: Strike, job_id: str, done: float) -> Blow:
        worker = self._site.worker(strike.target)
        held = self._held(job_id, worker)
        began = self._announce(strike, done, worker.name)
        self._hold(worker, strike.seconds)
        after = self._until(began, lambda: self._works(worker))
        return self._blow(strike, done, worker.name, held, after)

    def _pause_master(self, strike: Strike, job_id: str, done: float) -> Blow:
        master = self._site.leader()
        began = self._announce(strike, done, master.name)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._site.stopped(master))
            after = self._until_answers(began, job_id, strike.seconds, stack)
        return self._blow(strike, done, master.name, (), after)

    def _until_answers(
        self, began: float, job_id: str, seconds: float, stack: contextlib.ExitStack
    ) -> float | None:
        """Return the time until a master answers; the stack is closed after `seconds`.

        A standby may answer before that, so both waits go on at once.
        """
        waking = threading.Thread(target=self._wait_and_close, args=(seconds, stack))
        waking.start()
        after = self._until(began, lambda: self._answers(job_id))
        waking.join()
        return after

    def _wait_and_close(self, seconds: float, stack: contextlib.ExitStack) -> None:
        self._ended.wait(seconds)
        stack.close()

    def _fill_disk(self, strike: Strike, done: float) -> Blow:
        with self._site.full_disk() as where:
            began = self._announce(strike, done, where)
            self._ended.wait(strike.seconds)
        return self._blow(strike, done, where, (), self._clock.monotonic() - began)

    def _cut(self, strike: Strike, job_id: str, done: float) -> Blow:
        network = self._site.network
        assert network is not None
        worker = self._site.worker(strike.target)
        held = self._held(job_id, worker)
        with network.cut(network.workers[strike.target]):
            began = self._announce(strike, done, worker.name)
            self._ended.wait(strike.seconds)
        after = self._until(began, lambda: self._works(worker))
        return self._blow(strike, done, worker.name, held, after)

    def _cut_master(self, strike: Strike, job_id: str, done: float) -> Blow | None:
        leads = strike.target == LEADER
        master = self._site.leader() if leads else self._site.standby()
        if master is None:
            self.missed += 1
            return None
        store = " (also from its state)" if strike.with_store else ""
        began = self._announce(strike, done, f"{master.name}{store}")
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._site.master_cut_off(master, with_store=strike.with_store))
            if leads:
                after = self._until_answers(began, job_id, strike.seconds, stack)
            else:
                self._ended.wait(strike.seconds)
                stack.close()
                healed = self._clock.monotonic()
                after = self._until(began, lambda: self._has_caught_up(master, healed))
        return self._blow(strike, done, master.name, (), after)

    def _has_caught_up(self, master: Daemon, since: float) -> bool:
        return self._site.has_caught_up(master, self._clock.monotonic() - since)

    def _kill_child(self, strike: Strike, job_id: str, done: float) -> Blow | None:
        worker = self._site.worker(strike.target)
        held = self._held(job_id, worker)
        child = self._site.kill_child(worker)
        if child is None:
            self.missed += 1
            return None
        who = f"process {child} of {worker.name}" if child else worker.name
        self._announce(strike, done, who)
        blow = self._blow(strike, done, who, held, None)
        return msgspec.structs.replace(blow, worker=worker.name)

    def _hold(self, daemon: Daemon, seconds: float) -> None:
        with self._site.stopped(daemon):
            self._ended.wait(seconds)

    def _held(self, job_id: str, worker: Daemon) -> tuple[Held, ...]:
        """Return the attempts on a worker; none where no master answers."""
        try:
            tasks = self._client.tasks(job_id, state=TaskState.IN_PROGRESS)
            return running(tasks, worker.name)
        except MrcoreError:
            return ()

    def _announce(self, strike: Strike, done: float, who: str) -> float:
        lasting = f" for {show_duration(strike.seconds)}" if strike.seconds else ""
        self._tell(f"run {self._run}, {done:.0%} done: {strike.kind} {who}{lasting}")
        return self._clock.monotonic()

    def _until(self, began: float, is_well: Callable[[], bool]) -> float | None:
        """Return the time until all is well; None where the job ended first."""
        while not self._ended.is_set() and self._clock.monotonic() - began < _RECOVER_SECONDS:
            try:
                if is_well():
                    return self._clock.monotonic() - began
            except MrcoreError:
                pass  # nobody answers yet
            self._clock.sleep(_POLL_SECONDS)
        return None

    def _works(self, worker: Daemon, former: int = 0) -> bool:
        """Return whether a worker was heard just now, by another process than the former one."""
        return any(
            view.worker_id == worker.name
            and view.process_id != former
            and view.silent_seconds < _HEARD_SECONDS
            for view in self._client.workers()
        )

    def _answers(self, job_id: str) -> bool:
        self._client.get(job_id)
        return True

    def _blow(
        self,
        strike: Strike,
        done: float,
        who: str,
        held: tuple[Held, ...],
        recovery_seconds: float | None,
    ) -> Blow:
        return Blow(
            run=self._run,
            kind=strike.kind,
            who=who,
            done=done,
            held=held,
            recovery_seconds=recovery_seconds,
        )
