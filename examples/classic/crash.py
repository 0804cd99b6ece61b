"""Does the right output come out when tasks die at random, or dawdle?

    mrcore run examples/classic/crash.py books/*.txt -o out --input-format whole -r 3 \
        --max-attempts 50

One call in four ends its process on the spot, as a crash in native code would; one in four sleeps.
What a dead task had done is thrown away and it runs again, at most --max-attempts times, so the
output is that of a quiet run: a few facts about the files.
"""

import os
import random
import time

DEATH, NAP = 0.25, 0.5


def maybe_crash():
    chance = random.random()
    if chance < DEATH:
        os._exit(1)
    if chance < NAP:
        time.sleep(random.uniform(0.0, 0.5))


def map(file, text):
    maybe_crash()
    yield "files", file
    yield "characters", f"{file}={len(text)}"
    yield "lines", f"{file}={len(text.splitlines())}"


def reduce(fact, values):
    maybe_crash()
    return " ".join(sorted(values))
