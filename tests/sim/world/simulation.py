"""One seed is one run: masters, workers, clients and a store, under faults and then in peace."""

from __future__ import annotations

import gc
import hashlib
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from mrcore.errors import MrcoreError
from mrcore.master.core.events import CancelAsked, DrainAsked
from mrcore.master.core.facts import Fact, JobSubmitted
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.model.remains import decode
from mrcore.storage.registry import register
from tests.sim.oracles.history import STATE, History
from tests.sim.oracles.outputs import Outputs
from tests.sim.world.clients import SimClient
from tests.sim.world.jobs import SimJob, draw_needs
from tests.sim.world.masters import SimMaster
from tests.sim.world.rates import Scale
from tests.sim.world.scene import REAL, Parts, Scene
from tests.sim.world.store import Store, StoreView
from tests.sim.world.workers import SimWorker
from tests.sim.world.world import World

AFTER = 0.3
"""Share of the jobs that wait for another one, if there is one."""
CALM_SECONDS = 1_500.0
"""Long enough for leases, back-offs and stragglers to run out; a job that lives then is stuck."""
_COLLECT_EVERY: Final = 20
CHECK_EVERY = 50
"""Steps between two checks of all invariants, where a seed does not ask for more.

All are checked once more as the chaos ends, and at the end: what is wrong mostly stays wrong.
"""
_LOOK_EVERY: Final = 8
"""Events between two looks whether all has ended."""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of a run."""

    seed: int
    problem: str
    """Empty where all was well, else what was not."""
    seconds: float
    """Simulated."""
    steps: int
    taken: int
    """Times that a master has taken over."""
    scale: Scale
    log: list[str]
    """Everything that happened, a line each, where it was asked for."""

    @property
    def digest(self) -> str:
        """Return the digest of everything that happened, to compare runs."""
        assert self.log, "the run was not logged"
        return hashlib.sha256("\n".join(self.log).encode()).hexdigest()


class Simulation:
    """A cluster, under faults and then in peace."""

    def __init__(self, seed: int, parts: Parts, check_every: int, *, is_logged: bool) -> None:
        self.world = world = World(seed, is_logged=is_logged)
        scale, rng = world.scale, world.rng
        self.history, outputs = History(), Outputs()
        store = Store(self.history, outputs)
        view = StoreView(store, world.timeline)
        register("sim", lambda: view)
        every = 1 if scale.is_strict else check_every
        self.scene = Scene(world, parts, self.history, outputs, store, view, every)
        self.upcoming = [
            SimJob.draw(rng, n, world.rates.lease_seconds, scale) for n in range(scale.jobs)
        ]
        self.history.observe.append(self._on_fact)
        self.masters = [SimMaster(self.scene, n) for n in range(scale.masters)]
        self.scene.masters = {master.address: master for master in self.masters}
        for master in self.masters:
            world.at(0.0 if scale.masters == 1 else rng.uniform(0.0, 1.0), master.boot)
        self.workers = self.scene.workers
        for n in range(scale.workers):
            self.workers[f"w{n}"] = SimWorker(self.scene, f"w{n}")
        for job in self.upcoming:
            # A draw of its own: others stay the same.
            job.needs = draw_needs(Random(f"{seed} {job.name} needs"), len(self.workers))
            world.at(rng.uniform(0.1, scale.chaos_seconds / 3), lambda job=job: self._submit(job))  # type: ignore[misc]
        self.clients = [SimClient(self.scene, f"c{n}") for n in range(scale.clients)]
        self._looks = 0
        self._resumed: set[str] = set()
        """Jobs that others have gone on with."""
        world.at(1.0, self._mischief)
        world.at(scale.chaos_seconds, self._calm)

    # -- jobs ------------------------------------------------------------------------------------

    def _submit(self, job: SimJob) -> None:
        """Submit until it is durable or refused, as a client with a request id does."""
        if job.job_id or job.refused:
            return
        master = self.scene.announced()
        if master is not None:
            if job.described is None and not job.resumes:
                self._choose_after(job)
            self.world.send("client", master.name, lambda: master.submit(job))
        self.world.at(3.0, lambda: self._submit(job))

    def _choose_after(self, job: SimJob) -> None:
        """Let some jobs wait for another one that the journal knows."""
        known = [other.job_id for other in self.upcoming if other.job_id]
        rng = Random(f"{self.world.seed} {job.name}")  # a draw of its own: others stay the same
        if known and rng.random() < AFTER:
            job.after = (rng.choice(known),)

    def _on_fact(self, fact: Fact) -> None:
        """Take note of a submission that has become durable; of one output there is one job."""
        if not isinstance(fact, JobSubmitted):
            return
        job = self.scene.jobs[fact.job_id]
        assert not job.job_id, f"{job.name} is {job.job_id} and {fact.job_id}"
        job.job_id = fact.job_id
        for record in self.history.durable.jobs.values():
            same = job.output_uri and record.spec.output_uri == job.output_uri
            if same and record.job_id != fact.job_id:
                assert record.state.final, f"{record.job_id} and {fact.job_id} share an output"

    def _resume_some(self) -> None:
        """Go on with jobs that have ended early, each of them once.

        The real code refuses that for one without an output.
        """
        for job in list(self.upcoming):
            content = None
            if job.job_id and job.output_uri and job.job_id not in self._resumed:
                content = self.scene.store.content(object_names.remains_uri(STATE, job.job_id))
            if content is None:
                continue
            self._resumed.add(job.job_id)
            again = job.resumed(decode(content), self.scene.store)
            self.world.note(job.job_id, "goes on with", len(again.kept), "results")
            self.upcoming.append(again)
            self._submit(again)

    def _may_resume(self) -> bool:
        """Return whether somebody may still go on with a job that has ended early."""
        return self.world.rates.resume > 0.0 and any(
            record.state is not JobState.SUCCEEDED and record.job_id not in self._resumed
            for record in self.history.durable.jobs.values()
            if record.spec.output_uri
        )

    # -- chaos -----------------------------------------------------------------------------------

    def _mischief(self) -> None:
        """Once a simulated second: let something break, perhaps."""
        world, rates, rng = self.world, self.world.rates, self.world.rng
        if world.calm:
            return
        if len(self.masters) == 1 and not self._may_resume() and self._has_finished():
            self._calm()  # nothing is left that chaos could harm
            return
        world.at(1.0, self._mischief)
        self._harm_worker(self.workers[rng.choice(sorted(self.workers))])
        self._harm_master(rng.choice(self.masters))
        if world.chance(rates.resume):
            self._resume_some()
        jobs = [job for job in self.upcoming if job.job_id]
        master = self.scene.announced()
        if jobs and master is not None and world.chance(rates.cancel):
            job = rng.choice(jobs)
            job.ending = True
            master.event(CancelAsked(job.job_id, "not needed", 0.0))

    def _harm_worker(self, worker: SimWorker) -> None:
        world, rates = self.world, self.world.rates
        if worker.up and world.chance(rates.worker_crash):
            worker.crash()
        if worker.up and world.chance(rates.worker_pause):
            worker.pause()
            world.at(worker.paused_until - world.now + 0.001, worker.talk)
        if world.chance(rates.preempt / 3):
            worker.preempt()
        if world.chance(rates.cut):
            ends = (worker.name, world.rng.choice(self.masters).name)
            source, target = ends if world.rng.random() < 0.5 else ends[::-1]
            world.cut(source, target, world.scale.draw_seconds(world.rng, 2.0, 8.0, 30.0))
        master = self.scene.announced()
        if master is not None and world.chance(rates.drain):
            master.event(DrainAsked(worker.name))

    def _harm_master(self, master: SimMaster) -> None:
        world, rates = self.world, self.world.rates
        if world.chance(rates.master_crash):
            master.crash()
        if world.chance(rates.master_stall):
            master.freeze()
        if world.chance(rates.master_jump):
            master.jump()
        if world.chance(rates.store.cut):
            master.cut_off()
        if world.chance(rates.mute):
            self.scene.muted_until = world.now + world.rng.choice((5.0, 30.0))
        if master.life is not None and world.chance(rates.master_retire):
            master.life.stop()

    def _calm(self) -> None:
        """End the chaos; one worker and one of several masters never come back."""
        if self.world.calm:
            return
        for master in self.masters:
            if master.life is not None and master.life.shell is not None:
                master.life.shell.machine.check()
        self.world.heal()
        self.world.timeline.is_over = self._is_over
        self.scene.muted_until = 0.0
        names = sorted(self.workers)
        self.workers[self.world.rng.choice(names)].die()
        for name in names:
            self.workers[name].boot()
        for master in self.masters:
            master.heal()
        if len(self.masters) > 1:
            self.world.rng.choice(self.masters).die()
        for master in self.masters:
            master.boot()

    # -- the run ---------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        """Return whether all has ended; raise AssertionError for what must never be."""
        self._looks += 1
        if self._looks % _LOOK_EVERY:
            return False
        late = self.world.now - self.world.calm_at
        assert late < CALM_SECONDS, f"stuck: {self._stuck()}"
        return self._has_finished()

    def run(self) -> None:
        """Play until all jobs have ended; assert what must hold then."""
        self.world.timeline.run()
        assert self._has_finished(), f"nothing happens any more: {self._stuck()}"
        shells = [master.life.shell for master in self.masters if master.life is not None]
        machine = next(shell.machine for shell in shells if shell is not None)
        machine.check()
        durable = self.history.durable
        assert machine.cluster.durable == durable, "the state of the leader is another"
        for job in self.upcoming:
            if job.refused:
                continue
            record = durable.jobs[job.job_id]
            if record.state is not JobState.SUCCEEDED:
                continue
            assert job.published is not None, f"{job.job_id} published nothing"
            if job.leaves_results:
                made = tuple(f"result of {attempt}".encode() for attempt in job.published)
                found = tuple(output.result for output in record.results)
                assert found == made, f"{job.job_id} has other results: {found}"
        self.scene.outputs.judge_end(self.scene.store, self.upcoming, durable)

    def _has_finished(self) -> bool:
        """Return whether every job has ended, durably, and no worker works any more."""
        leader = None
        for master in self.masters:
            if master.life is not None and master.life.shell is not None:
                if leader is not None:
                    return False
                leader = master.life.shell
        if leader is None or not leader.outbox.durable:
            return False
        if leader.epoch != self.history.epoch:  # it was replaced, and does not know it yet
            return False
        if not all(client.over for client in self.clients):
            return False
        if not all(job.job_id or job.refused for job in self.upcoming):
            return False
        if not all(job.cleaned for job in leader.machine.cluster.durable.jobs.values()):
            return False
        return not any(worker.held for worker in self.workers.values())

    def _stuck(self) -> str:
        states = [f"{job.job_id} {job.state}" for job in self.history.durable.jobs.values()]
        waiting = [job.name for job in self.upcoming if not (job.job_id or job.refused)]
        held = [f"{w.name} {list(w.held)}" for w in self.workers.values() if w.held]
        leads = [master.name for master in self.masters if master.leads]
        return f"leaders {leads}, jobs {states}, not accepted {waiting}, held {held}"


def simulate(
    seed: int, parts: Parts = REAL, *, check_every: int = CHECK_EVERY, is_logged: bool = False
) -> Result:
    """Play one seed."""
    simulation = Simulation(seed, parts, check_every, is_logged=is_logged)
    problem = ""
    try:
        simulation.run()
    except (AssertionError, LookupError, ValueError, MrcoreError) as error:
        is_told = isinstance(error, AssertionError) and str(error)
        problem = str(error) if is_told else f"{error!r}\n{traceback.format_exc()}"
    scene, world = simulation.scene, simulation.world
    taken, log = simulation.history.taken, world.log()
    return Result(seed, problem, world.now, scene.steps, taken, world.scale, log)


def simulate_all(seeds: Iterable[int], parts: Parts = REAL) -> Iterator[Result]:
    """Play many seeds.

    The objects of a run refer to each other. So garbage is collected once in a while, and not
    whenever there may be some, which takes a fifth of the time. What was there before is left out.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        for number, seed in enumerate(seeds):
            yield simulate(seed, parts)
            if number % _COLLECT_EVERY == 0:
                gc.collect()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
