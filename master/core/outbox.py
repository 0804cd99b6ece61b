"""Facts on their way to the journal, and commands that wait for them: the shell's decisions.

The shell and the simulator share it, so a command leaves in both at the same moment: once the facts
of its own step, and of every step before, are durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mrcore.master.core.commands import Command
from mrcore.master.core.facts import Fact
from mrcore.master.core.held_back import HeldBack

if TYPE_CHECKING:
    from mrcore.master.core.cluster import Outcome


class Outbox:
    """Everything that the machine gave and the world has not got yet."""

    def __init__(self, wanted: Callable[[Command], bool] = lambda command: True) -> None:
        self.recorded = 0
        """Facts that the machine has ever given."""
        self.flushed = 0
        """Facts that are durable."""
        self.facts: list[Fact] = []
        """Facts that the journal has not been given."""
        self.commands: HeldBack[Command] = HeldBack(wanted)

    @property
    def durable(self) -> bool:
        """Return whether all that the machine gave is in the journal."""
        return self.flushed == self.recorded

    def take(self, outcome: Outcome) -> None:
        """Line up what a step gave: the facts for the journal, the commands behind them."""
        self.facts += outcome.facts
        self.recorded += len(outcome.facts)
        for command in outcome.commands:
            self.commands.put(self.recorded, command)

    def entry(self) -> list[Fact]:
        """Take out the facts of the next entry; one entry is in flight at a time."""
        facts, self.facts = self.facts, []
        return facts

    def appended(self, facts: int) -> None:
        """Note that the entry in flight, of this many facts, is durable."""
        self.flushed += facts

    def release(self) -> Iterator[Command]:
        """Yield, and forget, the commands whose facts are durable, in their order."""
        return self.commands.release(self.flushed)
