r"""Join: bring together the rows of two inputs that have the same key.

    mrcore run examples/join.py examples/data/shop/users.tsv examples/data/shop/orders.tsv \
        -o out/join

    users.tsv    id, name              7   Ada
    orders.tsv   order, id, amount     1001   7   12.50

The file's name in the key tells `map` from which side a line comes. Both sides are emitted under
the user's id, so they meet in one call of `reduce`; `sort_key` puts the user before the orders.
So one pass over the values is enough, and a user with a billion orders needs no memory. The output
has a line an order, with the user's name in place of the id:

    1001   Ada 12.50

Orders without a user and users without orders are left out and counted.
"""

from pathlib import PurePosixPath

USER, ORDER = 0, 1
context = None


def setup(given):
    global context
    context = given


def map(key, line):
    file, _offset = key
    fields = line.split("\t")
    if PurePosixPath(file).name.startswith("users"):
        user, name = fields
        yield user, (USER, name)
    else:
        order, user, amount = fields
        yield user, (ORDER, order, amount)


def sort_key(value):
    return value[0]


def reduce(user, rows):
    name = None
    served = False
    for side, *row in rows:
        if side == USER:
            (name,) = row
        elif name is None:
            context.count("orders without a user")
        else:
            order, amount = row
            served = True
            yield order, f"{name} {amount}"
    if name is not None and not served:
        context.count("users without orders")
