"""Plugins whose tasks take their time."""

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
