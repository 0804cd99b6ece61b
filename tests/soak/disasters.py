"""Steady disasters of a soak: one every few seconds, drawn by a seed."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random

from mrcore.chaos.site import Site
from mrcore.errors import MrcoreError

PAUSE_SECONDS = (3.0, 9.0)
"""Shortest and longest time between two disasters."""
KINDS = {
    "kill a worker": 6,
    "kill a process of user code": 8,
    "stop a worker": 5,
    "kill the leader": 1,
    "stop the leader": 1,
}
"""Disasters, and how often each comes."""


class Disasters:
    """A thread that hurts a site. The first worker is never killed, so that its growth shows."""

    def __init__(self, site: Site, seed: int, storage_faults: float) -> None:
        self.dealt: Counter[str] = Counter()
        self._site = site
        self._rng = Random(seed)
        self._rate = storage_faults
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._site.set_faults(errors=self._rate, slow=self._rate)
        self._thread.start()

    def stop(self) -> None:
        """Let all be well again."""
        self._stopping.set()
        self._thread.join()
        self._site.set_faults(errors=0.0, slow=0.0)

    def _run(self) -> None:
        while not self._stopping.wait(self._rng.uniform(*PAUSE_SECONDS)):
            (kind,) = self._rng.choices(list(KINDS), list(KINDS.values()))
            try:
                self._deal(kind)
            except (MrcoreError, OSError):
                continue  # its process has just died of another disaster
            self.dealt[kind] += 1

    def _deal(self, kind: str) -> None:
        rng, site = self._rng, self._site
        others = range(1, len(site.cluster.workers)) or range(1)
        match kind:
            case "kill a worker":
                site.kill(site.worker(rng.choice(others)), rng.uniform(0.0, 6.0))
            case "kill a process of user code":
                site.kill_child(site.worker(rng.randrange(len(site.cluster.workers))))
            case "stop a worker":
                with site.stopped(site.worker(rng.randrange(len(site.cluster.workers)))):
                    self._stopping.wait(rng.uniform(0.5, 8.0))
            case "kill the leader":
                site.kill(site.leader(), rng.uniform(0.0, 5.0))
            case "stop the leader":
                with site.stopped(site.leader()):
                    self._stopping.wait(rng.uniform(0.5, 12.0))
