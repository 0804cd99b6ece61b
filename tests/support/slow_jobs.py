"""Plugins whose tasks take their time, or fail."""

from __future__ import annotations

SLOW = """
    import pathlib
    import time

    def map(key, value):
        pathlib.Path("started").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.02)
        yield value, 1

    def reduce(key, values):
        return sum(values)
"""

LOUD = """
    import pathlib
    import time

    def map(key, value):
        print("before", flush=True)
        while not pathlib.Path("go").exists():
            time.sleep(0.02)
        print("after")
        yield value, 1

    def reduce(key, values):
        return sum(values)
"""

FAILING = """
    def map(key, value):
        with open("mapped", "a") as log:
            print(value, file=log)
        yield value, 1

    def reduce(key, values):
        return 1 / 0 if key == "bad" else sum(values)
"""
"""Fails in one of its reduce tasks, and counts the calls of `map` in a file."""
