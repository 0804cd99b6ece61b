"""Plans of live jobs: the splits of their input, stored with the cluster's state."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Container
from typing import TYPE_CHECKING

from mrcore.errors import AlreadyExistsError, MrcoreError, NotFoundError
from mrcore.master.core.events import JobBroken
from mrcore.master.core.machine import Machine
from mrcore.model import object_names
from mrcore.model.job import JobState
from mrcore.model.remains import Remains, encode
from mrcore.model.task import Split
from mrcore.storage.base import ABSENT, Storage

if TYPE_CHECKING:
    from mrcore.tasks.plan import Plan

log = logging.getLogger("mrcore.master")


class Plans:
    """The splits of live jobs. They lie in the state, since a journal entry should stay small."""

    def __init__(self, storage: Storage, state_uri: str) -> None:
        self._storage = storage
        self._state_uri = state_uri
        self._splits: dict[str, tuple[Split, ...]] = {}

    def splits(self, job_id: str, groups: Collection[int] = ()) -> tuple[Split, ...]:
        """Return the splits of a live job, by index of their task.

        `groups` are the input groups that its stage reads, of those that the job has.
        """
        splits = self._splits[job_id]
        return tuple(split for split in splits if split.group in groups) if groups else splits

    def load(self, job_id: str) -> Plan:
        """Read a plan that has been stored; blocks. Raises NotFoundError where there is none."""
        from mrcore.tasks import plan as planning

        uri = object_names.plan_uri(self._state_uri, job_id)
        plan = planning.decode(self._storage.read(uri))
        self._splits[job_id] = plan.splits
        return plan

    def store(self, job_id: str, plan: Plan) -> None:
        """Keep and write a new plan; blocks. Raises AlreadyExistsError where there is one."""
        from mrcore.tasks import plan as planning

        uri = object_names.plan_uri(self._state_uri, job_id)
        with self._storage.open_write(uri, expect=ABSENT, durable=True) as writer:
            writer.write(planning.encode(plan))
            writer.commit()
        self._splits[job_id] = plan.splits

    def store_remains(self, remains: Remains) -> None:
        """Write the remains of a job beside its plan, unless a former master has; blocks."""
        uri = object_names.remains_uri(self._state_uri, remains.job_id)
        with (
            contextlib.suppress(AlreadyExistsError),
            self._storage.open_write(uri, expect=ABSENT, durable=True) as writer,
        ):
            writer.write(encode(remains))
            writer.commit()

    def settle(self, job_id: str, make: Callable[[], Plan]) -> Plan:
        """Return the plan of a job: the stored one, or else a new one, which is stored; blocks.

        A former master may have stored a plan and not journaled it, or may do so at this moment:
        the plan that is stored first is the plan.
        """
        try:
            return self.load(job_id)
        except NotFoundError:
            plan = make()
        try:
            self.store(job_id, plan)
        except AlreadyExistsError:
            return self.load(job_id)
        return plan

    def forget(self, job_id: str) -> None:
        """Drop the splits of a job that has ended, from memory."""
        self._splits.pop(job_id, None)

    def retain(self, job_ids: Container[str]) -> None:
        """Drop the splits of all other jobs, from memory."""
        self._splits = {name: kept for name, kept in self._splits.items() if name in job_ids}


def load_plans(machine: Machine, plans: Plans, starting: Callable[[str], None]) -> list[JobBroken]:
    """Read the plans of live jobs; return what ends the jobs whose plan is gone. Blocks.

    Calls `starting` with a word on each, since a start may wait for very many.
    """
    lost = []
    # From what the journal says: the machine admits its live jobs only when it takes over.
    for job in machine.cluster.durable.jobs.values():
        if job.state.final or job.state is JobState.WAITING or job.calls is not None:
            continue
        starting(f"reads the plan of {job.job_id}")
        try:
            plans.load(job.job_id)
        except MrcoreError as error:
            log.error("a plan is lost", extra={"job": job.job_id, "error": str(error)})
            reason = f"Its plan cannot be read ({error}). Submit the job again."
            lost.append(JobBroken(job.job_id, reason))
    return lost
