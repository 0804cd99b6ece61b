"""How a worker does, for systemd and for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mrcore.daemon.systemd import Notifier
from mrcore.util.clock import Clock
from mrcore.worker.shell.agent import Agent
from mrcore.worker.shell.synchronizer import Link

WELL_SECONDS: Final = 5.0
"""Children that nobody has looked at for so long are out of control: they should be ten times a
second."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a worker holds at one moment."""

    slots: int
    running: int
    held: int
    """Attempts, those that wait for a slot or for the master to hear of their end too."""
    draining: bool
    resident_bytes: int
    """Of the children."""
    unheard_seconds: float
    """Since a master answered, or since the start."""
    connected: bool
    """A master has answered ever."""


class Vitals:
    """Looks at a worker from within its event loop, and speaks of it to systemd."""

    def __init__(self, agent: Agent, link: Link, notifier: Notifier, clock: Clock) -> None:
        self.agent = agent
        self._link = link
        self._notifier = notifier
        self._clock = clock

    def healthy(self) -> bool:
        """Tell whether the children are under control.

        A master that does not answer is no reason to be killed: see `Link.leave_when_orphaned`.
        """
        ticked_at = self.agent.supervisor.ticked_at
        return self._clock.monotonic() - ticked_at < WELL_SECONDS

    def look(self) -> Sight:
        """Return what the worker holds now."""
        supervisor, machine = self.agent.supervisor, self.agent.machine
        return Sight(
            slots=supervisor.slots,
            running=len(list(supervisor.running())),
            held=machine.held(),
            draining=machine.draining,
            resident_bytes=supervisor.resident_bytes(),
            unheard_seconds=self._clock.monotonic() - self._link.heard_at,
            connected=self._link.connected.is_set(),
        )

    def status(self) -> str:
        """Return one line for `systemctl status`."""
        sight = self.look()
        words = f"{sight.running} of {sight.slots} slots busy"
        if sight.draining:
            words += ", draining"
        if not sight.connected:
            return words + ", no master has answered yet"
        if sight.unheard_seconds > 60:  # a parked call is answered within ten or so
            return words + f", no answer of the master for {sight.unheard_seconds:.0f} s"
        return words

    async def tell(self) -> None:
        """Tell systemd that the worker is up, and go on telling it until cancelled."""
        self._notifier.tell(READY=1)
        await self._notifier.watch(self.healthy, self.status)

    def drain(self, reason: str, seconds: float) -> None:
        """Have the agent leave within `seconds`, and systemd know it."""
        self._notifier.tell(STOPPING=1, STATUS=f"draining: {reason}")
        self.agent.drain(reason, seconds)
