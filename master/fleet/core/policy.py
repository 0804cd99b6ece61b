"""Policy of the fleet: a snapshot and a memory in, actions and a new memory out.

Level-triggered, like the machine: every decision looks at all there is, so an action that was lost,
or done twice, or half done by a former master, needs no special case. Groups only ever grow by
their size; they shrink by name, since a group that is resized picks its own victims.

A comment at a guard says which run of events needs it, and names the test that plays it.
"""

from __future__ import annotations

from mrcore.master.fleet.core.demand import wanted_workers
from mrcore.master.fleet.core.limits import (
    end,
    idle_too_long,
    note_deadlines,
    over_budget,
    release_all,
    unfit,
)
from mrcore.master.fleet.core.model import Bounds, Decision, Delete, FleetSnapshot, Grow, Memory
from mrcore.master.fleet.core.size import grow, return_to_spot, shrink
from mrcore.master.fleet.core.turn import Round
from mrcore.master.fleet.core.useless import delete_drained, delete_lost, handle_shortages


def decide(snapshot: FleetSnapshot, memory: Memory, bounds: Bounds, now: float) -> Decision:
    """Return what to do at `now`, wall seconds; `memory` is not changed."""
    turn = Round(snapshot, memory.copy(), bounds, now)
    wanted = wanted_workers(turn.snapshot, turn.memory, turn.bounds, turn.now)
    ending = False
    if over_budget(turn):
        wanted = 0
        release_all(turn)
        # The limit stays reached, and the master costs money too.
        # (test: test_beyond_the_spend_limit_an_idle_cluster_still_ends)
        ending = idle_too_long(turn)
    elif idle_too_long(turn):
        ending = True
    else:
        handle_shortages(turn)
        delete_lost(turn)
        delete_drained(turn)
        shrink(turn, wanted)
        return_to_spot(turn, wanted)
        grow(turn, wanted)
        note_deadlines(turn)
    if ending:
        end(turn)
    deletes = [Delete(model, tuple(names)) for model, names in turn.deletes.items()]
    # What grows comes last: it may need the quota that the deletions free.
    grows = [action for action in turn.actions if isinstance(action, Grow)]
    others = [action for action in turn.actions if not isinstance(action, Grow)]
    turn.actions = [*others, *deletes, *grows]
    notes = [*turn.notes, *turn.memory.notices]
    return Decision(turn.actions, turn.memory, notes, wanted, ending, unfit(turn))
