"""Do reduce tasks run in parallel?

    mkdir /tmp/meeting
    mrcore run examples/classic/reduce_timing.py books/*.txt -o out --input-format whole -w 2 -r 2 \
        --param folder=/tmp/meeting --param wanted=2

There is a key for each reduce task, and `partition` sends it there. Each call of `reduce` waits
until `wanted` processes are inside a reduce task, and writes how many there were.
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
    for task in range(int(params["wanted"])):
        yield task, 1


def partition(task, n):
    return task % n


def reduce(task, ones):
    patience = float(params.get("patience", 60))
    return meet(params["folder"], int(params["wanted"]), patience)
