"""Job count: `map` is called once for each file when nothing fails.

    mkdir /tmp/calls
    mrcore run examples/classic/job_count.py books/*.txt -o out --input-format whole \
        --param folder=/tmp/calls

A call leaves a file behind, which no retry can take back; `reduce` counts them. The output has one
line: `calls` and the number, which is that of the input files.
"""

import os
import tempfile
from pathlib import Path

folder = None


def setup(context):
    global folder
    folder = context.params["folder"]


def map(file, text):
    handle, _name = tempfile.mkstemp(prefix="call-", dir=folder)
    os.close(handle)
    yield "calls", 1


def reduce(key, ones):
    return len(list(Path(folder).glob("call-*")))
