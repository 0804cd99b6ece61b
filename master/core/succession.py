"""Succession: when a standby may try to replace the leader. Pure.

Nothing here decides who leads: the journal does, which takes one entry of each number. These rules
only keep a standby from replacing a leader that is well. So a wrong guess costs a restart of the
work in flight, and never a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BEAT_SECONDS: Final = 3.0
"""Time between two signs of life that each master leaves in the store."""
SILENT_SECONDS: Final = 8.0
"""Silence after which a leader counts as gone. It is shorter than a lease, and longer than two of
its signs of life take."""
UNSEEN_SECONDS: Final = 16.0
"""The same for a leader of which a standby has never seen a sign of life. Without standbys a leader
looks for them every ten seconds, and leaves more signs only then."""
UNLED_SECONDS: Final = 2.0
"""Time after which a standby leads a state that nobody has ever led."""
LOOK_SECONDS_MAX: Final = 4.0
"""Silence that two looks can show, however far apart they are. A look at a silent leader may take
as long. A standby that was stopped itself has not seen a silent leader."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the leader, and at what the store shows of it."""

    answers: bool
    """Whether it answers calls as a leader."""
    leader_epoch: int = 0
    """Epoch of the leader object; 0 where there is none."""
    retired: bool = False
    """Whether the leader object says that its master has ended in an orderly way."""
    gone: bool = False
    """Whether the process of the leader object is known to have ended."""
    epoch: int = 0
    """Newest epoch in the journal."""
    entry: int = 0
    """Number of the newest journal entry."""
    beat: str = ""
    """Something that changes whenever the leader leaves a sign of life in the store."""


class Succession:
    """Record of the leader's signs of life, as one standby sees them."""

    def __init__(self, now: float) -> None:
        self._looked_at = now
        self._shown: tuple[int, int, int, str] | None = None
        self._is_seen = False
        """Whether there was a sign of life since this standby began."""
        self.silent_seconds = 0.0
        """Time for which the leader has shown no sign of life."""

    def look(self, sight: Sight, now: float) -> bool:
        """Take in a look; return whether it is time to take over."""
        passed = min(max(now - self._looked_at, 0.0), LOOK_SECONDS_MAX)
        self._looked_at = now
        shown = (sight.leader_epoch, sight.epoch, sight.entry, sight.beat)
        if sight.answers or shown != self._shown:
            self._is_seen = self._is_seen or sight.answers or self._shown is not None
            self.silent_seconds = 0.0
        else:
            self.silent_seconds += passed
        self._shown = shown
        if sight.answers:
            return False
        # A leader object that lags behind the journal: its successor has not written it yet.
        if sight.leader_epoch >= sight.epoch and (sight.retired or sight.gone):
            return True
        unled = sight.leader_epoch == sight.epoch == 0
        if unled:
            return self.silent_seconds >= UNLED_SECONDS
        return self.silent_seconds >= (SILENT_SECONDS if self._is_seen else UNSEEN_SECONDS)

    def blind(self, now: float) -> None:
        """Let time pass in which the store could not be read: that shows nothing of the leader."""
        self._looked_at = now
