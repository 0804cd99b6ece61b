r"""Distributed grep: which lines match a pattern?

    mrcore run examples/grep.py examples/data/logs/ -o out/grep --param 'pattern=timeout|refused'

`setup` is called once in each process, before the first record, with the job's context: this is
where parameters are read and things are prepared that every record needs. The output has the place
of a line, as file and byte offset, and the line, in the order of the input:

    examples/data/logs/web.log:49   GET /health: connection refused

`context.count` adds to a counter of the job, which `mrcore run` and `mrcore show` print.
"""

import re

context = None
pattern = None


def setup(given):
    global context, pattern
    context = given
    if "pattern" not in context.params:
        raise ValueError("say what to look for: --param pattern=REGEX")
    pattern = re.compile(context.params["pattern"])


def map(key, line):
    if pattern.search(line):
        context.count("matches")
        yield key, line


def reduce(key, lines):
    file, offset = key
    for line in lines:
        yield f"{file}:{offset}", line
