"""Rendezvous by which tasks of `map_timing` and `reduce_timing` see that others run too.

Not a plugin: those two import it, and a module beside a plugin travels with it to the workers.
"""

import os
import time
from pathlib import Path


def meet(folder, wanted, patience_seconds):
    """Wait for `wanted` processes to have been here; return how many were, at most `wanted`.

    Who comes first waits, inside its task, for the others: that they do come is the proof, however
    fast or slow the machine is.
    """
    place = Path(folder)
    (place / f"process-{os.getpid()}").touch()
    give_up = time.monotonic() + patience_seconds
    while True:
        present = len(list(place.glob("process-*")))
        if present >= wanted or time.monotonic() > give_up:
            return min(present, wanted)
        time.sleep(0.01)
