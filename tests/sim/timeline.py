"""Time of a simulation, and processes that block in it: the real code that waits, unchanged.

Each process is a thread, and one of them runs at a time: whoever waits hands over to the timeline,
which wakes the one that is due first. So a run depends on its seed alone.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable


class EndedError(BaseException):
    """The end of a process that was killed: no code of it may catch this."""


class Timeline:
    """Virtual time, and what is due when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = 0
        self.problem: BaseException | None = None
        """The first error of a process or an action."""
        self._processes: list[Process] = []

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have something done later."""
        self._tickets += 1
        heapq.heappush(self._due, (self.now + seconds, self._tickets, act))

    def spawn(self, body: Callable[[Process], None]) -> Process:
        """Begin a process, soon."""
        process = Process(self, body)
        self._processes.append(process)
        self.after(0.0, process.resume)
        return process

    def run_until(self, end: float) -> None:
        """Let time pass; raise the first error that there was."""
        while self._due and self._due[0][0] <= end and self.problem is None:
            self.now, _, act = heapq.heappop(self._due)
            act()
        if self.problem is not None:
            raise self.problem
        self.now = end

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()


class Process:
    """Code that blocks, in a thread that runs only when it is its turn."""

    def __init__(self, timeline: Timeline, body: Callable[[Process], None]) -> None:
        self._timeline = timeline
        self._body = body
        self._turn, self._back = threading.Lock(), threading.Lock()
        self._turn.acquire()
        self._back.acquire()
        self._begun = self._killed = False
        self.ended = False

    def wait(self, seconds: float) -> None:
        """Let others run for a while; called by the process itself."""
        self._timeline.after(seconds, self.resume)
        self._back.release()
        self._turn.acquire()
        if self._killed:
            raise EndedError

    def resume(self) -> None:
        """Run the process until it waits or ends."""
        if self.ended:
            return
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._run, daemon=True).start()
        else:
            self._turn.release()
        self._back.acquire()

    def kill(self) -> None:
        """End the process where it waits; nothing of it runs any more."""
        if self.ended:
            return
        self._killed = True
        if self._begun:
            self.resume()
        self.ended = True

    def _run(self) -> None:
        try:
            self._body(self)
        except EndedError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the time passes
            if self._timeline.problem is None:
                self._timeline.problem = error
        finally:
            self.ended = True
            self._back.release()
