"""Do map tasks run in parallel?

    mkdir /tmp/meeting
    mrcore run examples/classic/map_timing.py books/*.txt -o out --input-format whole -w 2 \
        --param folder=/tmp/meeting --param wanted=2

Each task waits until `wanted` processes are inside a map task. The output has one line, with the
number that was reached: 2 where map tasks ran in parallel, 1 where they ran one after the other.
"""

from rendezvous import meet

params = {}


def setup(context):
    params.update(context.params)


def map(file, text):
    patience = float(params.get("patience", 60))
    yield "map tasks at once", meet(params["folder"], int(params["wanted"]), patience)


def reduce(name, reached):
    return min(reached)
