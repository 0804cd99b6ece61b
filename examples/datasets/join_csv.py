"""Two csv files joined by a column: the orders of each user.

python examples/datasets/join_csv.py users.csv orders.csv OUT
"""

import sys

import mrcore


def joined(users, orders):
    names = mrcore.read_csv(users).map(lambda row: (row["id"], row["name"]))
    amounts = mrcore.read_csv(orders).map(lambda row: (row["user"], float(row["amount"])))
    return names.left_join(amounts).map(
        lambda found: {"user": found[0], "name": found[1][0], "amount": found[1][1]}
    )


if __name__ == "__main__":
    joined(sys.argv[1], sys.argv[2]).write_csv(sys.argv[3])
