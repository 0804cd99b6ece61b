"""One decision in the making: what is seen and remembered, and what is to be done. Pure."""

from __future__ import annotations

from mrcore.master.fleet.core.memory import remember
from mrcore.master.fleet.core.model import (
    NOTICE_SECONDS,
    Action,
    Bounds,
    Drain,
    FleetSnapshot,
    Member,
    Memory,
    Provisioning,
    WorkerInfo,
)


class Round:
    """Ingredients of a decision: each part of the policy adds to its actions and notes."""

    def __init__(self, snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> None:
        self.snapshot = snapshot
        self.memory = memory
        self.bounds = bounds
        self.now = now
        self.actions: list[Action] = []
        self.notes: list[str] = []
        self.workers = {info.machine: info for info in snapshot.workers}
        self.deletes: dict[Provisioning, list[str]] = {}
        remember(snapshot, memory, now)

    def add_notice(self, text: str) -> None:
        """Show a sentence about something that has happened, for a while."""
        self.memory.notices[text] = self.now + NOTICE_SECONDS

    def delete(self, model: Provisioning, member: Member, why: str) -> None:
        """Have a machine deleted."""
        # Two reasons may meet in one look: it is not to be had, and was deleted before.
        # (test: test_after_the_attempts_machines_are_made_on_demand)
        if member.name not in self.deletes.setdefault(model, []):
            self.deletes[model].append(member.name)
        # A lost deletion is repeated. (test: test_the_first_reason_of_a_deletion_is_kept)
        self.memory.deleted.setdefault(member.name, why)

    def usable(self, model: Provisioning) -> list[Member]:
        """Return the members of a group that will go on working, or are on their way."""
        group = self.snapshot.groups.get(model)
        if group is None:
            return []
        # A machine that leaves or goes does no more work: others are made for it.
        # (test: test_a_machine_that_leaves_by_itself_is_replaced_at_once)
        # (test: test_machines_on_their_way_out_do_no_work_but_count_for_the_most)
        out = {*self.memory.draining, *self.memory.leaving, *self.deletes.get(model, ())}
        return [member for member in group.staying if member.name not in out]

    def count(self) -> int:
        """Return how many machines will go on working, nameless ones too."""
        # A request for machines takes a while to be listed by name.
        # (test: test_what_is_on_its_way_is_not_asked_for_again)
        named = sum(len(self.usable(model)) for model in Provisioning)
        return named + sum(group.unlisted for group in self.snapshot.groups.values())

    def drain(self, info: WorkerInfo) -> None:
        """Ask a worker to finish and leave."""
        self.memory.draining.append(info.machine)
        self.actions.append(Drain(info.worker_id, info.machine))
