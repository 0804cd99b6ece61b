"""The submission side of a master, with small jobs to submit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from mrcore.master.core.limits import Limits
from mrcore.master.shell.loop import Shell
from mrcore.master.shell.plans import Plans
from mrcore.master.shell.submissions import Submissions
from mrcore.model import object_names
from mrcore.model.job import JobSpec
from mrcore.storage.faulty import FaultyStorage, Hook, script
from mrcore.storage.local.lock import FileLock
from mrcore.storage.local.store import LocalStorage
from mrcore.storage.memory import MemoryStorage
from mrcore.util.clock import SYSTEM
from tests.support.fake_worker import make_spec
from tests.support.master_shell import Idle, take_over

BUNDLE = b"a bundle"


class Desk:
    """A master that takes submissions over a state on files."""

    def __init__(self, folder: Path, shell: Shell, group: asyncio.TaskGroup, hook: Hook) -> None:
        self.state_uri = f"file://{folder}/state"
        storage = FaultyStorage(LocalStorage(), script({}), hook=hook)
        self.shell = shell
        self.begun = asyncio.Event()
        """The machine steps events."""
        self._group = group
        self.submissions = Submissions(
            shell,
            Plans(storage, self.state_uri),
            storage=storage,
            state_uri=self.state_uri,
            address="127.0.0.1:1",
            expected_slots=1,
            clock=SYSTEM,
            rng=Random(0),
        )

    async def submit(self, spec: JobSpec, request_id: str = "r", bundle: bytes = BUNDLE) -> str:
        """Submit a job; return its id."""
        return await self.submissions.submit(self._group, request_id, spec, bundle)


def run(
    folder: Path,
    act: Callable[[Desk], Awaitable[None]],
    *,
    limits: Limits | None = None,
    hook: Hook = lambda operation, uri: None,
    late: bool = False,
) -> None:
    """Let a master run while `act` submits to it; with `late`, once that sets `begun`."""

    async def main() -> None:
        machine, journal = take_over(MemoryStorage())
        if limits is not None:
            machine.cluster.limits = limits
        shell = Shell(machine, journal, SYSTEM)
        lock = FileLock(object_names.lock_uri(f"file://{folder}/state"))
        try:
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                desk = Desk(folder, shell, group, hook)

                async def step() -> None:
                    await desk.begun.wait()
                    await shell.run(Idle())

                running = group.create_task(step())
                if not late:
                    desk.begun.set()
                await act(desk)
                running.cancel()
        finally:
            lock.close()
            shell.close()

    (folder / "in.txt").write_text("one line\n")
    asyncio.run(main())


def spec_of(folder: Path, output: str = "out") -> JobSpec:
    sha256 = hashlib.sha256(BUNDLE).hexdigest()
    return make_spec(f"file://{folder}/in.txt", f"file://{folder}/{output}", sha256)
