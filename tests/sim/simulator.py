"""One seed is one run: real machine, fake time, network, store, workers and shell."""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from mrcore.master.core.events import CancelAsked, DrainAsked, Synced
from mrcore.master.core.machine import Machine
from tests.sim.clients import SEEDS_WITH_CALLS, SimClient
from tests.sim.jobs import SimJob, draw_needs
from tests.sim.masters import WALL, Make, SimMaster
from tests.sim.workers import Response, SimWorker
from tests.sim.world import World

CHAOS_SECONDS = 90.0
AFTER = 0.3
"""Share of the jobs that wait for another one, if there is one."""
SEEDS_WITH_RESUMPTIONS = 4
"""One seed in this number goes on with jobs that have ended early; the others stay as they were."""
CALM_SECONDS = 1_500.0
"""Long enough for leases, back-offs and stragglers to run out; a job that lives then is stuck."""


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of a run."""

    seed: int
    problem: str
    """Empty where all was well, else what was not."""
    digest: str
    """Digest of everything that happened, to compare runs."""
    seconds: float
    """Simulated."""
    steps: int
    log: list[str]


class Simulation:
    """A cluster of one master and some workers, under faults and then in peace."""

    def __init__(self, seed: int, make: Make) -> None:
        self.world = world = World(seed)
        rng = world.rng
        self.jobs: dict[str, SimJob] = {}
        self.upcoming = [
            SimJob.draw(rng, n, world.rates.lease_seconds) for n in range(rng.choice((1, 2, 3)))
        ]
        self.workers: dict[str, SimWorker] = {}
        self.master = SimMaster(world, self.jobs, self.workers, make, self._deliver)
        for n in range(rng.choice((2, 3, 4))):
            name = f"w{n}"
            self.workers[name] = SimWorker(world, name, self.jobs, self._call)
        for job in self.upcoming:
            # A draw of its own: others stay the same.
            job.needs = draw_needs(Random(f"{seed} {job.job_id} needs"), len(self.workers))
            world.at(rng.uniform(0.0, 40.0), self._submit(job))
        self.resumed: set[str] = set()
        """Jobs that others have gone on with."""
        self.clients: list[SimClient] = []
        if seed % SEEDS_WITH_CALLS == 0:
            for n in range(Random(f"{seed} clients").choice((1, 2, 3))):
                client = SimClient(world, f"c{n}", self.master, self.jobs, len(self.workers))
                self.clients.append(client)
        world.at(1.0, self._mischief)
        world.at(CHAOS_SECONDS, self._calm)

    # -- the wire --------------------------------------------------------------------------------

    def _call(self, request: Synced) -> None:
        self.world.send(request.worker_id, "master", lambda: self.master.event(request))

    def _deliver(self, worker_id: str, response: Response) -> None:
        worker = self.workers[worker_id]
        self.world.send("master", worker_id, lambda: worker.receive(response))

    def _submit(self, job: SimJob) -> Callable[[], None]:
        """Submit until it is durable, as a client with a request_id does."""

        def submit() -> None:
            if job.job_id not in self.jobs and not job.resumes:
                self._choose_after(job)
            self.jobs[job.job_id] = job
            life = self.master.life
            if life is None or life.machine.cluster.job(job.job_id) is None:
                self.master.event(job.submitted(WALL + self.world.now))
            if self.master.replayed().cluster.job(job.job_id) is None:
                self.world.at(3.0, submit)

        return submit

    def _choose_after(self, job: SimJob) -> None:
        """Let some jobs wait for another one that the journal knows."""
        durable = self.master.replayed().cluster
        jobs = {job.job_id for job in self.upcoming} & self.jobs.keys()
        known = [job_id for job_id in sorted(jobs) if durable.job(job_id) is not None]
        rng = Random(f"{self.world.seed} {job.job_id}")  # a draw of its own: others stay the same
        if known and rng.random() < AFTER:
            job.after = (rng.choice(known),)

    # -- chaos -----------------------------------------------------------------------------------

    def _mischief(self) -> None:
        """Once a simulated second: let something break, perhaps."""
        world, rates, rng = self.world, self.world.rates, self.world.rng
        if world.calm:
            return
        world.at(1.0, self._mischief)
        worker = self.workers[rng.choice(sorted(self.workers))]
        if worker.up and world.chance(rates.worker_crash):
            worker.crash()
        if worker.up and world.chance(rates.worker_pause):
            worker.pause()
            world.at(worker.paused_until - world.now + 0.001, worker.talk)
        if world.chance(rates.preempt / 3):
            worker.preempt()
        if world.chance(rates.cut):
            ends = (worker.name, "master")
            world.cut(*(ends if rng.random() < 0.5 else ends[::-1]))
        if world.chance(rates.master_crash):
            self.master.crash()
        if world.chance(rates.master_stall):
            self.master.stall()
        if world.chance(rates.drain):
            self.master.event(DrainAsked(worker.name))
        if world.seed % SEEDS_WITH_RESUMPTIONS == 1:
            self._resume_some()
        if self.jobs and world.chance(rates.cancel):
            job_id = rng.choice(sorted(self.jobs))
            self.jobs[job_id].ending = True
            self.master.event(CancelAsked(job_id, "not needed", WALL + world.now))

    def _resume_some(self) -> None:
        """Go on with jobs that have ended early, each of them once."""
        for job in list(self.upcoming):
            left = self.master.remains.get(job.job_id)
            if left is None or job.job_id in self.resumed or job.resumes:
                continue
            self.resumed.add(job.job_id)
            again = job.resumed(left, self.world.store)
            self.world.note(f"{job.job_id} goes on with {len(again.kept)} results")
            self.upcoming.append(again)
            self._submit(again)()

    def _calm(self) -> None:
        """End the chaos; one worker never comes back, the others do."""
        self.world.heal()
        names = sorted(self.workers)
        self.workers[self.world.rng.choice(names)].die()
        for name in names:
            self.workers[name].boot()
        self.master.boot()

    # -- the run ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Play until all jobs have ended; assert what must hold then."""
        while self.world.next():
            if self.world.calm and self._finished():
                break
            assert self.world.now < CHAOS_SECONDS + CALM_SECONDS, f"stuck: {self._stuck()}"
        assert self._finished(), f"nothing happens any more: {self._stuck()}"
        life = self.master.life
        assert life is not None
        replayed = self.master.replayed()
        assert replayed.cluster.durable == life.machine.cluster.durable, "replay differs from live"
        for job in self.upcoming:
            record = replayed.cluster.job(job.job_id)
            assert record is not None
            committed = record.state.value == "succeeded"
            assert committed <= (job.published is not None), f"{job.job_id} published nothing"

    def _finished(self) -> bool:
        """Return whether every job has ended, durably, and no worker works any more."""
        life = self.master.life
        if life is None or not life.outbox.durable:
            return False
        if not all(client.over for client in self.clients):
            return False
        if not all(job.job_id in self.jobs for job in self.upcoming):
            return False
        records = life.machine.cluster.durable.jobs
        done = all(job in records and records[job].cleaned for job in self.jobs)
        return done and not any(worker.held for worker in self.workers.values())

    def _stuck(self) -> str:
        life = self.master.life
        if life is None:
            return "no master"
        states = [f"{job.job_id} {job.state}" for job in life.machine.cluster.durable.jobs.values()]
        held = [f"{w.name} {list(w.held)}" for w in self.workers.values() if w.held]
        return ", ".join(states + held)


def simulate(seed: int, make: Make = Machine) -> Result:
    """Play one seed."""
    simulation = Simulation(seed, make)
    problem = ""
    try:
        simulation.run()
    except AssertionError as error:
        problem = str(error) or traceback.format_exc()
    world = simulation.world
    digest = hashlib.sha256("\n".join(world.log).encode()).hexdigest()
    return Result(seed, problem, digest, world.now, simulation.master.steps, world.log)
