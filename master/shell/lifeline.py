"""The pipe whose end shows that the process which started a master is gone."""

from __future__ import annotations

import asyncio
import os


def watch_lifeline(descriptor: int | None) -> None:
    """Leave when the other end of this pipe is gone, as after `kill -9` of who started us."""
    if descriptor is None:
        return

    def on_readable() -> None:
        if not os.read(descriptor, 1):
            # Nobody is left to answer to, and the journal is whole at every moment.
            os._exit(0)

    asyncio.get_running_loop().add_reader(descriptor, on_readable)
