"""Time of a simulation, and processes that block in it: the real code that waits, unchanged.

Each process is a thread, and one thread runs at a time. A process that waits lets time pass itself:
it acts on whatever is due, until its own turn comes. It hands over only to another process that is
due. So most waits cost no change of threads, and a run depends on its seed alone.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.sim.world.store import Caller


class EndedError(BaseException):
    """The end of a process that was killed: no code of it may catch this."""


class _Thread:
    """A thread that runs one process after the other."""

    idle: Final[list[_Thread]] = []

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.turn.acquire()
        self.process: Process | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self.turn.acquire()
            process, self.process = self.process, None
            assert process is not None
            process.run()

    @classmethod
    def take(cls) -> _Thread:
        """Return a thread without a process."""
        return cls.idle.pop() if cls.idle else cls()


class Timeline:
    """Virtual time, and what is due when."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.now = 0.0
        self._is_over = is_over
        self._due: list[tuple[float, int, Callable[[], None] | Process, int]] = []
        self._count = 0
        self.problem: BaseException | None = None
        """The first error of a process or an action."""
        self.current: Process | None = None
        """The process whose code runs; None in an action."""
        self._main = threading.Lock()
        self._main.acquire()
        self._begun: dict[Process, None] = {}
        """Processes that have begun and not ended."""
        self.closed = False

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
        self.pass_time(None)
        self.closed = True
        for process in list(self._begun):
            process.unwind()
        if self.problem is not None:
            raise self.problem

    def pass_time(self, waiting: Process | None) -> None:
        """Act on what is due until it is the turn of the one that waits; None is the caller of run.

        A process that has ended lets time pass, too, until another one goes on.
        """
        self.current = None
        while self._due and self.problem is None:
            self.now, _, act, wait = heapq.heappop(self._due)
            if isinstance(act, Process):
                if act.ended or act.wait_number != wait:
                    continue
                if act is not waiting:
                    self._hand_over(act, waiting)
                    return
                self.current = act
                return
            try:
                act()
                if self._is_over():
                    break
            except BaseException as error:  # noqa: BLE001 - it is raised by `run`
                self.problem = self.problem or error
        if waiting is not None:
            self.give_back()
            waiting.sleep()

    def give_back(self) -> None:
        """Let the caller of `run` go on."""
        self._main.release()

    def await_turn(self) -> None:
        """Block the caller of `run` until somebody gives back."""
        self._main.acquire()

    def _hand_over(self, process: Process, waiting: Process | None) -> None:
        self.current = process
        process.go_on()
        if waiting is None:
            self.await_turn()
        else:
            waiting.sleep()

    def began(self, process: Process) -> None:
        """Note that a process has begun."""
        self._begun[process] = None

    def ended(self, process: Process) -> None:
        """Note that a process has ended."""
        del self._begun[process]


class Process:
    """Code that blocks, in a thread that runs only when it is its turn."""

    def __init__(
        self, timeline: Timeline, body: Callable[[Process], None], owner: Caller | None
    ) -> None:
        """Prepare; `owner` is whoever the storage takes for the caller."""
        self._timeline = timeline
        self._body = body
        self.owner = owner
        self._thread: _Thread | None = None
        self._killed = False
        self._retired = False
        self.wait_number = 0
        self.ended = False
        timeline.resume_after(0.0, self, 0)

    # -- called by the process itself ------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let others run for a while."""
        self._check()
        self.wait_number += 1
        self._timeline.resume_after(seconds, self, self.wait_number)
        self._timeline.pass_time(self)
        self._check()

    def park(self) -> None:
        """Let others run until one of them calls `wake`."""
        self._check()
        self.wait_number += 1
        self._timeline.pass_time(self)
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
        if self._thread is None:
            self.ended = True
        elif not self.ended and not self._killed:
            self._killed = True
            self.wake()

    # -- called by the timeline ------------------------------------------------------------------

    def go_on(self) -> None:
        """Let the thread of this process run."""
        if self._thread is None:
            self._thread = _Thread.take()
            self._thread.process = self
            self._timeline.began(self)
        self._thread.turn.release()

    def sleep(self) -> None:
        """Block this thread until its process goes on; a process that has ended does not."""
        if not self._retired:
            assert self._thread is not None
            self._thread.turn.acquire()

    def unwind(self) -> None:
        """End the process once time does not pass any more."""
        self._killed = True
        self.go_on()
        self._timeline.await_turn()

    def run(self) -> None:
        """Run the body; called by the thread."""
        timeline, thread = self._timeline, self._thread
        assert thread is not None
        try:
            self._body(self)
        except EndedError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the time passes
            timeline.problem = timeline.problem or error
        self.ended = self._retired = True
        timeline.ended(self)
        _Thread.idle.append(thread)
        if timeline.closed:
            timeline.give_back()
        else:
            timeline.pass_time(self)
