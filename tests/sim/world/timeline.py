"""Time of a simulation, and processes that block in it: the real code that waits, unchanged.

Each process is a greenlet: a stack of its own in the one thread of the simulation. The timeline
switches to a process that is due, and the process switches back when it waits. A thread for each
would do, and cost half of the time of a run in changes of threads.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from tests.sim.world.store import Caller


class EndedError(BaseException):
    """The end of a process that was killed: no code of it may catch this."""


class Timeline:
    """Virtual time, and what is due when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_over: Callable[[], bool] | None = None
        """Asked after each action whether all is over, once that may be."""
        self._due: list[tuple[float, int, Callable[[], None] | Process, int]] = []
        self._count = 0
        self.current: Process | None = None
        """The process whose code runs; None in an action."""
        self._begun: dict[Process, None] = {}
        """Processes that have begun and not ended."""

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have something done later."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, act, 0))

    def resume_after(self, seconds: float, process: Process, wait: int) -> None:
        """Have a process go on later, if it is in this wait then."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, process, wait))

    def run(self) -> None:
        """Let time pass until all is over, or nothing is due; raise the first error."""
        problem: BaseException | None = None
        try:
            self._pass_time()
        except BaseException as error:  # noqa: BLE001 - it is raised once all processes have ended
            problem = error
        for process in list(self._begun):
            try:
                process.unwind()
            except BaseException as error:  # noqa: BLE001 - the same
                problem = problem or error
        self._due.clear()  # it refers to nearly all there is
        if problem is not None:
            raise problem

    def _pass_time(self) -> None:
        due = self._due
        while due:
            self.now, _, act, wait = heapq.heappop(due)
            if isinstance(act, Process):
                if not act.ended and act.wait_number == wait:
                    self._go_on(act)
            else:
                act()
                if self.is_over is not None and self.is_over():
                    return

    def _go_on(self, process: Process) -> None:
        self._begun[process] = None
        self.current = process
        process.go_on()
        self.current = None
        if process.ended:
            del self._begun[process]


class Process:
    """Code that blocks, and runs only when it is its turn."""

    def __init__(
        self, timeline: Timeline, body: Callable[[Process], None], owner: Caller | None
    ) -> None:
        """Prepare; `owner` is whoever the storage takes for the caller."""
        self._timeline = timeline
        self._body = body
        self.owner = owner
        self._greenlet: greenlet | None = None
        self._hub: greenlet | None = None
        """The greenlet in which time passes."""
        self._killed = False
        self.wait_number = 0
        self.ended = False
        timeline.resume_after(0.0, self, 0)

    # -- called by the process itself ------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let others run for a while."""
        self._check()
        self.wait_number += 1
        self._timeline.resume_after(seconds, self, self.wait_number)
        self._yield()

    def park(self) -> None:
        """Let others run until one of them calls `wake`."""
        self._check()
        self.wait_number += 1
        self._yield()

    def _yield(self) -> None:
        assert self._hub is not None
        self._hub.switch()
        self._check()

    def _check(self) -> None:
        if self._killed:
            raise EndedError

    # -- called by others ------------------------------------------------------------------------

    def wake(self) -> None:
        """Let the process go on soon, whatever it waits for."""
        self._timeline.resume_after(0.0, self, self.wait_number)

    def kill(self) -> None:
        """End the process where it waits; nothing of it runs any more."""
        if self._greenlet is None:
            self.ended = True
        elif not self.ended and not self._killed:
            self._killed = True
            self.wake()

    # -- called by the timeline ------------------------------------------------------------------

    def go_on(self) -> None:
        """Run the process until it waits or ends; raise its error."""
        if self._greenlet is None:
            self._hub = getcurrent()
            self._greenlet = greenlet(self._run, self._hub)
        self._greenlet.switch()

    def unwind(self) -> None:
        """End the process once time does not pass any more."""
        self._killed = True
        self.go_on()

    def _run(self) -> None:
        try:
            self._body(self)
        except EndedError:
            pass
        finally:
            self.ended = True
