"""Do map tasks run in parallel?

    mkdir /tmp/meeting
    mrcore run examples/classic/map_timing.py books/*.txt -o out --input-format whole -w 2 \
        --param folder=/tmp/meeting --param wanted=2

Each process leaves a file in the folder, and waits inside its task until the others have come: that
they do come is the proof, however fast or slow the machine is. The output has one line, with the
number that was reached: 2 where map tasks ran in parallel, 1 where they ran one after the other.
"""

import os
import time
from pathlib import Path

params = {}


def meet(folder, wanted, patience_seconds):
    """Wait for `wanted` processes to have been here; return how many were, at most `wanted`."""
    place = Path(folder)
    (place / f"process-{os.getpid()}").touch()
    give_up = time.monotonic() + patience_seconds
    while True:
        present = len(list(place.glob("process-*")))
        if present >= wanted or time.monotonic() > give_up:
            return min(present, wanted)
        time.sleep(0.01)


def setup(context):
    params.update(context.params)


def map(file, text):
    patience = float(params.get("patience", 60))
    yield "map tasks at once", meet(params["folder"], int(params["wanted"]), patience)


def reduce(name, reached):
    return min(reached)
