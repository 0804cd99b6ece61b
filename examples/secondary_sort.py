"""Secondary sort: values that reach `reduce` in an order that you choose.

    mrcore run examples/secondary_sort.py examples/data/weather/*.csv -o out/secondary_sort

    station,day,celsius     (a line of the input)
    Oslo,2026-01-04,-3.5

What is the steepest rise from one measured day to the next at each station? `reduce` needs the days
in order, but lists of them may not fit in memory. `sort_key` says by what the values of a key are
to be sorted; the engine does it while it merges, on disk where it must. The output:

    Oslo   2026-01-09 +7.0
"""


def map(key, line):
    station, day, celsius = line.split(",")
    yield station, (day, float(celsius))


def sort_key(value):
    day, _celsius = value
    return day


def reduce(station, days):
    best = None
    before = None
    for day, celsius in days:
        if before is not None and (best is None or celsius - before > best[0]):
            best = (celsius - before, day)
        before = celsius
    if best is not None:
        rise, day = best
        yield station, f"{day} {rise:+.1f}"
