"""Submissions: requests that become jobs. Checks, stored plugins, claims, plans, events.

A submission goes on when its caller hangs up: the caller may repeat it with the same request id,
and gets the same job.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable
from random import Random  # noqa: TID251 - the type only: a generator is always passed in
from typing import TYPE_CHECKING, Final

from mrcore.errors import (
    AlreadyExistsError,
    DefectError,
    MrcoreError,
    NotFoundError,
    StorageError,
    UnavailableError,
    UnknownJobError,
    UsageError,
)
from mrcore.master.core.events import Submitted
from mrcore.master.core.policy import section_count, task_count
from mrcore.master.core.records import JobRecord
from mrcore.master.core.room import has_room
from mrcore.master.shell.claimants import has_ended
from mrcore.master.shell.job_places import check_places
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.plans import Plans
from mrcore.master.shell.resumptions import Resumption
from mrcore.model import object_names
from mrcore.model.ids import new_job_id
from mrcore.model.job import JobSpec, JobState
from mrcore.model.stages import StagePlan, stage_names, stage_plans, stages_of
from mrcore.storage.base import ABSENT, Storage
from mrcore.util.clock import Clock

if TYPE_CHECKING:
    from mrcore.tasks.plan import Plan

log = logging.getLogger("mrcore.master")

FIRST_LOOK_SECONDS: Final = 20.0
"""Longest wait of the first job until the fleet knows what it may have."""
REJOIN_SECONDS: Final = 5.0
"""Longest wait of the plan of a waiting job for a first worker, after a start of the master."""
_LOOK_SECONDS: Final = 0.1
PARALLEL_PLANS: Final = 4
"""Submissions that are worked on at once; each may list a large bucket."""


class Submissions:
    """Requests that become jobs, each request id once."""

    def __init__(
        self,
        shell: Shell,
        plans: Plans,
        *,
        storage: Storage,
        state_uri: str,
        address: str,
        expected_slots: int,
        has_fleet: bool = False,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._shell = shell
        self._plans = plans
        self._storage = storage
        self._state_uri = state_uri
        self._address = address
        self._expected_slots = expected_slots
        self._fleet_slots = 0
        self._fleet_seen = asyncio.Event()
        if not has_fleet:
            self._fleet_seen.set()
        self._clock = clock
        self._rng = rng
        self._under_way: dict[str, asyncio.Future[str]] = {}
        self._planned: set[str] = set()
        """Ids of jobs that are being claimed for, and are not yet the machine's."""
        self._coming: dict[str, tuple[StagePlan, ...]] = {}
        """Stages of jobs that were found to have room, until the machine knows them."""
        self._room = asyncio.Semaphore(PARALLEL_PLANS)
        self._plugins = threading.Condition()
        self._accepting: dict[str, str] = {}
        """Digests of the plugins of requests that are being made jobs, by request id."""
        self._wanted: set[str] = set()
        """Digests of plugins that were asked for since the last sweep began."""
        self._going = ""
        """Digest of the plugin that a sweep is deleting."""

    def expect(self, slots: int) -> None:
        """Hear how many slots the fleet may bring, once its workers have joined."""
        self._fleet_slots = slots
        self._fleet_seen.set()

    def begin_sweep(self) -> None:
        """Forget which plugins were asked for, but by requests that have no job yet."""
        with self._plugins:
            self._wanted = set(self._accepting.values())

    def unless_wanted(self, sha256: str, delete: Callable[[], bool]) -> bool:
        """Delete a plugin that no job names, unless a submission asks for it; blocks."""
        with self._plugins:
            if sha256 in self._wanted:
                return False
            self._going = sha256
        try:
            return delete()
        finally:
            with self._plugins:
                self._going = ""
                self._plugins.notify_all()

    @property
    def under_way(self) -> bool:
        """Return whether a request is being made a job."""
        return bool(self._under_way)

    async def submit(
        self,
        group: asyncio.TaskGroup,
        request_id: str,
        spec: JobSpec,
        bundle: bytes,
        former: Resumption | None = None,
    ) -> str:
        """Return the id of the request's job once it is durable; raise what is wrong with it.

        With a `former` job the new one goes on with it.
        """
        known = self._shell.machine.cluster.job_of_request(request_id)
        if known is not None:
            await self._shell.flushed()
            return known
        future = self._under_way.get(request_id)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            self._under_way[request_id] = future
            group.create_task(self._work(future, request_id, spec, bundle, former))
        return await asyncio.shield(future)

    async def _work(
        self,
        future: asyncio.Future[str],
        request_id: str,
        spec: JobSpec,
        bundle: bytes,
        former: Resumption | None,
    ) -> None:
        try:
            async with self._room:
                job_id = await self._accept(request_id, spec, bundle, former)
        except MrcoreError as error:
            # What a store refuses for good, and has no better name for, lies in what was given.
            given = type(error) is StorageError
            future.set_exception(UsageError(str(error)) if given else error)
            future.exception()  # looked at: the caller may have hung up
        except Exception as error:  # a defect must not end the other jobs, too
            log.exception("a submission has failed")
            future.set_exception(
                DefectError(f"The master failed on this job ({error!r}): its log says where.")
            )
            future.exception()
        except BaseException:
            future.cancel()
            raise
        else:
            future.set_result(job_id)
        finally:
            del self._under_way[request_id]

    async def _accept(
        self, request_id: str, spec: JobSpec, bundle: bytes, former: Resumption | None
    ) -> str:
        from mrcore.output import commit

        await asyncio.to_thread(check_places, spec, self._state_uri)
        self._check_after(spec)
        spec = object_names.with_temp(spec, self._state_uri)
        job_id = new_job_id(spec.name, self._clock.wall(), self._rng)
        self._planned.add(job_id)
        self._accepting[request_id] = spec.plugin.sha256
        claimed: list[str] = []
        accepted = False
        try:
            slots = 0 if spec.after else await self._slots()
            event = await asyncio.to_thread(
                self._prepare, job_id, request_id, spec, bundle, former, slots, claimed
            )
            self._check_room(event.stages)
            self._coming[job_id] = event.stages
            accepted = True
            await self._shell.settle(event)
        finally:
            self._planned.discard(job_id)
            self._coming.pop(job_id, None)
            del self._accepting[request_id]
            if not accepted:
                self._plans.forget(job_id)
                if claimed:
                    await asyncio.to_thread(commit.release_claim, spec.output_uri, claimed[0])
        names = stage_names(stage.reads for stage in event.stages)
        tasks = ", ".join(
            f"{stage.tasks} {name}" for name, stage in zip(names, event.stages, strict=True)
        )
        log.info("job submitted: tasks: %s", tasks or "none yet", extra={"job": job_id})
        return job_id

    async def plan(self, job: JobRecord) -> tuple[tuple[StagePlan, ...], int]:
        """Plan a job that has waited for others; return its stages and the bytes of its input.

        Raises UsageError for a job that cannot work, UnavailableError where it may work later.
        """
        from mrcore.tasks.plan import make_plan

        machine = self._shell.machine
        # A job that was cancelled while it was planned has left its splits here.
        self._plans.retain({*self._planned, *(live.job_id for live in machine.cluster.live_jobs())})
        await self._workers_are_back()
        async with self._room:
            slots = await self._slots()
            plan = await asyncio.to_thread(
                self._plans.settle, job.job_id, lambda: make_plan(job.spec, slots)
            )
        stages = _stages(job.spec, plan)
        self._check_room(stages, waits=True)
        self._coming[job.job_id] = stages
        return stages, plan.input_bytes

    async def _workers_are_back(self) -> None:
        """Wait a moment for the workers of a master that was just started, which count as slots."""
        for _ in range(round(REJOIN_SECONDS / _LOOK_SECONDS)):
            if self._shell.machine.cluster.sorted_workers():
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _check_after(self, spec: JobSpec) -> None:
        """Raise UnknownJobError for a job to wait for that is not known, such as this one itself.

        A job gets its id here, so that nobody can name it before: no cycle can be.
        """
        for job_id in spec.after:
            if self._shell.machine.cluster.job(job_id) is None:
                raise UnknownJobError(
                    f"The job is to run after {job_id}, but no job {job_id} is known here. "
                    "`mrcore jobs` lists the jobs that are."
                )

    def _is_coming(self, job_id: str) -> bool:
        """Return whether the machine does not know the tasks of a job yet."""
        job = self._shell.machine.cluster.job(job_id)
        return job is None or job.state is JobState.WAITING

    def _check_room(self, stages: tuple[StagePlan, ...], *, waits: bool = False) -> None:
        """Raise UsageError for a job that is too large, UnavailableError beside those there are.

        `waits` means that the machine knows the job already, but not its stages.
        """
        limits = self._shell.machine.cluster.limits
        tasks, sections = task_count(stages), section_count(stages)
        if tasks > limits.live_tasks_max or sections > limits.live_sections_max:
            raise UsageError(
                f"The job has {tasks:,} tasks, whose runs have {sections:,} sections, and the "
                f"limits are {limits.live_tasks_max:,} tasks and {limits.live_sections_max:,} "
                "sections. Use fewer reduce tasks (-r), or fewer and larger input files."
            )
        self._coming = {job: plan for job, plan in self._coming.items() if self._is_coming(job)}
        machine = self._shell.machine
        known = waits + sum(1 for job in self._coming if machine.cluster.job(job) is not None)
        if not has_room(machine.cluster, stages, *self._coming.values(), known=known):
            remedy = "before other jobs end." if waits else "now. Submit the job again later."
            raise UnavailableError(f"The master has no room for {tasks:,} more tasks {remedy}")

    async def _slots(self) -> int:
        """Return the slots to plan for: those that are there, or more that are to come."""
        # The job of a run comes as soon as the master answers, which may be before the first look.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await self._fleet_seen.wait()
        self._fleet_seen.set()  # one that cannot be looked at is waited for once
        known = sum(worker.slots for worker in self._shell.machine.cluster.sorted_workers())
        return max(known, self._expected_slots, self._fleet_slots, 1)

    def _prepare(
        self,
        job_id: str,
        request_id: str,
        spec: JobSpec,
        bundle: bytes,
        former: Resumption | None,
        slots: int,
        claimed: list[str],
    ) -> Submitted:
        """Do all that blocks; put the claim's generation into `claimed` as soon as it is held.

        A job that waits for others is planned later (`plan`): its input may be their output.
        """
        from mrcore.output import commit
        from mrcore.tasks.plan import make_plan

        self._store_plugin(spec, bundle)
        if spec.output_uri:
            commit.check_output(spec)
        plan = None if former is None else former.plan
        if plan is None and not spec.after:
            plan = make_plan(spec, slots)
        if spec.output_uri:
            claimed.append(
                commit.claim(
                    spec,
                    job_id,
                    request_id,
                    self._state_uri,
                    self._address,
                    has_ended=self._has_ended,
                )
            )
        if plan is not None:
            self._plans.store(job_id, plan)
        return Submitted(
            job_id=job_id,
            request_id=request_id,
            spec=spec,
            stages=() if plan is None else _stages(spec, plan),
            claim_generation=claimed[0] if claimed else "",
            input_bytes=0 if plan is None else plan.input_bytes,
            wall_seconds=self._clock.wall(),
            resumes=() if former is None else former.resumes,
            kept=() if former is None else former.kept,
        )

    def _store_plugin(self, spec: JobSpec, bundle: bytes) -> None:
        uri = object_names.plugin_uri(self._state_uri, spec.plugin.sha256)
        with self._plugins:  # from here on no sweep deletes it
            while self._going == spec.plugin.sha256:
                self._plugins.wait()
            self._wanted.add(spec.plugin.sha256)
        if not bundle:
            try:
                self._storage.stat(uri)
            except NotFoundError:
                raise UsageError(
                    f"The master does not have the plugin {spec.plugin.name}. Send its bundle, too."
                ) from None
            return
        if hashlib.sha256(bundle).hexdigest() != spec.plugin.sha256:
            raise UsageError(
                f"The bundle of the plugin {spec.plugin.name} does not have the SHA-256 that the "
                "job names. Send it again."
            )
        try:
            with self._storage.open_write(uri, expect=ABSENT, durable=True) as writer:
                writer.write(bundle)
                writer.commit()
        except AlreadyExistsError:
            return  # named by its content: what is there is the same

    def _has_ended(self, state_uri: str, job_id: str) -> bool:
        """Return whether a job that holds a claim is known to have ended."""
        if state_uri != self._state_uri or job_id in self._planned:
            return False
        shell = self._shell
        return has_ended(shell.machine.cluster, job_id, shell.wait_flushed, shell.is_fenced)


def _stages(spec: JobSpec, plan: Plan) -> tuple[StagePlan, ...]:
    return stage_plans(stages_of(spec), plan.splits_by_group, plan.reduces)
