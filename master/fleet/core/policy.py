"""Policy of the fleet: a snapshot and a memory in, actions and a new memory out.

Level-triggered, like the machine: every decision looks at all there is, so an action that was lost,
or done twice, or half done by a former master, needs no special case. Groups only ever grow by
their size; they shrink by name, since a group that is resized picks its own victims.
"""

from __future__ import annotations

from mrcore.master.fleet.core import messages
from mrcore.master.fleet.core.capacity import failing, observe_errors, paused
from mrcore.master.fleet.core.demand import (
    affordable_workers,
    bounds_now,
    slots_by_deadline,
    slots_per_worker,
    wanted_workers,
)
from mrcore.master.fleet.core.model import (
    FAILED_JOINS_MAX,
    JOIN_SECONDS,
    LINGER_SECONDS,
    NOTICE_SECONDS,
    WARN_SHARE,
    Action,
    Bounds,
    CapacityState,
    Decision,
    Delete,
    DeleteGroup,
    Drain,
    End,
    FailJobs,
    FleetSnapshot,
    Grow,
    Member,
    Memory,
    Provisioning,
    WorkerInfo,
)


def decide(snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> Decision:
    """Return what to do at `now`, wall seconds; `memory` is not changed."""
    return _Round(snapshot, memory.copy(), bounds, now).decide()


class _Round:
    """One decision in the making."""

    def __init__(self, snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> None:
        self.snapshot = snapshot
        self.memory = memory
        self.bounds = bounds
        self.now = now
        self.actions: list[Action] = []
        self.notes: list[str] = []
        self.workers = {info.machine: info for info in snapshot.workers}
        self.deletes: dict[Provisioning, list[str]] = {}
        self._remember()

    def decide(self) -> Decision:
        """Return the decision."""
        wanted = wanted_workers(self.snapshot, self.memory, self.bounds, self.now)
        ending = False
        if self._over_budget():
            wanted = 0
            self._release_all()
            ending = self._idle_too_long()
        elif self._idle_too_long():
            ending = True
        else:
            self._handle_shortages()
            self._delete_lost()
            self._delete_drained()
            self._shrink(wanted)
            self._return_to_spot(wanted)
            self._grow(wanted)
            self._note_deadlines()
        if ending:
            self._end()
        deletes = [Delete(model, tuple(names)) for model, names in self.deletes.items() if names]
        # What grows comes last: it may need the quota that the deletions free.
        grows = [action for action in self.actions if isinstance(action, Grow)]
        others = [action for action in self.actions if not isinstance(action, Grow)]
        self.actions = [*others, *deletes, *grows]
        notices = [text for text, until in self.memory.notices.items() if self.now < until]
        return Decision(self.actions, self.memory, [*self.notes, *notices], wanted, ending)

    # -- memory ----------------------------------------------------------------------------------

    def _remember(self) -> None:
        """Bring the memory up to what is seen."""
        snapshot, memory, now = self.snapshot, self.memory, self.now
        memory.began_seconds = memory.began_seconds or now
        if not memory.worked:
            asked = sum(group.target_size for group in snapshot.groups.values())
            memory.adopted = max(memory.adopted, asked)
        if snapshot.jobs:
            memory.worked = True
        if snapshot.jobs or snapshot.busy:
            memory.idle_seconds = None
        elif memory.idle_seconds is None:
            memory.idle_seconds = now
        for model in Provisioning:
            memory.capacity.setdefault(
                model, CapacityState(newest_error_seconds=memory.began_seconds)
            )
        names = {member.name for group in snapshot.groups.values() for member in group.members}
        for info in snapshot.workers:
            memory.last_seen[info.machine] = now
            if info.held:
                memory.free.pop(info.machine, None)
            else:
                memory.free.setdefault(info.machine, now)
            if info.draining and info.machine not in memory.draining + memory.leaving:
                memory.leaving.append(info.machine)
        if any(info.machine in names for info in snapshot.workers):
            memory.failed_joins = 0
        memory.last_seen = {name: at for name, at in memory.last_seen.items() if name in names}
        memory.free = {name: at for name, at in memory.free.items() if name in self.workers}
        memory.draining = [name for name in memory.draining if name in names]
        memory.leaving = [name for name in memory.leaving if name in names]
        memory.deleted = {name: why for name, why in memory.deleted.items() if name in names}
        memory.notices = {text: until for text, until in memory.notices.items() if now < until}

    def _add_notice(self, text: str) -> None:
        self.memory.notices[text] = self.now + NOTICE_SECONDS

    # -- limits ----------------------------------------------------------------------------------

    def _over_budget(self) -> bool:
        """Fail the jobs if the spend limit is reached; warn before."""
        limit, dollars = self.bounds.max_cost, self.snapshot.dollars
        if limit is None:
            return False
        if dollars >= limit:
            self.notes.append(messages.spent(dollars, limit))
            if self.snapshot.jobs:
                self.actions.append(FailJobs(messages.spent(dollars, limit)))
            return True
        if dollars >= WARN_SHARE * limit:
            self.notes.append(messages.nearly_spent(dollars, limit))
        return False

    def _release_all(self) -> None:
        for model, group in self.snapshot.groups.items():
            for member in group.staying:
                self._delete(model, member, "spend limit")

    def _idle_too_long(self) -> bool:
        since, timeout = self.memory.idle_seconds, self.bounds.idle_timeout_seconds
        return since is not None and timeout is not None and self.now - since >= timeout

    def _end(self) -> None:
        """Take everything down; the master itself goes last."""
        assert self.memory.idle_seconds is not None
        self.notes.append(messages.ending(self.now - self.memory.idle_seconds))
        self.deletes = {}
        self.actions = [DeleteGroup(model) for model in self.snapshot.groups]
        for group in self.snapshot.groups.values():
            self.memory.deleted |= {member.name: "idle" for member in group.members}
        if not self.actions:
            self.actions = [End()]

    def _note_deadlines(self) -> None:
        deadline = self.bounds.deadline_seconds
        if deadline is None:
            return
        _, most = bounds_now(self.snapshot, self.bounds)
        for work in self.snapshot.jobs:
            needed = slots_by_deadline(work, self.bounds, self.now)
            workers = -(-(needed or 0) // slots_per_worker(self.snapshot))
            if self.now >= work.submitted_seconds + deadline:
                self.notes.append(messages.overdue(work))
            elif workers > most:
                self.notes.append(messages.late(work, workers, most))

    # -- useless machines ------------------------------------------------------------------------

    def _delete(self, model: Provisioning, member: Member, why: str) -> None:
        if member.name not in self.deletes.setdefault(model, []):
            self.deletes[model].append(member.name)
        self.memory.deleted.setdefault(member.name, why)

    def _handle_shortages(self) -> None:
        """Count failures to make machines; move what cannot be had to the other model."""
        attempts = self.bounds.spot_attempts
        for model, group in self.snapshot.groups.items():
            capacity, other = self.memory.capacity[model], self.memory.capacity[model.other]
            begins = observe_errors(capacity, group, attempts, self.now)
            missing = failing(group)
            elsewhere = model.other in self.snapshot.groups and not paused(other, self.now)
            if paused(capacity, self.now) and elsewhere:
                if begins:
                    self._add_notice(
                        messages.fallback(model, group, capacity.paused_until - self.now)
                    )
                for member in missing:
                    self._delete(model, member, "not to be had")
            elif capacity.error is not None:
                count = max(len(missing), group.unlisted, 1)
                self.notes.append(messages.shortage(model, group, count, capacity, attempts))

    def _delete_lost(self) -> None:
        """Delete machines that are gone, have never joined, or have lost their worker."""
        memory, now = self.memory, self.now
        for model, group in self.snapshot.groups.items():
            for member in group.staying:
                if member.dead or member.name in memory.deleted:  # asked again until it goes
                    self._delete(model, member, "gone")
                    continue
                if member.name in self.workers or member.coming or member.name in memory.draining:
                    continue
                seen = memory.last_seen.get(member.name)
                since = max(member.created_seconds, memory.began_seconds, seen or 0.0)
                if member.name in memory.leaving and now - since >= LINGER_SECONDS:
                    self._delete(model, member, "left")
                elif now - since >= JOIN_SECONDS:
                    self._delete(model, member, "not joined")
                    memory.failed_joins += seen is None
                    self._add_notice(messages.never_joined(member.name, now - since, self.bounds))

    def _delete_drained(self) -> None:
        """Delete the machines whose workers have left as they were asked to."""
        for model, group in self.snapshot.groups.items():
            for member in group.staying:
                if member.name not in self.memory.draining:
                    continue
                info = self.workers.get(member.name)
                if info is None or (info.draining and not info.held):
                    # Nothing is given to a worker that leaves, so nothing can be lost with it.
                    self._delete(model, member, "released")
                elif not info.draining:  # asked again until it has heard
                    self.actions.append(Drain(info.worker_id, info.machine))

    # -- size ------------------------------------------------------------------------------------

    def _usable(self, model: Provisioning) -> list[Member]:
        """Return the members of a group that will go on working, or are on their way."""
        group = self.snapshot.groups.get(model)
        if group is None:
            return []
        out = {*self.memory.draining, *self.memory.leaving, *self.deletes.get(model, ())}
        return [member for member in group.staying if member.name not in out]

    def _count(self) -> int:
        """Return how many machines will go on working, nameless ones too."""
        named = sum(len(self._usable(model)) for model in Provisioning)
        return named + sum(group.unlisted for group in self.snapshot.groups.values())

    def _drain(self, info: WorkerInfo) -> None:
        self.memory.draining.append(info.machine)
        self.actions.append(Drain(info.worker_id, info.machine))

    def _shrink(self, wanted: int) -> None:
        """Release machines beyond those wanted: never one whose worker holds work."""
        memory, now = self.memory, self.now
        surplus = self._count() - wanted
        if surplus <= 0:
            memory.surplus_seconds = None
            return
        if memory.surplus_seconds is None:
            memory.surplus_seconds = now
        lasting = now - memory.surplus_seconds >= LINGER_SECONDS
        for model in (Provisioning.STANDARD, Provisioning.SPOT):  # the expensive ones first
            group = self.snapshot.groups.get(model)
            for member in failing(group) if group is not None else ():
                if surplus > 0 and member in self._usable(model):
                    self._delete(model, member, "not needed")
                    surplus -= 1
        for model in (Provisioning.STANDARD, Provisioning.SPOT):
            free = [self.workers[m.name] for m in self._usable(model) if m.name in memory.free]
            for info in sorted(free, key=lambda info: (memory.free[info.machine], info.machine)):
                if surplus > 0 and now - memory.free[info.machine] >= LINGER_SECONDS:
                    self._drain(info)
                    surplus -= 1
        for model in (Provisioning.STANDARD, Provisioning.SPOT):
            booting = [m for m in self._usable(model) if m.name not in self.workers]
            for member in sorted(booting, key=lambda m: (-m.created_seconds, m.name)):
                if surplus > 0 and lasting:
                    self._delete(model, member, "not needed")
                    surplus -= 1

    def _return_to_spot(self, wanted: int) -> None:
        """Replace on-demand machines by spot ones, few at a time, once spot may be tried again."""
        spot = self.snapshot.groups.get(Provisioning.SPOT)
        capacity = self.memory.capacity[Provisioning.SPOT]
        dear = [m.name for m in self._usable(Provisioning.STANDARD) if m.name in self.workers]
        if spot is None or not dear or not capacity.paused_until or paused(capacity, self.now):
            return
        waiting = spot.unlisted or any(member.coming for member in spot.members)
        under_way = any(name in self.workers for name in self.memory.draining)
        if waiting or under_way or not self.snapshot.jobs or self._count() != wanted:
            return
        joined = [
            m for m in self._usable(Provisioning.SPOT) if m.created_seconds > capacity.paused_until
        ]
        if any(member.name not in self.workers for member in joined):
            return
        batch = max(1, len(joined))
        least = sorted(dear, key=lambda name: (self.workers[name].held, name))
        for name in least[:batch]:
            self._drain(self.workers[name])

    def _grow(self, wanted: int) -> None:
        """Ask for the machines that are missing, within every bound."""
        groups, memory = self.snapshot.groups, self.memory
        _, most = bounds_now(self.snapshot, self.bounds)
        missing = wanted - self._count()
        room = most - sum(group.size for group in groups.values())
        model = self._choose()
        if model is None and missing > 0:
            self.notes.append(messages.no_groups())
        self._note_coming(wanted)
        if missing <= 0 or room <= 0 or model is None:
            return
        group = groups[model]
        more = min(missing, room)
        carried = affordable_workers(self.snapshot, self.bounds, group.hour_dollars)
        if carried is not None and carried < self._count() + more:
            assert self.bounds.max_cost is not None
            self.notes.append(messages.unaffordable(self.bounds.max_cost))
            more = carried - self._count()
        if memory.failed_joins >= FAILED_JOINS_MAX:
            self.notes.append(messages.failed_joins(memory.failed_joins, self.bounds))
            more = min(more, 1 - self._unproven())
        if more > 0 and not self.deletes.get(model):
            # A group that deletes now grows at the next look: its size is about to fall.
            self.actions.append(Grow(model, group.target_size + more))

    def _unproven(self) -> int:
        """Return how many machines are there or coming whose worker has not joined."""
        named = [
            m for model in Provisioning for m in self._usable(model) if m.name not in self.workers
        ]
        return len(named) + sum(group.unlisted for group in self.snapshot.groups.values())

    def _choose(self) -> Provisioning | None:
        """Return the model to grow: spot, unless it is paused and on-demand is not."""
        there = [model for model in Provisioning if model in self.snapshot.groups]
        free = [model for model in there if not paused(self.memory.capacity[model], self.now)]
        return next(iter(free or there), None)

    def _note_coming(self, wanted: int) -> None:
        names = {member.name for model in Provisioning for member in self._usable(model)}
        joined = len(names & self.workers.keys())
        if self.snapshot.jobs and joined < wanted and not self.notes:
            self.notes.append(messages.coming(joined, wanted))
