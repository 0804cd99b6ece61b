"""Does anybody leave before all is done? Some reduce tasks take longer than the others.

    mrcore run examples/classic/early_exit.py books/*.txt -o out --input-format whole -w 3 -r 8

It counts words by their first letter, and takes its time for one letter. A master or worker that
went home when the first tasks were done would leave the output without that letter; a `run` that
came back early would show an output that still changes.
"""

import re
import time
from collections import Counter

LETTERS = re.compile(r"[a-z]+")
SLOW = "t"
pause_seconds = 2.0


def setup(context):
    global pause_seconds
    pause_seconds = float(context.params.get("pause", pause_seconds))


def map(file, text):
    return Counter(word[0] for word in LETTERS.findall(text.lower()))


def reduce(letter, counts):
    if letter == SLOW:
        time.sleep(pause_seconds)
    return sum(counts)
