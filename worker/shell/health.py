"""Health of a worker, for systemd and for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mrcore.daemon.systemd import Notifier
from mrcore.util.clock import Clock
from mrcore.worker.shell.agent import Agent
from mrcore.worker.shell.synchronizer import Synchronizer

WELL_SECONDS: Final = 5.0
"""Time without a look at the children, after which they count as out of control. There should be
ten looks a second."""


@dataclass(frozen=True, slots=True)
class HealthSnapshot:
    """State of a worker at one moment."""

    slots: int
    running: int
    held: int
    """Attempts, with those that wait for a slot and those whose end is yet to be reported."""
    draining: bool
    resident_bytes: int
    """Resident memory of the children."""
    unanswered_seconds: float
    """Seconds since a master answered, or since the start."""
    connected: bool
    """Whether a master has ever answered."""


class Health:
    """The health of a worker, as its event loop sees it and reports it to systemd."""

    def __init__(
        self, agent: Agent, synchronizer: Synchronizer, notifier: Notifier, clock: Clock
    ) -> None:
        self.agent = agent
        self._synchronizer = synchronizer
        self._notifier = notifier
        self._clock = clock

    def healthy(self) -> bool:
        """Return whether the children are under control.

        A master that does not answer is not a reason to be killed; for that there is
        `Synchronizer.leave_when_orphaned`.
        """
        ticked_at = self.agent.supervisor.ticked_at
        return self._clock.monotonic() - ticked_at < WELL_SECONDS

    def look(self) -> HealthSnapshot:
        """Return the state of the worker now."""
        supervisor, machine = self.agent.supervisor, self.agent.machine
        return HealthSnapshot(
            slots=supervisor.slots,
            running=len(list(supervisor.running())),
            held=machine.held(),
            draining=machine.draining,
            resident_bytes=supervisor.resident_bytes(),
            unanswered_seconds=self._clock.monotonic() - self._synchronizer.answered_at,
            connected=self._synchronizer.connected.is_set(),
        )

    def status(self) -> str:
        """Return one line for `systemctl status`."""
        snapshot = self.look()
        words = f"{snapshot.running} of {snapshot.slots} slots busy"
        if snapshot.draining:
            words += ", draining"
        if not snapshot.connected:
            return words + ", no master has answered yet"
        if snapshot.unanswered_seconds > 60:  # a parked call is answered within ten or so
            return words + f", no answer of the master for {snapshot.unanswered_seconds:.0f} s"
        return words

    async def report(self) -> None:
        """Report to systemd that the worker is up, and how it does until cancelled."""
        self._notifier.send(READY=1)
        await self._notifier.watch(self.healthy, self.status)

    def drain(self, reason: str, seconds: float) -> None:
        """Have the agent leave within `seconds`, and systemd know it."""
        self._notifier.send(STOPPING=1, STATUS=f"draining: {reason}")
        self.agent.drain(reason, seconds)
