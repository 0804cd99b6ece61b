"""Do reduce tasks run in parallel?

    mkdir /tmp/meeting
    mrcore run examples/classic/reduce_timing.py books/*.txt -o out --input-format whole -w 2 -r 2 \
        --param folder=/tmp/meeting --param wanted=2

There is a key for each reduce task, and `partition` sends it there. Each call of `reduce` waits
until `wanted` processes are inside a reduce task, and writes how many there were.
"""

from rendezvous import meet

params = {}


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
