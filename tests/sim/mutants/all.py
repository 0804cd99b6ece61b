"""All mutants, by name."""

from __future__ import annotations

from functools import partial
from typing import Final

from mrcore.master.core.machine import Machine
from tests.sim.mutants.calls import CALL_FAULTS, CALL_MUTANTS
from tests.sim.mutants.core import MACHINES, machine_with
from tests.sim.mutants.journal import JOURNALS
from tests.sim.mutants.mutant import Mutant
from tests.sim.mutants.outputs import OUTPUTS
from tests.sim.mutants.resumptions import RESUMPTION_FAULTS, KeptContentForgotten
from tests.sim.world.scene import Parts

_FAULTS = CALL_FAULTS | RESUMPTION_FAULTS

MUTANTS: Final[dict[str, Mutant]] = {
    mutant.name: mutant
    for mutant in (
        *(Mutant(part.__name__, Parts(machine=machine_with(part))) for part in MACHINES),
        *(
            Mutant(calls.__name__, Parts(machine=partial(Machine, calls=calls)))
            for calls in CALL_MUTANTS
        ),
        *(Mutant(name, patches=(patch,)) for name, patch in _FAULTS.items()),
        Mutant("KeptContentForgotten", Parts(machine=KeptContentForgotten)),
        *(Mutant(name, parts) for name, parts in JOURNALS.items()),
        *OUTPUTS,
    )
}

FOUND_BY_NARROW: Final = frozenset({"LaterEpochsDeleted", "SlowStartsLead", "SnapshotsFirst"})
"""Mutants that only the simulation of the journal alone finds.

No seed of a whole cluster is known to show them. The simulation of the journal plays little but
appends, take-overs and compactions that stop midway, and checks each of them.
"""
